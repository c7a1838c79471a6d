//! What is fuzzed: one function a target, given any bytes, that panics when a property does not hold.
//!
//! In: bytes, from libFuzzer (`fuzz/fuzz_targets/`) or from the committed corpora (`tests/replay.rs`, which `cargo test` runs): both call the
//! same functions. Out: nothing, or a panic that says which property is broken. Deliberately absent: libFuzzer itself, so that
//! this builds and runs everywhere, and cases with known answers (those are in the tests beside the code).

mod bounds;
pub mod content;
mod file;
mod flow;
mod gateway;
pub mod h1;
pub mod h2;
pub mod hpack;
pub mod kong_yml;
mod late;
pub mod mask;
pub mod plugin_file;
pub mod record;
pub mod recordings;
pub mod records;
pub mod redact;
pub mod script;

/// What a target does with any bytes.
pub type Run = fn(&[u8]);

/// Every target by its name, which is that of its module, its corpus and its program.
pub const TARGETS: [(&str, Run); 10] = [
    ("content", content::run),
    ("h1", h1::run),
    ("h2", h2::run),
    ("hpack", hpack::run),
    ("kong_yml", kong_yml::run),
    ("mask", mask::run),
    ("plugin_file", plugin_file::run),
    ("recordings", recordings::run),
    ("records", records::run),
    ("redact", redact::run),
];
