//! What an exchange may take from the allocator. `cargo xtask bench parse` measures the rest; this is what must not become worse.
//!
//! This program's allocator counts what its thread takes (`allocation-counter`), so nothing else is tested in it.

#![expect(unused_crate_dependencies, reason = "they are the library's")]

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use kongtap_tests::bench::parse::allocations::{Allocations, Counted, of};
    use kongtap_tests::bench::parse::path::Stage;
    use kongtap_tests::bench::parse::scenario::Scenario;

    fn taken(scenario: Scenario, stage: Stage) -> Allocations {
        of(scenario, stage, |run| {
            let counted = measure(run);
            Counted {
                times: counted.count_total,
                bytes: counted.bytes_total,
                peak_bytes: counted.bytes_max,
            }
        })
        .unwrap()
    }

    #[test]
    fn with_bodies_off_a_body_of_any_length_takes_the_same_memory() {
        for stage in [Stage::Exchange, Stage::Message] {
            let (large, huge) = (taken(Scenario::LargeOff, stage), taken(Scenario::HugeOff, stage));
            // 80 times the bytes. The longer numbers in the heads and messages may take a few more.
            assert!(huge.bytes - large.bytes < 64.0, "{stage:?}: {large:?} {huge:?}");
            assert!(huge.times - large.times < 0.1, "{stage:?}: {large:?} {huge:?}");
        }
    }

    #[test]
    fn with_bodies_on_the_path_takes_its_body_a_bounded_number_of_times() {
        let (medium, large) = (
            taken(Scenario::Medium, Stage::Exchange),
            taken(Scenario::Large, Stage::Exchange),
        );
        let body_bytes = f64::from((64 - 8) << 10);
        let times = (large.bytes - medium.bytes) / body_bytes;
        assert!(times < 6.0, "each byte of a body is taken {times} times");
    }

    #[test]
    fn a_small_exchange_takes_few_allocations() {
        let check = |scenario, stage, most_times, most_bytes| {
            let taken = taken(scenario, stage);
            assert!(taken.times <= most_times, "{scenario:?} {stage:?}: {taken:?}");
            assert!(taken.bytes <= most_bytes, "{scenario:?} {stage:?}: {taken:?}");
        };
        check(Scenario::Small, Stage::Exchange, 16.0, 11_500.0);
        check(Scenario::Small, Stage::Message, 50.0, 19_000.0);
    }
}
