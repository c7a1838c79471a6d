use super::check_files;
use crate::config::Config;

#[test]
fn every_file_of_a_directory_is_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("a.yml", "{_format_version: '3.0', services: [{name: s}]}"),
        ("b.yml", "{_format_version: '3.0', services: 7}"),
    ] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let mut config = Config::default();
    config.gateway.files = vec![directory.path().to_owned()];
    let mistakes = check_files(&config).expect_err("b.yml is wrong").to_string();
    assert!(
        mistakes.ends_with("b.yml: services: must be a list, not a number"),
        "{mistakes}"
    );
    std::fs::remove_file(directory.path().join("b.yml")).expect("removed");
    assert_eq!(check_files(&config).expect("a.yml is right").entities, (1, 0, 0));
}
