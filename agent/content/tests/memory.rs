//! Decoding takes no more memory than the limits say, whatever the data asks for.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use kongtap_content::{Limits, decode};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most memory that was in use beyond what was before.
fn peak(codings: &str, body: &[u8], limits: &Limits) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let decoded = decode([codings], body, limits);
    assert!(
        decoded.bytes.len() <= limits.output_bytes.max(body.len()),
        "{codings}"
    );
    MEMORY.peak_usage().saturating_sub(before)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn brotli(mut text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams {
        lgwin: 23,
        quality: 5,
        ..Default::default()
    };
    brotli::BrotliCompress(&mut text, &mut coded, &parameters).unwrap();
    coded
}

/// Blocks of 128 KiB of one byte, in a frame with a window of 8 MiB.
fn zstd() -> Vec<u8> {
    let mut bomb = b"\x28\xb5\x2f\xfd\x00\x68".to_vec();
    for block in 1..=192 {
        let header = (128 << 10) << 3 | 1 << 1 | u32::from(block == 192);
        bomb.extend_from_slice(&header.to_le_bytes()[..3]);
        bomb.push(b'a');
    }
    bomb
}

/// One test, as everything in this process counts.
#[test]
fn bombs_take_no_more_than_the_limits_say() {
    let zeros = vec![0; 24 << 20];
    let gzip_once = gzip(&zeros);
    // A frame that claims 2^63 bytes, and a brotli block that claims 16 MiB.
    let zstd_claim = b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x80\x01\0\0".to_vec();
    let brotli_claim = [0xef, 0xff, 0xff, 0xff, 0xff];
    let bodies: [(&str, Vec<u8>); 7] = [
        ("gzip", gzip_once.clone()),
        ("gzip, gzip", gzip(&gzip_once)),
        ("br", brotli(&zeros)),
        ("gzip, br", brotli(&gzip_once)),
        ("zstd", zstd()),
        ("zstd", zstd_claim),
        ("br", brotli_claim.to_vec()),
    ];
    drop(zeros);
    for output_bytes in [0, 10_000, 1 << 20, 16 << 20] {
        for window_bytes in [64 << 10, 8 << 20] {
            for ratio in [1_000, usize::MAX] {
                let limits = Limits {
                    window_bytes,
                    ratio,
                    ..Limits::of_output(output_bytes)
                };
                for (codings, body) in &bodies {
                    let peak = peak(codings, body, &limits);
                    assert!(
                        peak <= limits.memory_bytes(),
                        "{codings}: {peak} bytes of {} under {limits:?}",
                        limits.memory_bytes()
                    );
                }
            }
        }
    }
    // The bound is not so wide that nothing could exceed it.
    let limits = Limits::of_output(16 << 20);
    let taken = peak("gzip", &gzip_once, &limits);
    assert!(taken * 4 > limits.memory_bytes(), "{taken}");
}
