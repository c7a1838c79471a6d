//! The command line: what can be typed, how it is laid over the configuration, and what the exit code says.
//!
//! In: arguments and environment. Out: a verb with its [`Config`]. Deliberately absent: doing anything (`app`, `doctor`,
//! `replay`).

pub mod exit;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::capture::recording::SMALLEST_LIMIT_BYTES;
use crate::config::{self, Config, ConfigError, SocketCapture};
use crate::explain::ask::{Ask, AskError, Protocol, Words};

/// Watch a running Kong gateway and ship its exchanges to a Runscope endpoint, without touching the gateway.
#[derive(Debug, Parser)]
#[command(name = "kongtap", version, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
pub struct Cli {
    /// How much to log: error, warn, info, debug, trace, or a filter such as `info,kongtap::ship=debug`.
    #[arg(
        long,
        global = true,
        env = "KONGTAP_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "Start with `kongtap doctor`: it says what is found and what is missing.";

const AFTER_LONG_HELP: &str = "\
Start with `kongtap doctor`: it says what is found and what is missing.

Three steps to a gateway's traffic in an inspector:
  1. kongtap-inspector serve --token secret
  2. export KONGTAP_ACCESS_TOKEN=secret KONGTAP_BUCKET_KEY=demo KONGTAP_API_ENDPOINT=http://127.0.0.1:8012
  3. sudo -E kongtap run --gateway-config kong.yml

The exit codes stand in `kongtap run --help`.

Environment: KONGTAP_ACCESS_TOKEN, KONGTAP_BUCKET_KEY, KONGTAP_API_ENDPOINT and KONGTAP_LOG_BODY make one global
runscope configuration; KONGTAP_ADMIN_URL and KONGTAP_ADMIN_TOKEN reach the gateway's Admin API.";

const EXIT_CODES: &str = "\
Exit codes:
  0   ok
  1   it failed while running
  2   the command line is wrong
  64  the configuration is wrong (every mistake is printed)
  69  there is nothing to watch, or this kernel cannot do it
  77  privileges are missing";

const EXPLAIN_EXIT_CODES: &str = "\
Exit codes:
  0   a configuration applies
  1   the gateway's configuration cannot be read
  2   the command line is wrong
  3   no configuration applies: nothing would be shipped
  4   it depends on a route or consumer that is not known
  64  the configuration is wrong (every mistake is printed)";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Watch, and ship.
    #[command(after_help = EXIT_CODES)]
    Run(WatchArgs),
    /// Check every configuration file, and print every mistake.
    #[command(after_help = EXIT_CODES)]
    CheckConfig(WatchArgs),
    /// Say what is found and what is missing, and what to do about it.
    #[command(after_help = EXIT_CODES)]
    Doctor(DoctorArgs),
    /// Write what the probes see into a file, for `replay`, with credentials masked.
    #[command(after_help = EXIT_CODES)]
    Record(RecordArgs),
    /// Say which route, service, consumer and runscope configuration would apply to a request, and why not the next best ones.
    #[command(after_help = EXPLAIN_EXIT_CODES)]
    Explain(ExplainArgs),
    /// Run a recording through the whole pipeline, without root, and print the messages.
    Replay(ReplayArgs),
    /// What `run` starts to prove its TLS probes on a library; of no use by hand.
    #[command(hide = true)]
    TlsSelfTest,
}

/// What to watch, with which configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct WatchArgs {
    /// The agent's own configuration (TOML). Flags and the environment win over it.
    #[arg(long, value_name = "FILE", env = "KONGTAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// A gateway process: its master, or one worker. May be repeated. Without it: found in /proc.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Wait for a gateway when none is running (instead of exit code 69).
    #[arg(long)]
    pub wait: bool,
    /// The gateway's declarative configuration (kong.yml). May be repeated.
    #[arg(long, value_name = "FILE")]
    pub gateway_config: Vec<PathBuf>,
    /// The gateway's Admin API, such as http://127.0.0.1:8001.
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
    /// runscope configurations: a file with a `plugins:` list in Kong's own form. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub plugins: Vec<PathBuf>,
    /// Where the plugin API keeps its configurations (plugins.store; KONGTAP_STORE).
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Endpoint of the global configuration that the environment gives.
    #[arg(long, value_name = "URL")]
    pub api_endpoint: Option<String>,
    /// Where the bytes of socket calls come from (capture.sockets).
    #[arg(long, value_name = "SOURCE", env = "KONGTAP_SOCKETS", ignore_case = true)]
    pub sockets: Option<SocketCapture>,
    /// Address of the plugin API and of /status, /metrics, /healthz and /readyz.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

