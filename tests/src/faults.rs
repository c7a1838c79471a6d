//! An endpoint that can be made to fail in every way that endpoints do, and be well again, while kongtap sends to it.
//!
//! In: posts of messages, one or a list of them. Out: answers by the [`Manner`] of the moment, and a [`Book`] of what was taken
//! and of every attempt. It has a loopback address of its own, so that nobody else's port is in its way when it comes back.
//! Absent: what the messages say; that is judged by `receiver` and `compare`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::client::Scheme;
use crate::faults::authority::Authority;
pub use crate::faults::authority::Shown;
use crate::faults::book::Book;
use crate::faults::door::Door;
use crate::faults::names::{NAME, Names};
use crate::faults::serve::Desk;

mod authority;
pub mod book;
mod door;
mod names;
mod serve;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes every message, and answers 200 with an entry for each.
    Well,
    /// Nobody listens: connections are refused.
    Refuse,
    /// Its host is gone, and its name with it.
    NoName,
    /// Its host is gone, and who is asked for its name does not answer.
    SilentNames,
    /// Nobody answers a SYN. On loopback that is a listener whose backlog is full: the kernel drops what comes then.
    BlackHole,
    /// It takes connections and reads nothing from them.
    Deaf,
    /// It takes messages and never answers.
    Mute,
    /// It takes messages, and answers a byte at a time, with so long between two.
    Drip(Duration),
    /// It resets the connection.
    Reset(Moment),
    /// It answers with this status and takes nothing.
    Status(u16, RetryAfter),
    /// It answers 200 and takes all messages but every nth, whose entry has the status `error`.
    SomeErrors(usize),
    /// It takes one message after the other, over all connections, and needs so long for each.
    Slow(Duration),
    /// What it answers is no HTTP.
    Noise,
    /// Over TLS: it shows another certificate.
    Certificate(Shown),
    /// Where TLS is expected it speaks none.
    NoTls,
    /// Where TLS is expected it never says a word.
    NoHandshake,
}

/// When a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the first bytes of a request: nothing was taken.
    InRequest,
    /// After the whole request: it was taken, and no answer says so.
    BeforeAnswer,
    /// In the middle of the answer's body: likewise.
    InAnswer,
}

/// What an answer says of when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Nothing.
    Unsaid,
    /// In so many seconds.
    Seconds(u64),
    /// At the date that is so many seconds ahead.
    Date(u64),
}

impl Manner {
    /// Whether a message may be taken without its sender learning of it, so that a second attempt brings it again.
    #[must_use]
    pub const fn loses_answers(self) -> bool {
        match self {
            Self::Mute
            | Self::Drip(_)
            | Self::Reset(Moment::BeforeAnswer | Moment::InAnswer)
            | Self::Slow(_)
            | Self::Noise => true,
            Self::Well
            | Self::Refuse
            | Self::NoName
            | Self::SilentNames
            | Self::BlackHole
            | Self::Deaf
            | Self::Reset(Moment::InRequest)
            | Self::Status(..)
            | Self::SomeErrors(_)
            | Self::Certificate(_)
            | Self::NoTls
            | Self::NoHandshake => false,
        }
    }

    /// Whether the endpoint fails as a whole; else it answers, or answers for a message.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Refuse
            | Self::NoName
            | Self::SilentNames
            | Self::BlackHole
            | Self::Deaf
            | Self::Mute
            | Self::Drip(_)
            | Self::Reset(_)
            | Self::Noise
            | Self::Certificate(_)
            | Self::NoTls
            | Self::NoHandshake => true,
            Self::Status(status, _) => status >= 500 || status == 429,
            Self::Well | Self::SomeErrors(_) | Self::Slow(_) => false,
        }
    }

    /// Whether only `timeout` ends it, so that trials of it have a short one. On a busy machine that may pass before an
    /// endpoint that is well again has answered.
    #[must_use]
    pub const fn lasts_until_timeout(self) -> bool {
        match self {
            Self::BlackHole
            | Self::SilentNames
            | Self::Deaf
            | Self::Mute
            | Self::Drip(_)
            | Self::NoHandshake
            | Self::Slow(_) => true,
            Self::Well
            | Self::Refuse
            | Self::NoName
            | Self::Reset(_)
            | Self::Status(..)
            | Self::SomeErrors(_)
            | Self::Noise
            | Self::Certificate(_)
            | Self::NoTls => false,
        }
    }
}

/// The endpoint. It ends when it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    authority: Option<Arc<Authority>>,
    desk: Arc<Desk>,
    door: Door,
    names: Names,
}

impl Endpoint {
    /// Starts one that is well.
    ///
    /// # Errors
    /// When it cannot listen, or no certificates can be made.
    pub async fn start(scheme: Scheme) -> anyhow::Result<Self> {
        let ip = own_address();
        let authority = match scheme {
            Scheme::Http => None,
            Scheme::Https => Some(Arc::new(Authority::new(&ip.to_string())?)),
        };
        let port = TcpListener::bind((ip, 0)).await.context("a free port")?;
        let address = port.local_addr()?;
        drop(port);
        let desk = Arc::new(Desk::default());
        Ok(Self {
            door: Door::open(address, authority.as_ref(), Manner::Well, &desk).await?,
            names: Names::new(address)?,
            address,
            authority,
            desk,
        })
    }

    /// What `api_endpoint` is set to.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The same by its name, which only the programs know that run [`Endpoint::inside_names`].
    #[must_use]
    pub fn named_url(&self) -> String {
        format!("http://{NAME}:{}", self.address.port())
    }

    /// A command that becomes the program that follows it, in a world where the endpoint has its name.
    #[must_use]
    pub fn inside_names(&self) -> Vec<String> {
        self.names.inside()
    }

    /// The certificate of the authority that its certificates are of, where it speaks TLS.
    #[must_use]
    pub fn authority_file(&self) -> Option<&Path> {
        self.authority.as_ref().map(|authority| authority.file())
    }

    /// From now on it behaves like this; in force when it returns. Connections go on where the new manner is about requests
    /// alone, and what is being answered is answered in the old one.
    ///
    /// # Errors
    /// When it cannot listen again.
    pub async fn behave(&mut self, manner: Manner) -> anyhow::Result<()> {
        self.desk.behave(manner);
        self.names.behave(manner)?;
        if !self.door.suits(manner) {
            self.door.close().await;
            self.door = Door::open(self.address, self.authority.as_ref(), manner, &self.desk).await?;
        }
        Ok(())
    }

    /// What it took, and every attempt.
    #[must_use]
    pub fn book(&self) -> Book {
        self.desk.book()
    }
}

/// One of 127.64.0.0/10: nobody connects from there, so no port of it is taken by the way.
fn own_address() -> Ipv4Addr {
    let drawn = Uuid::new_v4();
    let [a, b, c, ..] = *drawn.as_bytes();
    Ipv4Addr::new(127, 64 | (a & 63), b, c.clamp(1, 254))
}
