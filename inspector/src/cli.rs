//! The command line.
//!
//! In: arguments and two environment variables. Out: [`Wishes`], checked later by `config`. Deliberately absent: defaults
//! that depend on each other.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Wishes;

/// Receives, keeps and shows the exchanges that kongtap (or any client of the Runscope messages API) posts.
#[derive(Debug, Parser)]
#[command(
    name = "kongtap-inspector",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 stopped as asked, 1 failed while running, 2 wrong usage, 64 unusable configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive messages and show them until stopped.
    #[command(after_long_help = SERVE_HELP)]
    Serve(Serve),
}

const SERVE_HELP: &str = "\
Try it:
  kongtap-inspector serve --token secret --store traffic.db
then point a `runscope` plugin configuration of kongtap at it:
  config: { api_endpoint: http://127.0.0.1:8012, bucket_key: demo, access_token: secret }
or post a message by hand:
  curl http://127.0.0.1:8012/buckets/demo/messages -H 'Authorization: Bearer secret' \\
    -d '{\"request\":{\"method\":\"GET\",\"url\":\"http://example.com/\"},\"response\":{\"status\":200}}'
and open http://127.0.0.1:8012/ in a browser.

A bucket comes into being with its first message. Every token may use every bucket.
The pages need no token, which is why the inspector listens on loopback only unless it is told --allow-remote.

Exit codes: 0 stopped as asked (SIGTERM, SIGINT), 1 failed while running, 2 wrong usage, 64 unusable configuration.";

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8012")]
    pub listen: String,
    /// A bearer token that clients may use (repeatable). Other users of the host can read command lines: prefer
    /// --token-file or the environment.
    #[arg(
        long = "token",
        value_name = "TOKEN",
        env = "KONGTAP_INSPECTOR_TOKEN",
        hide_env_values = true
    )]
    pub tokens: Vec<String>,
    /// A file of tokens, one a line; empty lines and lines that begin with # are passed over (repeatable).
    #[arg(long = "token-file", value_name = "PATH")]
    pub token_files: Vec<PathBuf>,
    /// Keep messages in this file, made when it is not there. Without it they are kept in memory and gone at exit.
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,
    /// Keep at most so many messages; the oldest go first [default: 100000].
    #[arg(long, value_name = "N")]
    pub max_messages: Option<u64>,
    /// Keep at most so many bytes of messages, as in 512M [default: 4G in a file, 256M in memory].
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<String>,
    /// Keep messages no longer than this after they were received, as in 36h or 7d [default: no limit].
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<String>,
    /// Another name under which browsers open the pages, as behind a proxy (repeatable). Requests for names that are
    /// not known are refused, so that no web site can read the pages through a name of its own.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Allow --listen on an address that other machines reach. The pages have no log-in: whoever reaches them sees
    /// everything that was captured.
    #[arg(long)]
    pub allow_remote: bool,
}

impl From<Serve> for Wishes {
    fn from(serve: Serve) -> Self {
        Self {
            listen: serve.listen,
            allow_remote: serve.allow_remote,
            hosts: serve.hosts,
            tokens: serve.tokens,
            token_files: serve.token_files,
            store: serve.store,
            max_messages: serve.max_messages,
            max_bytes: serve.max_bytes,
            max_age: serve.max_age,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command};

    #[test]
    fn the_command_line_is_sound_and_tokens_repeat() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["x", "serve", "--token", "a", "--token", "b"]).unwrap();
        let Command::Serve(serve) = cli.command;
        assert_eq!(serve.tokens, ["a", "b"]);
        assert_eq!(serve.listen, "127.0.0.1:8012");
    }
}
