//! `kongtap doctor`: what is found, what is missing, and what to do about it, in one table.
//!
//! In: the configuration that `run` would be given. Out: a [`Report`]. It looks, loads the probes once to see whether the
//! kernel takes them, and asks endpoints and the Admin API whether they are there; it watches nothing and sends no message.

mod tls;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::app::setup;
use crate::capture::gateways::{self, Gateway, Selector};
use crate::capture::host::{self, Check, CheckState};
use crate::capture::libraries::LibraryFinder;
use crate::capture::probes::{CaptureError, ProbeOptions, Probes};
use crate::capture::sources::{SocketSource, SourceChoice};
use crate::capture::usage;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::gateway::source::{Source, chain};
use crate::ship::probe;

/// Ring that the trial load uses, bytes.
const TRIAL_RING_BYTES: u32 = 64 << 10;

/// What doctor found, row by row.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Check>,
    privilege_is_missing: bool,
}

/// Looks at everything that `run` needs.
pub async fn examine(config: &Config) -> Report {
    let mut rows = host::look();
    let privilege_is_missing = load(config, &mut rows);
    let source = configuration(config, &mut rows).await;
    gateway(config, source.as_ref(), &mut rows).await;
    endpoints(config, &mut rows).await;
    running_agent(config, &mut rows).await;
    Report {
        rows,
        privilege_is_missing,
    }
}

fn row(name: &'static str, state: CheckState, found: impl Into<String>, remedy: Option<&str>) -> Check {
    Check {
        name,
        state,
        found: found.into(),
        remedy: remedy.map(str::to_owned),
    }
}

/// A row for each source of socket bytes, and one for whether `run` can have the one that it wants. Says whether privilege
/// is what is missing.
fn load(config: &Config, rows: &mut Vec<Check>) -> bool {
    let choice = setup::capture::source_choice(config.capture.sockets);
    let outcomes = SocketSource::ALL.map(|source| {
        let options = ProbeOptions {
            sockets: SourceChoice::Only(source),
            ring_bytes: TRIAL_RING_BYTES,
            ..ProbeOptions::default()
        };
        (source, Probes::load(&options).map(drop))
    });
    let taken = outcomes
        .iter()
        .find(|(source, outcome)| outcome.is_ok() && choice.candidates().contains(source))
        .map(|(source, _)| *source);
    let asked_for = match choice {
        SourceChoice::Auto => "auto",
        SourceChoice::Only(source) => source.label(),
    };
    for (source, outcome) in &outcomes {
        rows.push(source_row(*source, outcome, taken, asked_for));
    }
    if let Some(source) = taken {
        let found = format!("the kernel takes every program (sockets = {source})");
        rows.push(row("probes", CheckState::Ok, found, None));
        return false;
    }
    let is_privilege = outcomes
        .iter()
        .any(|(source, outcome)| choice.candidates().contains(source) && is_refusal(outcome));
    let remedy = if is_privilege {
        "run as root, or with the capabilities that docs/privileges.md lists"
    } else {
        "see the rows above; LIMITATIONS.md says what the kernel must offer"
    };
    let found = format!("no source of socket bytes works (capture.sockets = {asked_for:?})");
    rows.push(row("probes", CheckState::Failed, found, Some(remedy)));
    is_privilege
}

const fn is_refusal(outcome: &Result<(), CaptureError>) -> bool {
    matches!(outcome, Err(CaptureError::NoPrivilege { .. }))
}

fn source_row(
    source: SocketSource,
    outcome: &Result<(), CaptureError>,
    taken: Option<SocketSource>,
    asked_for: &str,
) -> Check {
    let name = match source {
        SocketSource::Sock => "source: sock",
        SocketSource::Syscalls => "source: syscalls",
        SocketSource::Uprobes => "source: uprobes",
    };
    let cost = match source {
        SocketSource::Sock => "costs other processes next to nothing",
        SocketSource::Syscalls => "every process of the host pays for it",
        SocketSource::Uprobes => "costs the gateway more than the others, and nobody else",
    };
    match outcome {
        Ok(()) if taken == Some(source) => {
            let found = format!("available, taken (capture.sockets = {asked_for:?})");
            row(name, CheckState::Ok, found, None)
        }
        Ok(()) => row(name, CheckState::Ok, format!("available; {cost}"), None),
        // Another one does its work.
        Err(error) if taken.is_some() => {
            row(name, CheckState::Ok, format!("not here: {}", chain(error)), None)
        }
        Err(error) => row(name, CheckState::Warning, chain(error), None),
    }
}