/// `kongtap doctor`
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// What `run` would be given.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// `kongtap explain`
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The method.
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// The address, such as http://api.example.com:8000/orders?x=1, or a path alone.
    #[arg(value_name = "URL")]
    pub url: String,
    /// A header field. May be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The body; a form unless a Content-Type says otherwise.
    #[arg(long, short, value_name = "BODY")]
    pub data: Option<String>,
    /// Take it for authenticated as this consumer: an id or a user name.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// What it comes by. Without it: by the URL's scheme, else http.
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<Protocol>,
    /// The client's address. Without it: 127.0.0.1.
    #[arg(long, value_name = "ADDRESS")]
    pub client_address: Option<IpAddr>,
    /// Print JSON instead of a trace.
    #[arg(long)]
    pub json: bool,
    /// Configuration, as for `run`.
    #[command(flatten)]
    pub watch: WatchArgs,
}

impl ExplainArgs {
    /// The request that is described.
    ///
    /// # Errors
    /// The first word that is wrong.
    pub fn ask(&self) -> Result<Ask, AskError> {
        Ask::of(Words {
            method: &self.method,
            url: &self.url,
            headers: &self.headers,
            data: self.data.as_deref(),
            consumer: self.consumer.as_deref(),
            protocol: self.protocol,
            client: self.client_address,
        })
    }
}

/// `kongtap record`
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// What to watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Where to write; the file is made readable by its owner only.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after so many seconds. Without it: at Ctrl-C.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Stop before the file grows beyond so many bytes; at least 1 MiB.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30,
          value_parser = clap::value_parser!(u64).range(SMALLEST_LIMIT_BYTES..))]
    pub max_bytes: u64,
    /// Keep everything as it is on the wire: credentials, cookies, and connections that cannot be masked (HTTP/2, WebSocket).
    #[arg(long)]
    pub no_redact: bool,
}

/// `kongtap replay`
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,
    /// Configuration, as for `run`.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Where to write the messages, one JSON object a line. Without it: standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl WatchArgs {
    /// The configuration: file, then environment, then flags.
    ///
    /// # Errors
    /// Every mistake that can be seen without asking the gateway.
    pub fn resolve(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<ConfigError>> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    vec![ConfigError {
                        place: path.display().to_string(),
                        what: format!("cannot be read: {error}"),
                    }]
                })?;
                config::from_toml(path, &text).map_err(|error| vec![error])?
            }
        };
        config::apply_environment(&mut config, lookup);
        self.lay_over(&mut config);
        let errors = config::check(&config);
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(errors)
        }
    }

    fn lay_over(&self, config: &mut Config) {
        if !self.pid.is_empty() {
            config.gateway.pids.clone_from(&self.pid);
        }
        config.gateway.wait |= self.wait;
        if !self.gateway_config.is_empty() {
            config.gateway.files.clone_from(&self.gateway_config);
        }
        if self.admin_url.is_some() {
            config.gateway.admin_url.clone_from(&self.admin_url);
        }
        if !self.plugins.is_empty() {
            config.plugins.files.clone_from(&self.plugins);
        }
        if self.store.is_some() {
            config.plugins.store.clone_from(&self.store);
        }
        if let (Some(endpoint), Some(global)) = (&self.api_endpoint, &mut config.plugins.global) {
            global.api_endpoint = Some(endpoint.clone());
        }
        if let Some(sockets) = self.sockets {
            config.capture.sockets = sockets;
        }
        if let Some(listen) = self.listen {
            config.admin.listen = listen;
        }
    }
}

/// Reads the process's environment.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Verb};

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kongtap.toml");
        std::fs::write(
            &path,
            "[gateway]\nadmin_url = \"http://file\"\nrefresh_seconds = 3\n",
        )
        .unwrap();
        let cli = Cli::parse_from([
            "kongtap",
            "run",
            "--config",
            path.to_str().unwrap(),
            "--pid",
            "7",
            "--pid",
            "8",
        ]);
        let Verb::Run(arguments) = cli.verb else {
            panic!("not run")
        };
        let config = arguments
            .resolve(&|name| (name == "KONGTAP_ADMIN_URL").then(|| "http://environment".to_owned()))
            .unwrap();
        assert_eq!(config.gateway.pids, [7, 8]);
        assert_eq!(config.gateway.admin_url.as_deref(), Some("http://environment"));
        assert_eq!(config.gateway.refresh_seconds, 3);
    }

    #[test]
    fn an_unreadable_file_is_one_clear_error() {
        let cli = Cli::parse_from(["kongtap", "check-config", "--config", "/does/not/exist.toml"]);
        let Verb::CheckConfig(arguments) = cli.verb else {
            panic!("not check-config")
        };
        let errors = arguments.resolve(&|_| None).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0]
                .to_string()
                .starts_with("/does/not/exist.toml: cannot be read"),
            "{}",
            errors[0]
        );
    }
}
