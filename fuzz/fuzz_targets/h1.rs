//! libFuzzer's way into [`kongtap_fuzz_targets::h1`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kongtap_fuzz_targets::h1::run(data));
