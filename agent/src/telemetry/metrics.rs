//! `/metrics`: the status as an OpenMetrics exposition. Every metric is in `docs/metrics.md`; a test compares.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::ship::spool::SpoolStats;
use crate::telemetry::status::guard::GuardStatus;
use crate::telemetry::status::{Counts, Shed, State, Status};

/// Renders `status` as OpenMetrics text.
///
/// # Errors
/// Never in practice: writing to a `String` does not fail.
pub fn render(status: Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("kongtap");
    registry.register_collector(Box::new(Exposition(status)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition(Status);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.0;
        let bytes = &status.bytes;
        let exchanges = &status.exchanges;
        let mut out = Families(&mut encoder);

        out.labelled(
            "build",
            "Version of kongtap; always 1",
            "version",
            [(status.version, 1)],
            Kind::Gauge,
        )?;
        out.gauge(
            "watching",
            "1 while attached to a gateway",
            u64::from(status.state == State::Watching),
        )?;
        out.gauge(
            "workers",
            "Gateway processes watched",
            count(status.gateways.iter().map(|g| g.workers.len()).sum()),
        )?;
        out.gauge(
            "memory_bytes",
            "Resident memory of the agent",
            status.usage.memory_bytes,
        )?;
        guard(&mut out, &status.guard)?;
        out.gauge(
            "problems",
            "Problems that /status names",
            count(status.problems.len()),
        )?;

        out.counter(
            "seen_bytes",
            "Bytes that moved on the watched streams",
            bytes.seen,
        )?;
        out.counter("copied_bytes", "Bytes copied from the gateway", bytes.copied)?;
        out.counter("read_bytes", "Copied bytes given to the parser", bytes.read)?;
        out.counter(
            "ciphertext_bytes",
            "Ciphertext beneath TLS, outside the sum",
            bytes.ciphertext,
        )?;
        out.counts(
            "left_bytes",
            "Bytes deliberately not copied",
            "reason",
            &bytes.left,
            Kind::Counter,
        )?;
        out.counts("lost_bytes", "Bytes lost", "reason", &bytes.lost, Kind::Counter)?;
        out.counts(
            "probe_events",
            "Events in the probes beside bytes",
            "event",
            &status.probes,
            Kind::Counter,
        )?;

        out.counter("exchanges_seen", "Exchanges put together", exchanges.seen)?;
        out.counter(
            "exchanges_shipped",
            "Exchanges that an endpoint accepted",
            exchanges.shipped,
        )?;
        out.gauge(
            "exchanges_queued",
            "Exchanges queued or in flight",
            exchanges.queued,
        )?;
        out.counts(
            "exchanges_filtered",
            "Exchanges not shipped on purpose",
            "reason",
            &exchanges.filtered,
            Kind::Counter,
        )?;
        out.counts(
            "exchanges_dropped",
            "Exchanges lost",
            "reason",
            &exchanges.dropped,
            Kind::Counter,
        )?;

        out.counts(
            "connection_events",
            "Connections and parsing",
            "event",
            &status.connections,
            Kind::Counter,
        )?;
        out.counts(
            "join_events",
            "Joining of the two legs",
            "event",
            &status.joins,
            Kind::Counter,
        )?;
        out.counts(
            "delivery_events",
            "Posts to endpoints",
            "event",
            &status.delivery.counts,
            Kind::Counter,
        )?;
        out.gauge(
            "posts_in_flight",
            "Posts to endpoints that have not ended",
            status.delivery.in_flight,
        )?;
        out.gauge(
            "posts_allowed",
            "Posts to endpoints that may be in flight at once",
            status.delivery.allowed,
        )?;
        out.counts(
            "endpoints",
            "Endpoints with messages, or remembered",
            "state",
            &status.delivery.endpoint_states,
            Kind::Gauge,
        )?;
        out.gauge(
            "queued_bytes",
            "Bytes of queued messages",
            status.delivery.queued_bytes,
        )?;
        out.gauge(
            "queued_repeats",
            "Queued messages that wait to be sent again",
            status.delivery.queued_repeats,
        )?;
        out.gauge(
            "queue_limit_bytes",
            "Bytes of messages that may be queued now",
            status.delivery.limit_bytes,
        )?;
        out.shed(&status.delivery.shed)?;

        spool(&mut out, &status.delivery.spool.clone().unwrap_or_default())?;

        out.counts(
            "configuration_entities",
            "Entities of the gateway's configuration",
            "kind",
            &status.configuration.entities,
            Kind::Gauge,
        )?;
        out.gauge(
            "configuration_failed",
            "1 while the gateway's configuration cannot be read",
            u64::from(status.configuration.error.is_some()),
        )?;
        if let Some(age) = status.configuration.age_seconds {
            out.gauge(
                "configuration_age_seconds",
                "Seconds since the configuration was last read",
                age,
            )?;
        }
        Ok(())
    }
}

fn spool(out: &mut Families<'_, '_>, spool: &SpoolStats) -> fmt::Result {
    out.counts(
        "spool_events",
        "Messages and files of the spool",
        "event",
        &spool.counts,
        Kind::Counter,
    )?;
    for (name, help, value) in [
        (
            "spool_stored_messages",
            "Messages on disk that are still to be delivered",
            spool.stored.messages,
        ),
        (
            "spool_waiting_messages",
            "Of those, the ones that only the disk has",
            spool.waiting.messages,
        ),
        (
            "spool_unsynced_messages",
            "Of those, the ones that a failure of the machine may take",
            spool.unsynced.messages,
        ),
        ("spool_bytes", "What the spool takes on disk", spool.disk_bytes),
        (
            "spool_failed",
            "1 while the disk refuses what the spool wants",
            u64::from(spool.fault.as_ref().is_some_and(|fault| fault.is_current)),
        ),
    ] {
        out.gauge(name, help, value)?;
    }
    Ok(())
}

/// What the guard does, by resource.
fn guard(out: &mut Families<'_, '_>, guard: &GuardStatus) -> fmt::Result {
    let (cpu, memory) = (&guard.cpu.ladder, &guard.memory.ladder);
    let both = |cpu, memory| [("cpu", cpu), ("memory", memory)];
    out.labelled(
        "guard_step",
        "How much of its work the agent leaves undone; 0: none",
        "resource",
        both(cpu.index, memory.index),
        Kind::Gauge,
    )?;
    out.labelled(
        "guard_changes",
        "Steps that the guard took",
        "resource",
        both(cpu.climbs + cpu.descents, memory.climbs + memory.descents),
        Kind::Counter,
    )?;
    out.labelled(
        "guard_cut_body_bytes",
        "Bytes of bodies that messages went without",
        "resource",
        both(cpu.cut_body_bytes, memory.cut_body_bytes),
        Kind::Counter,
    )?;
    out.counts(
        "held_bytes",
        "Bytes of memory that are counted, by who holds them",
        "by",
        &guard.memory.held_bytes,
        Kind::Gauge,
    )
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Families<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, Kind::Counter.of())?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(signed(value));
        gauge.encode(self.0.encode_descriptor(name, help, None, Kind::Gauge.of())?)
    }

    fn counts(&mut self, name: &str, help: &str, label: &str, counts: &Counts, kind: Kind) -> fmt::Result {
        self.labelled(
            name,
            help,
            label,
            counts.iter().map(|(value, count)| (*value, *count)),
            kind,
        )
    }

    fn shed(&mut self, shed: &Shed) -> fmt::Result {
        self.counts(
            "bodies_shed",
            "Messages that were kept without their bodies",
            "cause",
            &shed.bodies,
            Kind::Counter,
        )?;
        self.counts(
            "body_bytes_shed",
            "Bytes that leaving bodies out has saved",
            "cause",
            &shed.body_bytes,
            Kind::Counter,
        )?;
        let (name, help) = ("messages_dropped", "Messages that were not delivered");
        let mut family = self.0.encode_descriptor(name, help, None, Kind::Counter.of())?;
        for (outcome, counts) in [("success", &shed.successes), ("error", &shed.errors)] {
            for (reason, count) in counts {
                let labels = [("reason", *reason), ("outcome", outcome)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn labelled(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
        kind: Kind,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind.of())?;
        for (value, count) in values {
            let labels = [(label, value)];
            let series = family.encode_family(&labels)?;
            match kind {
                Kind::Counter => ConstCounter::new(count).encode(series)?,
                Kind::Gauge => ConstGauge::new(signed(count)).encode(series)?,
            }
        }
        Ok(())
    }
}

impl Kind {
    const fn of(self) -> prometheus_client::metrics::MetricType {
        match self {
            Self::Counter => prometheus_client::metrics::MetricType::Counter,
            Self::Gauge => prometheus_client::metrics::MetricType::Gauge,
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::telemetry::status::Status;

    fn full() -> Status {
        let mut status = Status {
            version: "1.2.3",
            ..Status::default()
        };
        status.bytes.seen = 7;
        status.bytes.lost.insert("ring_full", 3);
        status.configuration.age_seconds = Some(1);
        status.delivery.shed.errors.insert("timeout", 2);
        status
    }

    #[test]
    fn counters_and_labels_are_rendered() {
        let text = render(full()).unwrap();
        assert!(text.contains("kongtap_seen_bytes_total 7"), "{text}");
        assert!(
            text.contains("kongtap_lost_bytes_total{reason=\"ring_full\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("kongtap_messages_dropped_total{reason=\"timeout\",outcome=\"error\"} 2"),
            "{text}"
        );
        assert!(text.contains("kongtap_build{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn every_metric_is_documented_and_nothing_else_is() {
        let text = render(full()).unwrap();
        let mut rendered: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let documentation = include_str!("../../../docs/metrics.md");
        let mut documented: Vec<&str> = documentation
            .lines()
            .filter_map(|line| line.strip_prefix("| `kongtap_"))
            .filter_map(|line| line.split('`').next())
            .map(|name| name.strip_suffix("_total").unwrap_or(name))
            .collect();
        rendered.sort_unstable();
        documented.sort_unstable();
        let rendered: Vec<&str> = rendered
            .into_iter()
            .filter_map(|name| name.strip_prefix("kongtap_"))
            .collect();
        assert_eq!(rendered, documented, "docs/metrics.md and the exposition differ");
    }
}
