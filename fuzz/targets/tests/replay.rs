//! Every input of the committed corpora, and every one that once broke something, through the function that is fuzzed.
//!
//! `fuzz/corpus/TARGET/` is what fuzzing grew, minimised; `fuzz/regressions/TARGET/NAME` are the inputs that found a defect.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use kongtap_fuzz_targets::{Run, TARGETS};

/// Files of one corpus.
const MOST_FILES: usize = 200;
/// Bytes of one corpus.
const MOST_BYTES: usize = 300 * 1024;

/// `fuzz/`
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files with their names, in order; none where there is no directory.
fn inputs(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect()
}

/// Runs all inputs, and names every one that breaks something.
fn replay(target: &str, run: Run) -> usize {
    let corpus = inputs(&directory().join("corpus").join(target));
    assert!(!corpus.is_empty(), "fuzz/corpus/{target} is empty");
    let bytes: usize = corpus.iter().map(|(_, input)| input.len()).sum();
    assert!(
        corpus.len() <= MOST_FILES && bytes <= MOST_BYTES,
        "fuzz/corpus/{target} has {} files of {bytes} bytes: `cargo xtask fuzz --target {target} --minimise`",
        corpus.len()
    );
    let regressions = inputs(&directory().join("regressions").join(target));
    let inputs = corpus.iter().chain(&regressions);
    let broken: Vec<_> = inputs
        .filter(|(_, input)| catch_unwind(AssertUnwindSafe(|| run(input))).is_err())
        .map(|(path, _)| path.as_str())
        .collect();
    assert!(broken.is_empty(), "{target}: {}", broken.join(", "));
    println!(
        "{target}: {} inputs of the corpus, {} that once broke something",
        corpus.len(),
        regressions.len()
    );
    corpus.len() + regressions.len()
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), kongtap_fuzz_targets::$target::run);
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_program() {
            let replayed = [$(stringify!($target)),*];
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, replayed);
            let manifest = fs::read_to_string(directory().join("Cargo.toml")).unwrap();
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml: {name}");
                let program = fs::read_to_string(directory().join(format!("fuzz_targets/{name}.rs"))).unwrap();
                assert!(program.contains(&format!("kongtap_fuzz_targets::{name}::run(data)")), "{name}");
            }
        }
    };
}

replays!(content h1 h2 hpack kong_yml mask plugin_file recordings records redact);
