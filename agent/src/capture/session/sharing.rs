//! Who else maps a library: whether probes that stand in every process would be paid for by processes that are none of a
//! gateway's.
//!
//! In: an inode and the gateways' own processes. Out: yes or no. Costs one small file of `/proc` for each process of the
//! host, so it is asked once a library and now and then afterwards.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use crate::capture::gateways::{Pid, facts};
use crate::capture::libraries::maps::MapsText;

/// Who maps a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Processes of gateways alone.
    GatewaysOnly,
    /// Somebody else too.
    With(Pid),
    /// That cannot be told: `/proc` may not be listed.
    Unknown,
}

/// Looks whether a process that is not in `ours` maps the file. Devices are not compared, since on overlayfs the maps show
/// those of the layer beneath; a file of the same number and name elsewhere counts as the same, which errs on the safe side.
/// A process that may not be looked into is one of another user namespace or security domain, which has its files to itself
/// more likely than not.
pub(super) fn sharing(inode: u64, name: &OsStr, ours: &BTreeSet<Pid>) -> Sharing {
    let Ok(pids) = facts::all_pids() else {
        return Sharing::Unknown;
    };
    let others = pids.into_iter().filter(|pid| !ours.contains(pid));
    for pid in others {
        match MapsText::read(pid) {
            Ok(maps) if maps_file(&maps, inode, name) => return Sharing::With(pid),
            // It maps other files, is gone, or may not be looked into.
            Ok(_) | Err(_) => {}
        }
    }
    Sharing::GatewaysOnly
}

fn maps_file(maps: &MapsText, inode: u64, name: &OsStr) -> bool {
    let mut files = maps.executable_files().into_iter();
    files.any(|file| file.inode == inode && file.path.file_name() == Some(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;
    use std::os::unix::fs::MetadataExt as _;

    use super::{Sharing, maps_file, sharing};
    use crate::capture::gateways::Pid;
    use crate::capture::libraries::maps::MapsText;

    #[test]
    fn a_file_is_told_by_inode_and_name() {
        let maps = MapsText(b"7f00-7f10 r-xp 0001c000 fe:00 91   /lib/libssl.so.3 (deleted)\n".to_vec());
        let cases = [
            (91, "libssl.so.3", true),
            (91, "libssl.so", false),
            (9, "libssl.so.3", false),
        ];
        for (inode, name, expected) in cases {
            assert_eq!(
                maps_file(&maps, inode, OsStr::new(name)),
                expected,
                "{inode} {name}"
            );
        }
    }

    #[test]
    fn a_file_is_shared_when_somebody_else_maps_it() {
        let path = std::env::current_exe().expect("own executable");
        let (inode, name) = (
            path.metadata().expect("it exists").ino(),
            path.file_name().expect("a name"),
        );
        let own = Pid(std::process::id());
        assert_eq!(sharing(inode, name, &BTreeSet::new()), Sharing::With(own));
        assert_eq!(
            sharing(inode, name, &BTreeSet::from([own])),
            Sharing::GatewaysOnly
        );
    }
}
