//! Who else maps a library: whether probes that stand in every process would be paid for by processes that are none of a
//! gateway's.
//!
//! In: an inode and the gateways' own processes. Out: yes or no. Costs one small file of `/proc` for each process of the
//! host, so it is asked once a library and now and then afterwards.

use std::collections::BTreeSet;
use std::io;

use crate::capture::gateways::{Pid, facts};
use crate::capture::libraries::maps::MapsText;

/// Who maps a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Processes of gateways alone.
    GatewaysOnly,
    /// Somebody else too, or that cannot be told.
    Others,
}

/// Looks whether a process that is not in `ours` maps the file `inode`. Devices are not compared, since on overlayfs the
/// maps show those of the layer beneath: a file of the same number elsewhere counts as the same, which errs on the safe
/// side.
pub(super) fn sharing(inode: u64, ours: &BTreeSet<Pid>) -> Sharing {
    let Ok(pids) = facts::all_pids() else {
        return Sharing::Others;
    };
    let others = pids.into_iter().filter(|pid| !ours.contains(pid));
    for pid in others {
        match MapsText::read(pid) {
            Ok(maps) if maps_inode(&maps.0, inode) => return Sharing::Others,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Sharing::Others,
            // It maps other files, or is gone.
            Ok(_) | Err(_) => {}
        }
    }
    Sharing::GatewaysOnly
}

/// The fifth field of a line is the inode.
fn maps_inode(maps: &[u8], inode: u64) -> bool {
    let inode = inode.to_string();
    maps.split(|byte| *byte == b'\n')
        .any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(inode.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt as _;

    use super::{Sharing, maps_inode, sharing};
    use crate::capture::gateways::Pid;

    #[test]
    fn an_inode_is_told_from_other_numbers() {
        let maps = b"7f00-7f10 r-xp 0001c000 fe:00 91   /lib/libssl.so.3\n7f20-7f30 rw-p 00000000 00:00 0 \n";
        for (inode, expected) in [(91, true), (9, false), (1, false), (7, false)] {
            assert_eq!(maps_inode(maps, inode), expected, "{inode}");
        }
        assert!(!maps_inode(b"", 0));
    }

    #[test]
    fn a_file_is_shared_when_somebody_else_maps_it() {
        let own = std::fs::metadata("/proc/self/exe").expect("own executable").ino();
        let own_pid = BTreeSet::from([Pid(std::process::id())]);
        assert_eq!(sharing(own, &BTreeSet::new()), Sharing::Others);
        assert_eq!(sharing(own, &own_pid), Sharing::GatewaysOnly);
    }
}
