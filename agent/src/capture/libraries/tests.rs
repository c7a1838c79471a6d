//! Libraries of living processes: children that map what a test wants, by `LD_PRELOAD`, and this process itself.

use std::ffi::CStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::maps::{MappedFile, MapsText};
use super::{FileFacts, LibraryFinder, Problem, Stage, TlsSearch, open, open_path, placements_in};
use crate::capture::gateways::Pid;
use crate::capture::symbols::made_elf::{Elf, TEXT_ADDRESS};
use crate::capture::symbols::{ELF_MAX_BYTES, TlsFunction};

/// Asks the dynamic linker for the system's libssl: its path and where it has each function, as an offset in the file.
/// None where there is no libssl, with the reason printed; that fails the test when `REQUIRE_KERNEL` is set.
#[expect(
    unsafe_code,
    reason = "dlopen and dlsym are the witness against which symbols are checked"
)]
fn libssl_by_the_dynamic_linker() -> Option<(PathBuf, Vec<(TlsFunction, u64)>)> {
    const NAMES: [&CStr; 2] = [c"libssl.so.3", c"libssl.so.1.1"];
    let handle = NAMES.iter().find_map(|name| {
        // SAFETY: the name is a C string; loading OpenSSL runs no code that concerns this process.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!handle.is_null()).then_some(handle)
    });
    let Some(handle) = handle else {
        assert!(
            std::env::var_os("REQUIRE_KERNEL").is_none(),
            "no libssl, and REQUIRE_KERNEL is set"
        );
        std::io::stderr()
            .write_all(b"skipped: no libssl here\n")
            .expect("standard error");
        return None;
    };
    let maps = MapsText::read(Pid(std::process::id())).expect("own maps");
    let file = maps
        .executable_files()
        .into_iter()
        .find(|file| file.file_name().starts_with("libssl"))?;
    let start = u64::from_str_radix(file.range.split_once('-')?.0, 16).ok()?;
    let mut functions = Vec::new();
    for function in TlsFunction::ALL {
        let name = format!("{}\0", function.symbol());
        // SAFETY: `handle` is open, and `name` ends in a zero.
        let address = unsafe { libc::dlsym(handle, name.as_ptr().cast()) };
        let address = u64::try_from(address.addr()).ok()?;
        assert_ne!(address, 0, "{}", function.symbol());
        functions.push((*function, address - start + file.offset));
    }
    Some((file.path, functions))
}

/// A process that waits, with a file mapped as if it had been linked with it.
struct Mapping(Child);

