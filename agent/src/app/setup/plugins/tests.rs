//! Which store is read, and what is said of one that cannot be.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

use super::{stored, stored_at};
use crate::config::{Config, DEFAULT_STORE};
use crate::plugin::store::ContentsError;

#[test]
fn a_store_that_cannot_be_read_is_a_mistake_unless_nobody_named_it_and_rights_are_wanting() {
    let note = Ok(Some(
        "cannot be read (permission denied): what an agent has there is not taken into account".to_owned(),
    ));
    let denied = Err("/s.yml: cannot be read: permission denied".to_owned());
    let failed = Err("/s.yml: cannot be read: is a directory".to_owned());
    for (case, kind, is_named, expected) in [
        ("not for us", ErrorKind::PermissionDenied, false, note),
        ("named, and not for us", ErrorKind::PermissionDenied, true, denied),
        ("a directory", ErrorKind::IsADirectory, false, failed.clone()),
        ("a directory, named", ErrorKind::IsADirectory, true, failed),
    ] {
        let found = Err(ContentsError::Unreadable(Error::from(kind)));
        let stored = stored_at(PathBuf::from("/s.yml"), found, is_named);
        let told = stored
            .map(|stored| stored.note)
            .map_err(|mistakes| mistakes.to_string());
        assert_eq!(told, expected, "{case}");
    }
}

#[test]
fn the_store_is_the_one_that_is_named_and_one_that_is_not_there_is_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let one = "plugins: [{name: runscope, id: 00000000-0000-4000-8000-000000000001, config: {access_token: t, bucket_key: b}}]";
    std::fs::write(path("one.yml"), one).expect("written");
    std::fs::write(path("wrong.yml"), "plugins: 7").expect("written");
    std::fs::write(path("empty.yml"), "").expect("written");
    for (name, expected) in [
        ("one.yml", Ok(vec!["store: 00000000-0000-4000-8000-000000000001"])),
        ("empty.yml", Ok(Vec::new())),
        ("absent.yml", Ok(Vec::new())),
        ("absent/absent.yml", Ok(Vec::new())),
        ("wrong.yml", Err("plugins: must be a list")),
        ("one.yml/runscope.yml", Err("cannot be read: Not a directory")),
    ] {
        let mut config = Config::default();
        config.plugins.store = Some(path(name));
        let told = stored(&config)
            .map(|stored| stored.plugins)
            .map_err(|mistakes| mistakes.to_string());
        match (told, expected) {
            (Ok(plugins), Ok(expected)) => {
                let origins: Vec<_> = plugins.iter().map(|plugin| plugin.origin.as_str()).collect();
                assert_eq!(origins, expected, "{name}");
            }
            (Err(told), Err(expected)) => assert!(told.contains(expected), "{name}: {told}"),
            (told, _) => panic!("{name}: {told:?}"),
        }
    }
    let usual = Config::default().plugins.store_path();
    assert_eq!(usual, PathBuf::from(DEFAULT_STORE));
}
