//! The three sources of socket bytes, and which of them is taken.
//!
//! In: what was asked for (`capture.sockets`), and an attempt at each. Out: a [`SocketSource`]. All three end in the same
//! records. Deliberately absent: loading and attaching (`probes::sources`).

pub mod libc;

use std::fmt;

/// Where the bytes of socket calls come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketSource {
    /// The tracepoints `sock_send_length` and `sock_recv_length`.
    Sock,
    /// The exits of system calls.
    Syscalls,
    /// libc's functions in the gateway.
    Uprobes,
}

impl SocketSource {
    /// Every one, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Sock, Self::Syscalls, Self::Uprobes];

    /// As it is written in configurations.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sock => "sock",
            Self::Syscalls => "syscalls",
            Self::Uprobes => "uprobes",
        }
    }
}

impl fmt::Display for SocketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Which source is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// The cheapest that this host offers.
    #[default]
    Auto,
    /// This one, or none.
    Only(SocketSource),
}

impl SourceChoice {
    /// What to try, in this order.
    #[must_use]
    pub fn candidates(self) -> &'static [SocketSource] {
        match self {
            Self::Auto => &SocketSource::ALL,
            Self::Only(SocketSource::Sock) => &[SocketSource::Sock],
            Self::Only(SocketSource::Syscalls) => &[SocketSource::Syscalls],
            Self::Only(SocketSource::Uprobes) => &[SocketSource::Uprobes],
        }
    }

    /// The first candidate that `attempt` succeeds with.
    ///
    /// # Errors
    /// The one failure of a single candidate; else every candidate's, or the first that `is_final` says no other candidate
    /// can mend.
    pub fn first_that_works<T, E>(
        self,
        mut attempt: impl FnMut(SocketSource) -> Result<T, E>,
        is_final: impl Fn(&E) -> bool,
    ) -> Result<T, Vec<(SocketSource, E)>> {
        let mut failures = Vec::new();
        for source in self.candidates() {
            match attempt(*source) {
                Ok(done) => return Ok(done),
                Err(error) if is_final(&error) => return Err(vec![(*source, error)]),
                Err(error) => failures.push((*source, error)),
            }
        }
        Err(failures)
    }
}

/// A system call that moves bytes on sockets, and the ways in which it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketCall {
    /// Its number on this processor.
    pub number: i64,
    /// The tracepoint at its end, in the category `syscalls`.
    pub tracepoint: &'static str,
    /// The functions of libc's that make it.
    pub functions: &'static [&'static str],
    /// Which way bytes go.
    pub way: Way,
}

/// Which way a call moves the bytes of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It receives.
    In,
    /// It sends.
    Out,
    /// Whichever of its descriptors is the socket says it.
    Either,
}

impl Way {
    /// `receive` or `send`, or both: the programs that look at such a call.
    #[must_use]
    pub fn of<T: Copy>(self, receive: T, send: T) -> Vec<T> {
        match self {
            Self::In => vec![receive],
            Self::Out => vec![send],
            Self::Either => vec![receive, send],
        }
    }
}

/// Which way the call of that number moves bytes.
#[must_use]
pub fn way_of(number: i64) -> Way {
    CALLS
        .iter()
        .find(|call| call.number == number)
        .map_or(Way::Either, |call| call.way)
}

macro_rules! calls {
    ($($way:ident $number:ident, $tracepoint:literal, [$($function:literal),*];)*) => {
        /// Every such call.
        pub const CALLS: &[SocketCall] = &[$(SocketCall {
            number: ::libc::$number,
            tracepoint: $tracepoint,
            functions: &[$($function),*],
            way: Way::$way,
        },)*];
    };
}

// The tracepoint of `sendfile` has the name that the call has in the kernel.
calls! {
    In SYS_read, "sys_exit_read", ["read"];
    In SYS_readv, "sys_exit_readv", ["readv"];
    In SYS_preadv2, "sys_exit_preadv2", ["preadv2", "preadv64v2"];
    In SYS_recvfrom, "sys_exit_recvfrom", ["recvfrom", "recv"];
    In SYS_recvmsg, "sys_exit_recvmsg", ["recvmsg"];
    In SYS_recvmmsg, "sys_exit_recvmmsg", ["recvmmsg"];
    Out SYS_write, "sys_exit_write", ["write"];
    Out SYS_writev, "sys_exit_writev", ["writev"];
    Out SYS_pwritev2, "sys_exit_pwritev2", ["pwritev2", "pwritev64v2"];
    Out SYS_sendto, "sys_exit_sendto", ["sendto", "send"];
    Out SYS_sendmsg, "sys_exit_sendmsg", ["sendmsg"];
    Out SYS_sendmmsg, "sys_exit_sendmmsg", ["sendmmsg"];
    Out SYS_sendfile, "sys_exit_sendfile64", ["sendfile", "sendfile64"];
    Either SYS_splice, "sys_exit_splice", ["splice"];
}

#[cfg(test)]
mod tests {
    use super::{SocketSource, SourceChoice};

    /// `absent` lists sources that fail; `final_at` one whose failure ends the search.
    fn check(
        choice: SourceChoice,
        absent: &[SocketSource],
        final_at: Option<SocketSource>,
        expected: Result<SocketSource, &[SocketSource]>,
    ) {
        let mut tried = Vec::new();
        let outcome = choice.first_that_works(
            |source| {
                tried.push(source);
                if absent.contains(&source) {
                    Err(source)
                } else {
                    Ok(source)
                }
            },
            |error| Some(*error) == final_at,
        );
        let outcome =
            outcome.map_err(|failures| failures.into_iter().map(|(source, _)| source).collect::<Vec<_>>());
        assert_eq!(
            outcome,
            expected.map_err(<[_]>::to_vec),
            "{choice:?} without {absent:?}"
        );
        let last = outcome
            .ok()
            .or_else(|| expected.err().and_then(|failed| failed.last().copied()));
        assert_eq!(tried.last().copied(), last, "nothing is tried behind the answer");
    }

    #[test]
    fn auto_takes_the_cheapest_and_a_choice_by_hand_no_other() {
        use SocketSource::{Sock, Syscalls, Uprobes};
        use SourceChoice::{Auto, Only};
        check(Auto, &[], None, Ok(Sock));
        check(Auto, &[Sock], None, Ok(Syscalls));
        check(Auto, &[Sock, Syscalls], None, Ok(Uprobes));
        check(Auto, &SocketSource::ALL, None, Err(&SocketSource::ALL));
        check(Auto, &[Sock], Some(Sock), Err(&[Sock]));
        for source in SocketSource::ALL {
            check(Only(source), &[], None, Ok(source));
            check(Only(source), &[source], None, Err(&[source]));
        }
    }
}