impl Mapping {
    fn of(library: &Path) -> Self {
        let child = Command::new("cat")
            .env("LD_PRELOAD", library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut mapping = Self(child.expect("cat"));
        // What repeats a byte has been loaded, with every library that this one needs.
        let (to, from) = (mapping.0.stdin.as_mut(), mapping.0.stdout.as_mut());
        to.expect("piped").write_all(b"?").expect("its input");
        from.expect("piped").read_exact(&mut [0]).expect("its output");
        mapping
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

fn search(pid: Pid) -> TlsSearch {
    LibraryFinder::default().search(pid).expect("readable maps")
}

#[test]
fn the_systems_libssl_is_read_as_the_dynamic_linker_reads_it() {
    let Some((path, expected)) = libssl_by_the_dynamic_linker() else {
        return;
    };
    let process = Mapping::of(&path);
    let TlsSearch::Found(libraries) = search(process.pid()) else {
        panic!("{path:?} was not found");
    };
    assert_eq!(libraries.len(), 1, "{libraries:?}");
    let library = &libraries[0];
    assert_eq!(library.path_in_process, path);
    let found: Vec<_> = library
        .placements
        .iter()
        .map(|(function, placement)| (*function, placement.offset))
        .collect();
    assert_eq!(found, expected);
    assert!(
        library
            .version
            .as_deref()
            .is_some_and(|version| version.starts_with("OpenSSL ")),
        "{library:?}"
    );
    assert!(
        library.build_id.as_ref().is_none_or(|id| id.len() >= 16),
        "{library:?}"
    );
    assert!(library.path_for_agent.starts_with("/proc"), "{library:?}");
    assert_eq!(
        fs::read(&library.path_for_agent).expect("readable"),
        fs::read(&path).expect("readable")
    );
}

#[test]
fn a_library_that_was_replaced_on_disk_is_the_one_that_is_mapped() {
    let Some((path, expected)) = libssl_by_the_dynamic_linker() else {
        return;
    };
    let directory = tempfile::tempdir().expect("temporary directory");
    let copy = directory.path().join("libssl.so.3");
    fs::copy(&path, &copy).expect("copy");
    let process = Mapping::of(&copy);
    fs::remove_file(&copy).expect("remove");
    fs::write(&copy, "another file under the same name").expect("write");
    match search(process.pid()) {
        TlsSearch::Found(libraries) => {
            let library = &libraries[0];
            assert!(
                library.path_for_agent.to_string_lossy().contains("/map_files/"),
                "{library:?}"
            );
            let found: Vec<_> = library
                .placements
                .iter()
                .map(|(function, placement)| (*function, placement.offset))
                .collect();
            assert_eq!(found, expected);
        }
        // Without CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE nobody may open it.
        TlsSearch::NoSymbols { examined } => {
            assert!(std::env::var_os("REQUIRE_KERNEL").is_none(), "{examined:?}");
            assert_eq!(examined[0].problem, Problem::Unreadable);
        }
        TlsSearch::NoLibrary => panic!("it is mapped under its old name"),
    }
}

#[test]
fn a_library_without_known_symbols_is_told_apart_from_none() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let own = MapsText::read(Pid(std::process::id()))
        .expect("own maps")
        .executable_files();
    let other = own
        .iter()
        .find(|file| file.file_name().starts_with("libgcc_s"))
        .expect("Rust programs link it");
    let named = directory.path().join("libssl.so.9");
    fs::copy(&other.path, &named).expect("copy");
    let process = Mapping::of(&named);
    match search(process.pid()) {
        TlsSearch::NoSymbols { examined } => {
            assert_eq!(examined.len(), 1);
            assert_eq!(
                (examined[0].path.as_path(), examined[0].problem),
                (named.as_path(), Problem::NoFunctions)
            );
        }
        other @ (TlsSearch::Found(_) | TlsSearch::NoLibrary) => panic!("{other:?}"),
    }
    let mut sleeper = Command::new("sleep").arg("60").spawn().expect("sleep");
    assert_eq!(search(Pid(sleeper.id())), TlsSearch::NoLibrary);
    sleeper.kill().expect("kill");
    sleeper.wait().expect("wait");
}

/// Facts of a file with this content, through a finder that has seen the file before with another.
fn check_file(
    finder: &mut LibraryFinder,
    path: &Path,
    content: &[u8],
    expected: Result<&[TlsFunction], Problem>,
) {
    fs::write(path, content).expect("write");
    let found = match finder.facts_of(&open_path(path.to_owned()).expect("a file")) {
        FileFacts::Elf { facts, .. } => Ok(facts.functions.into_keys().collect::<Vec<_>>()),
        FileFacts::Unusable(problem) => Err(problem),
    };
    assert_eq!(found, expected.map(<[TlsFunction]>::to_vec));
}

#[test]
fn a_file_that_changes_in_place_is_read_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("libssl.so.3");
    let mut finder = LibraryFinder::default();
    let elf = |functions: &[(&str, u64)], has_symbols| {
        Elf {
            functions,
            rodata: b"",
            has_symbols,
        }
        .bytes()
    };
    let with_read = elf(&[("SSL_read", TEXT_ADDRESS)], true);
    check_file(&mut finder, &path, &with_read, Ok(&[TlsFunction::Read]));
    check_file(
        &mut finder,
        &path,
        &elf(&[("SSL_write", TEXT_ADDRESS)], true),
        Ok(&[TlsFunction::Write]),
    );
    check_file(&mut finder, &path, &elf(&[], false), Ok(&[]));
    check_file(&mut finder, &path, b"no library", Err(Problem::Malformed));
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(ELF_MAX_BYTES + 1))
        .expect("a long file");
    let long = finder.facts_of(&open_path(path.clone()).expect("a file"));
    assert!(matches!(long, FileFacts::Unusable(Problem::TooLong)), "{long:?}");
    check_file(&mut finder, &path, &with_read, Ok(&[TlsFunction::Read]));
    assert_eq!(placements_in(&path).expect("a file").len(), 1);
}

#[test]
fn another_file_under_the_same_path_is_not_taken_for_the_mapped_one() {
    let own = Pid(std::process::id());
    let files = MapsText::read(own).expect("own maps").executable_files();
    let file = files
        .iter()
        .find(|file| file.file_name().starts_with("libc.so"))
        .expect("libc");
    let check = |change: fn(&mut MappedFile), is_by_root: bool| {
        let mut file = file.clone();
        change(&mut file);
        let opened = open(own, &file, Stage::Rest).map(|opened| opened.path);
        let by_root = opened.is_some_and(|path| path.starts_with(format!("/proc/{own}/root")));
        assert_eq!(by_root, is_by_root, "{file:?}");
    };
    check(|_| {}, true);
    check(|file| file.inode += 1, false);
    check(|file| file.offset = u64::MAX, false);
    check(|file| file.is_deleted = true, false);
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    for path in ["/dev/zero", "/", "/proc/self/no-such-file"] {
        assert!(open_path(PathBuf::from(path)).is_none(), "{path}");
    }
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    let error = LibraryFinder::default().search(Pid(1 << 23)).expect_err("nobody");
    assert!(error.to_string().contains("process 8388608"), "{error}");
}