async fn configuration(config: &Config, rows: &mut Vec<Check>) -> Option<Source> {
    const NAME: &str = "gateway's configuration";
    let source = match setup::gateway::source(config) {
        Ok(Some(source)) => source,
        Ok(None) => {
            rows.push(row(
                NAME,
                CheckState::Warning,
                "none: routes will be unknown, and only a global runscope configuration can apply",
                Some("give --gateway-config kong.yml or --admin-url http://127.0.0.1:8001"),
            ));
            return None;
        }
        Err(error) => {
            rows.push(row(
                NAME,
                CheckState::Failed,
                chain(&error),
                Some("correct what is named, or see `gateway` in docs/configuration.md"),
            ));
            return None;
        }
    };
    match source.fetch().await {
        Ok(reading) => {
            let entities = &reading.entities;
            let found = format!(
                "{source}: {} services, {} routes, {} consumers, {} plugins",
                entities.services.len(),
                entities.routes.len(),
                entities.consumers.len(),
                entities.plugins.len()
            );
            rows.push(row(NAME, CheckState::Ok, found, None));
        }
        Err(error) => rows.push(row(
            NAME,
            CheckState::Failed,
            chain(&error),
            Some("correct what it says; `kongtap check-config` lists every mistake"),
        )),
    }
    Some(source)
}

async fn gateway(config: &Config, source: Option<&Source>, rows: &mut Vec<Check>) {
    const NAME: &str = "gateway";
    let facts = match source {
        Some(Source::AdminApi(api)) => api.facts().await.ok(),
        Some(Source::Files(_) | Source::Konnect(_)) | None => None,
    };
    let selector: Selector = setup::capture::selector(config, facts.as_ref());
    match gateways::find(&selector) {
        Ok(found) => {
            let mut libraries = LibraryFinder::default();
            for gateway in found {
                rows.push(row(NAME, CheckState::Ok, describe(&gateway), None));
                tls::examine(config, &gateway, &mut libraries, rows);
            }
        }
        Err(error) => rows.push(row(
            NAME,
            CheckState::Failed,
            chain(&error),
            Some("start the gateway, or name one of its processes with --pid"),
        )),
    }
}

fn describe(gateway: &Gateway) -> String {
    let workers: Vec<String> = gateway
        .workers
        .iter()
        .map(|worker| worker.pid.to_string())
        .collect();
    let mut text = gateway.kind.label().to_owned();
    if let Some(master) = gateway.master {
        write_into(&mut text, format_args!(", master {master}"));
    }
    write_into(&mut text, format_args!(", workers {}", workers.join(" ")));
    if !gateway.listeners.is_empty() {
        let listeners: Vec<String> = gateway.listeners.iter().map(ToString::to_string).collect();
        write_into(&mut text, format_args!(", listens on {}", listeners.join(" ")));
    }
    if let Some(log) = &gateway.error_log {
        write_into(
            &mut text,
            format_args!(", its own errors are in {}", log.display()),
        );
    }
    text
}

async fn endpoints(config: &Config, rows: &mut Vec<Check>) {
    const NAME: &str = "endpoint";
    let checked = match setup::check_files(config) {
        Ok(checked) => checked,
        Err(mistakes) => {
            let found: Vec<String> = mistakes.0.iter().map(ToString::to_string).collect();
            let remedy = Some("correct every line");
            rows.push(row(
                "configuration files",
                CheckState::Failed,
                found.join("; "),
                remedy,
            ));
            return;
        }
    };
    if checked.plugins.is_empty() {
        rows.push(row(
            NAME,
            CheckState::Warning,
            "no runscope configuration: nothing will be shipped",
            Some("give --plugins runscope.yml, or set KONGTAP_ACCESS_TOKEN and KONGTAP_BUCKET_KEY"),
        ));
    }
    let mut seen = BTreeSet::new();
    let proxy = config.ship.proxy.clone().unwrap_or_default();
    for plugin in &checked.plugins {
        let destination = Arc::clone(&plugin.destination);
        let origin = destination.url.origin().ascii_serialization();
        if !seen.insert(origin.clone()) {
            continue;
        }
        match probe::probe(&destination, &proxy).await {
            Ok(reached) => {
                let found = format!("{origin} answers, in {} ms", reached.took.as_millis());
                rows.push(row(NAME, CheckState::Ok, found, None));
            }
            Err(error) => rows.push(row(
                NAME,
                CheckState::Failed,
                format!("{origin}: {}", chain(&error)),
                Some("check api_endpoint, and that the receiver runs"),
            )),
        }
    }
}

