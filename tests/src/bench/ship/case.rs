//! What is shipped how: the cases of the bench.
//!
//! In: nothing. Out: each case's name, and the agent's configuration for it. What an older or younger agent does not know of a
//! configuration, it refuses; then the case is not measured.

use std::path::Path;

/// Messages in one POST of the list form, at most.
const BATCH: u32 = 64;

/// Messages of one measurement. A message in list form takes so much less that it takes more of them.
const MESSAGES: usize = 20_000;
const LISTED_MESSAGES: usize = 100_000;

/// A way to ship.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// One message a POST, HTTP/1.1: what the plugin did.
    #[value(name = "single")]
    Single,
    /// The list form, HTTP/1.1.
    #[value(name = "list")]
    List,
    /// One message a POST at a pace, as a gateway gives them: the queue is empty most of the time.
    #[value(name = "paced")]
    Paced,
    /// One message a POST, through the spool.
    #[value(name = "spool")]
    Spool,
    /// The list form, through the spool.
    #[value(name = "spool_list")]
    SpoolList,
    /// One message a POST, HTTP/1.1 over TLS.
    #[value(name = "tls")]
    Tls,
    /// The list form over TLS.
    #[value(name = "tls_list")]
    TlsList,
    /// One message a POST, HTTP/2 over TLS.
    #[value(name = "http2")]
    Http2,
    /// The list form, HTTP/2 over TLS.
    #[value(name = "http2_list")]
    Http2List,
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::Http2];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Http2 => "http2",
        }
    }
}

/// How messages come to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As fast as its bounds allow.
    FullRate,
    /// So many at a time, so many microseconds apart, as the ring's reader hands them on.
    Bursts {
        /// Messages at a time.
        messages: usize,
        /// Microseconds between them.
        every_us: u64,
    },
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Single,
        Self::List,
        Self::Paced,
        Self::Spool,
        Self::SpoolList,
        Self::Tls,
        Self::TlsList,
        Self::Http2,
        Self::Http2List,
    ];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::List => "list",
            Self::Paced => "paced",
            Self::Spool => "spool",
            Self::SpoolList => "spool_list",
            Self::Tls => "tls",
            Self::TlsList => "tls_list",
            Self::Http2 => "http2",
            Self::Http2List => "http2_list",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Single => "one a POST",
            Self::List => "list form",
            Self::Paced => "one a POST, 4,000 a second",
            Self::Spool => "one a POST, spooled",
            Self::SpoolList => "list form, spooled",
            Self::Tls => "one a POST, TLS",
            Self::TlsList => "list form, TLS",
            Self::Http2 => "one a POST, HTTP/2 over TLS",
            Self::Http2List => "list form, HTTP/2 over TLS",
        }
    }

    /// How its endpoint is spoken to.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Self::Single | Self::List | Self::Paced | Self::Spool | Self::SpoolList => Transport::Plain,
            Self::Tls | Self::TlsList => Transport::Tls,
            Self::Http2 | Self::Http2List => Transport::Http2,
        }
    }

    /// How messages come to the queue.
    #[must_use]
    pub const fn arrival(self) -> Arrival {
        match self {
            Self::Paced => Arrival::Bursts {
                messages: 20,
                every_us: 5000,
            },
            Self::Single
            | Self::List
            | Self::Spool
            | Self::SpoolList
            | Self::Tls
            | Self::TlsList
            | Self::Http2
            | Self::Http2List => Arrival::FullRate,
        }
    }

    /// How many messages one measurement takes.
    #[must_use]
    pub const fn messages(self) -> usize {
        if self.is_list() { LISTED_MESSAGES } else { MESSAGES }
    }

    /// What a message may cost the agent, µs of CPU time.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Self::Single => "45 at most",
            Self::List => "10 at most",
            Self::Paced
            | Self::Spool
            | Self::SpoolList
            | Self::Tls
            | Self::TlsList
            | Self::Http2
            | Self::Http2List => "",
        }
    }

    /// How many messages a second one core ships at least.
    #[must_use]
    pub const fn rate_target(self) -> &'static str {
        match self {
            Self::Single | Self::List => "15,000 at least",
            Self::Paced
            | Self::Spool
            | Self::SpoolList
            | Self::Tls
            | Self::TlsList
            | Self::Http2
            | Self::Http2List => "",
        }
    }

    /// Whether several messages travel in one POST.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::List | Self::SpoolList | Self::TlsList | Self::Http2List
        )
    }

    /// Whether what waits goes by the disk.
    #[must_use]
    pub const fn is_spooled(self) -> bool {
        matches!(self, Self::Spool | Self::SpoolList)
    }

    /// The agent's configuration; everything else is as it is by default. `spool`: a directory for it.
    #[must_use]
    pub fn configuration(self, spool: &Path) -> String {
        let mut text = String::new();
        if self.is_list() {
            text.push_str(&format!("[ship]\nbatch = {BATCH}\n"));
        }
        if self.is_spooled() {
            text.push_str(&format!(
                "[ship.spool]\npath = {:?}\n",
                spool.display().to_string()
            ));
        }
        text
    }
}
