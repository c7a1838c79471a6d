//! What an append costs, within wide bounds. Figures are in docs/delivery.md; `examples/ship_rate.rs` measures them.

use bytes::Bytes;

use super::{Scene, options};
use crate::clock;
use crate::ship::spool::{Appended, Flags, Memory};

#[test]
fn an_append_never_waits_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let text: Bytes = "x".repeat(2048).into();
    let started = clock::instant();
    let mut refused = 0;
    for _ in 0..50_000 {
        match scene
            .spool
            .append(scene.key, &text, Flags::default(), Memory::Full)
        {
            Appended::Waiting => {}
            Appended::Refused => refused += 1,
            held @ Appended::Held(_) => panic!("{held:?}"),
        }
    }
    let took = started.elapsed();
    assert!(took.as_micros() < 50_000 * 50, "{took:?}");
    let stats = scene.spool.stats();
    assert_eq!(stats.counts["spool_behind"], refused);
    scene.spool.flush();
    let waiting = scene.waiting() + scene.told.messages("spool_full");
    assert_eq!(waiting + refused, 50_000);
}
