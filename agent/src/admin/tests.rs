use super::is_ready;
use crate::telemetry::status::{GatewayStatus, State, Status, WorkerStatus};

#[test]
fn ready_means_attached_and_configured() {
    let mut status = Status {
        state: State::Watching,
        ..Status::default()
    };
    assert!(!is_ready(&status), "no workers yet");
    status.gateways.push(GatewayStatus {
        kind: "nginx",
        master: Some(1),
        workers: vec![WorkerStatus {
            pid: 2,
            tls: "calls".into(),
            watched_since_unix_ms: 0,
            found: "running",
        }],
        listeners: Vec::new(),
        error_log: None,
    });
    assert!(is_ready(&status), "no source of configuration is asked for");
    status.configuration.source = "kong.yml".into();
    assert!(!is_ready(&status), "asked for, and not read yet");
    status.configuration.age_seconds = Some(0);
    assert!(is_ready(&status));
    status.state = State::Stopping;
    assert!(!is_ready(&status));
}
