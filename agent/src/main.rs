//! `kongtap`: reads the command line, starts the runtime, and turns the outcome into a line and an exit code.

#![expect(unused_crate_dependencies, reason = "the library uses them")]

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use kongtap::app::{self, AppError, record, replay, runtime, setup};
use kongtap::capture::recording::Redacted;
use kongtap::capture::tls::self_test::child;
use kongtap::cli::exit::Exit;
use kongtap::cli::{Cli, DoctorArgs, ExplainArgs, RecordArgs, ReplayArgs, Verb, WatchArgs, environment};
use kongtap::config::Config;
use kongtap::doctor;
use kongtap::explain;
use kongtap::gateway::source::{SourceError, chain};
use kongtap::plugin::UnboundConfig;
use kongtap::ship::tls;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.verb, Verb::TlsSelfTest) {
        return self_test();
    }
    let filter = match EnvFilter::try_new(&cli.log) {
        Ok(filter) => filter,
        Err(error) => return fail(Exit::Configuration, [format!("--log: {error}")]),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    // Two providers could be compiled in by accident; this one is meant, and an earlier choice is none of ours.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match runtime::build() {
        Ok(runtime) => runtime.block_on(verb(cli.verb)),
        Err(error) => fail(Exit::Failed, [format!("cannot start the runtime: {error}")]),
    }
}

async fn verb(verb: Verb) -> ExitCode {
    match verb {
        Verb::Run(watch) => match configuration(&watch) {
            Ok(config) => outcome(app::run(config).await),
            Err(exit) => exit,
        },
        Verb::CheckConfig(watch) => check_config(&watch),
        Verb::Doctor(arguments) => look(&arguments).await,
        Verb::Explain(arguments) => explain_verb(&arguments).await,
        Verb::Record(arguments) => record_verb(&arguments).await,
        Verb::Replay(arguments) => replay_verb(&arguments).await,
        Verb::TlsSelfTest => self_test(),
    }
}

/// Before anything else is started: it is to be one thread with nothing to lose.
fn self_test() -> ExitCode {
    if child::run() { Exit::Ok } else { Exit::Failed }.into()
}

fn configuration(watch: &WatchArgs) -> Result<Config, ExitCode> {
    watch
        .resolve(&environment)
        .map_err(|errors| fail(Exit::Configuration, errors))
}

fn outcome(result: Result<(), AppError>) -> ExitCode {
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(AppError::Mistakes(mistakes)) => fail(Exit::Configuration, mistakes.0),
        Err(error) => fail(error.exit(), [chain(&error)]),
    }
}

fn check_config(watch: &WatchArgs) -> ExitCode {
    // What is wrong with the agent's own configuration does not keep the files from being checked.
    let (config, mut errors) = match watch.resolve(&environment) {
        Ok(config) => (config, Vec::new()),
        Err(errors) => {
            let files = Config {
                gateway: kongtap::config::GatewayConfig {
                    files: watch.gateway_config.clone(),
                    ..kongtap::config::GatewayConfig::default()
                },
                plugins: kongtap::config::PluginsConfig {
                    files: watch.plugins.clone(),
                    ..kongtap::config::PluginsConfig::default()
                },
                ..Config::default()
            };
            (files, errors.iter().map(ToString::to_string).collect())
        }
    };
    match setup::check_files(&config) {
        Ok(mut checked) if errors.is_empty() => {
            let stored = match setup::plugins::stored(&config) {
                Ok(stored) => stored,
                Err(mistakes) => return fail(Exit::Configuration, mistakes.0),
            };
            checked.plugins.extend(stored.plugins);
            let unusable: Vec<String> = checked.plugins.iter().filter_map(wrong_authorities).collect();
            if !unusable.is_empty() {
                return fail(Exit::Configuration, unusable);
            }
            let (services, routes, consumers) = checked.entities;
            say(&format!(
                "ok: {services} services, {routes} routes, {consumers} consumers; {} runscope configurations",
                checked.plugins.len()
            ));
            if let Some(note) = stored.note {
                say(&format!("note: {}: {note}", stored.path.display()));
            }
            for warning in checked.warnings {
                say(&format!("note: {warning}"));
            }
            if checked.plugins.is_empty() {
                say(
                    "note: no runscope configuration, so nothing would be shipped: give --plugins FILE, or set KONGTAP_ACCESS_TOKEN and KONGTAP_BUCKET_KEY",
                );
            }
            Exit::Ok.into()
        }
        Ok(_) => fail(Exit::Configuration, errors),
        Err(mistakes) => {
            errors.extend(mistakes.0.iter().map(ToString::to_string));
            fail(Exit::Configuration, errors)
        }
    }
}