async fn running_agent(config: &Config, rows: &mut Vec<Check>) {
    const NAME: &str = "agent";
    let url = format!("http://{}/status", config.admin.listen);
    let size = usage::of_this_process().executable_bytes / 1024;
    let found = match ask(&url).await {
        Some(status) => {
            let number = |path: &str| {
                status
                    .pointer(path)
                    .and_then(serde_json::Value::as_f64)
                    .unwrap_or(0.0)
            };
            let uptime = number("/uptime_seconds").max(1.0);
            format!(
                "runs at {url}: {:.1} MiB of memory, {:.2} % of a core since its start, program {size} KiB; {}",
                number("/usage/memory_bytes") / f64::from(1 << 20),
                number("/usage/cpu_seconds") * 100.0 / uptime,
                bytes_in_words(&status)
            )
        }
        None => format!("does not run at {url}; program {size} KiB"),
    };
    rows.push(row(NAME, CheckState::Ok, found, None));
}

/// The byte half of the ledger: what of the bytes seen was left and lost, and why.
fn bytes_in_words(status: &serde_json::Value) -> String {
    let reasons = |of: &str| -> String {
        let counts = status
            .pointer(&format!("/bytes/{of}"))
            .and_then(serde_json::Value::as_object);
        let named: Vec<String> = counts
            .into_iter()
            .flatten()
            .filter(|(_, count)| count.as_u64() != Some(0))
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        if named.is_empty() {
            "none".to_owned()
        } else {
            named.join(", ")
        }
    };
    let seen = status
        .pointer("/bytes/seen")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0);
    format!(
        "{seen} bytes seen; left: {}; lost: {}",
        reasons("left"),
        reasons("lost")
    )
}

async fn ask(url: &str) -> Option<serde_json::Value> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(std::time::Duration::from_secs(2))
        .build()
        .ok()?;
    client.get(url).send().await.ok()?.json().await.ok()
}

fn write_into(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if text.write_fmt(arguments).is_err() {
        // Writing into a string does not fail; what was written stays.
    }
}

impl Report {
    /// The table for people.
    #[must_use]
    pub fn to_table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            let mark = label(row.state);
            write_into(
                &mut text,
                format_args!("{mark:<7} {:<width$}  {}\n", row.name, row.found),
            );
            if let Some(remedy) = &row.remedy {
                write_into(&mut text, format_args!("{:<7} {:<width$}  → {remedy}\n", "", ""));
            }
        }
        let (failed, warnings) = (self.count(CheckState::Failed), self.count(CheckState::Warning));
        write_into(&mut text, format_args!("\n{failed} failed, {warnings} warnings"));
        text
    }

    /// The same as JSON: a list of `{name, state, found, remedy}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let rows: Vec<serde_json::Value> = self
            .rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "name": row.name,
                    "state": label(row.state),
                    "found": row.found,
                    "remedy": row.remedy,
                })
            })
            .collect();
        serde_json::Value::from(rows).to_string()
    }

    /// 0 when `run` would work; otherwise the code with which it would end.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.privilege_is_missing {
            Exit::NoPrivilege
        } else if self.count(CheckState::Failed) > 0 {
            Exit::Unavailable
        } else {
            Exit::Ok
        }
    }

    fn count(&self, state: CheckState) -> usize {
        self.rows.iter().filter(|row| row.state == state).count()
    }
}

const fn label(state: CheckState) -> &'static str {
    match state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Failed => "FAILED",
    }
}

#[cfg(test)]
mod tests {
    use super::{CheckState, Exit, Report, row};

    fn report(states: &[CheckState], privilege_is_missing: bool) -> Report {
        let rows = states
            .iter()
            .map(|state| row("thing", *state, "found", Some("do it")))
            .collect();
        Report {
            rows,
            privilege_is_missing,
        }
    }

    #[test]
    fn the_exit_code_is_that_of_run() {
        assert_eq!(
            report(&[CheckState::Ok, CheckState::Warning], false).exit(),
            Exit::Ok
        );
        assert_eq!(
            report(&[CheckState::Ok, CheckState::Failed], false).exit(),
            Exit::Unavailable
        );
        assert_eq!(report(&[CheckState::Failed], true).exit(), Exit::NoPrivilege);
    }

    #[test]
    fn the_table_says_what_to_do() {
        let table = report(&[CheckState::Failed, CheckState::Ok], false).to_table();
        assert!(table.contains("FAILED  thing  found"), "{table}");
        assert!(table.contains("→ do it"), "{table}");
        assert!(table.ends_with("1 failed, 0 warnings"), "{table}");
    }

    #[test]
    fn the_json_has_every_row() {
        let json: serde_json::Value =
            serde_json::from_str(&report(&[CheckState::Ok, CheckState::Failed], false).to_json()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 2);
        assert_eq!(json[1]["state"], "FAILED");
    }
}
