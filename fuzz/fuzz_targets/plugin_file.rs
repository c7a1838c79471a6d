//! libFuzzer's way into [`kongtap_fuzz_targets::plugin_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kongtap_fuzz_targets::plugin_file::run(data));