/// What is wrong with the file of authorities that a configuration names. The agent starts all the same: the file may come later.
fn wrong_authorities(plugin: &UnboundConfig) -> Option<String> {
    let error = tls::check_authorities(&plugin.destination).err()?;
    Some(format!("{}: config.{}", plugin.origin, chain(&error)))
}

async fn look(arguments: &DoctorArgs) -> ExitCode {
    let config = match configuration(&arguments.watch) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let report = doctor::examine(&config).await;
    say(&if arguments.json {
        report.to_json()
    } else {
        report.to_table()
    });
    report.exit().into()
}

async fn explain_verb(arguments: &ExplainArgs) -> ExitCode {
    let ask = match arguments.ask() {
        Ok(ask) => ask,
        Err(error) => return fail(Exit::Usage, [error]),
    };
    let config = match configuration(&arguments.watch) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let (bound, account) = match setup::read_once(&config).await {
        Ok(read) => read,
        // Unlike `run`, which goes on and tries again, there is nothing to say without it.
        Err(AppError::Source(
            error @ (SourceError::Unreachable { .. }
            | SourceError::Timeout { .. }
            | SourceError::Status { .. }
            | SourceError::NotAdminApi { .. }
            | SourceError::Malformed { .. }
            | SourceError::TooLarge { .. }),
        )) => return fail(Exit::Failed, [chain(&error)]),
        Err(error) => return outcome(Err(error)),
    };
    match explain::explain(&bound, account, &ask) {
        Ok(explanation) => {
            say(if arguments.json {
                explanation.to_json()
            } else {
                explanation.to_string()
            }
            .trim_end());
            explanation.exit().into()
        }
        Err(error) => fail(Exit::Usage, [error]),
    }
}

async fn record_verb(arguments: &RecordArgs) -> ExitCode {
    let config = match configuration(&arguments.watch) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match record::record(config, arguments).await {
        Ok(()) => Exit::Ok.into(),
        Err(record::RecordError::App(error)) => outcome(Err(error)),
        Err(error) => fail(Exit::Failed, [chain(&error)]),
    }
}

async fn replay_verb(arguments: &ReplayArgs) -> ExitCode {
    let config = match configuration(&arguments.watch) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match replay::replay(&config, arguments).await {
        Ok(replayed) => {
            tell_of(&replayed);
            Exit::Ok.into()
        }
        Err(replay::ReplayError::App(error)) => outcome(Err(error)),
        Err(error) => fail(Exit::Failed, [chain(&error)]),
    }
}

/// Says what was read, and how far it can be trusted.
fn tell_of(replayed: &replay::Replayed) {
    let read = &replayed.read;
    tracing::info!(
        records = read.records,
        seen = replayed.ledger.seen,
        written = replayed.ledger.shipped,
        "Replayed."
    );
    if read.unknown + read.undecodable + read.passed_over > 0 {
        tracing::warn!(
            unknown = read.unknown,
            undecodable = read.undecodable,
            passed_over = read.passed_over,
            "Not everything could be read: a newer kongtap made the recording, or it is damaged."
        );
    }
    match &replayed.end {
        replay::End::Damaged => {
            tracing::warn!("The recording breaks off; what came before it is complete.");
        }
        replay::End::Cut => tracing::warn!(
            "The recorder was killed: what it had is here, but what was lost while recording is not known."
        ),
        replay::End::Told(trailer) => {
            let counts = &trailer.counts;
            let left_out = counts.mask.left_out_bytes;
            if trailer.lost_bytes() + counts.dropped_records + left_out > 0 {
                tracing::warn!(
                    lost_bytes = trailer.lost_bytes(),
                    left_out_bytes = left_out,
                    dropped_records = counts.dropped_records,
                    "Not everything is in the recording: lost while recording, or left out because it cannot be masked."
                );
            }
        }
    }
    if replayed.redaction == Redacted::Masked {
        tracing::info!("Credentials are masked in the recording: an x for each byte.");
    }
}

fn say(line: &str) {
    // A reader that has gone away is no failure.
    drop(writeln!(io::stdout().lock(), "{line}"));
}

fn fail(exit: Exit, errors: impl IntoIterator<Item = impl Display>) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for error in errors {
        drop(writeln!(stderr, "error: {error}"));
    }
    exit.into()
}
