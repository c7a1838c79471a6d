//! The self-test's child: uses a TLS library as a gateway would, with bytes that the agent knows.
//!
//! In: the paths of the library, in the environment, and one line on standard input. Out: lines on standard output that begin with
//! [`MARK`]. It says [`READY`] when the library is loaded, waits, does its exchanges, and says [`DONE`] with the number of protocol
//! versions that it has been through, or [`CANNOT`] with the reason.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::openssl::{Api, Library, Object, Outcome, Role, Version};
use super::sandbox;

/// The hidden verb that runs it.
pub const VERB: &str = "tls-self-test";
/// The variable with libssl's path.
pub const LIBRARY: &str = "KONGTAP_SELF_TEST_LIBRARY";
/// The variable with libcrypto's path; not set where there is none.
pub const CRYPTO: &str = "KONGTAP_SELF_TEST_CRYPTO";
/// How its lines begin.
pub const MARK: &str = "kongtap-self-test ";
/// The library is loaded.
pub const READY: &str = "kongtap-self-test ready";
/// All is done, in so many versions.
pub const DONE: &str = "kongtap-self-test done ";
/// It cannot be done, and why.
pub const CANNOT: &str = "kongtap-self-test cannot: ";

/// Bytes from client to server: less than a record has.
const UP_BYTES: usize = 12_345;
/// Bytes from server to client: more than a socket takes at once.
const DOWN_BYTES: usize = 150_001;
/// Most fruitless turns of a loop, each of which is a call on either side.
const TURNS: u32 = 100_000;

/// What the client sends in the version of that number.
#[must_use]
pub fn up(version: usize) -> Vec<u8> {
    pattern(UP_BYTES, 0x9e37_79b9, version)
}

/// What the server sends.
#[must_use]
pub fn down(version: usize) -> Vec<u8> {
    pattern(DOWN_BYTES, 0x7f4a_7c15, version)
}

/// Bytes that no two places nearby share, so that a shift shows, and no two versions.
fn pattern(length: usize, seed: u32, version: usize) -> Vec<u8> {
    let mut state = seed ^ (u32::try_from(version).unwrap_or(0) << 8);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[1]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Does it all. Answers whether it could.
#[must_use]
pub fn run() -> bool {
    let outcome = attempt();
    match &outcome {
        Ok(versions) => say(&format!("{DONE}{versions}")),
        Err(why) => say(&format!("{CANNOT}{why}")),
    }
    outcome.is_ok()
}

fn say(line: &str) {
    // A parent that has gone away needs no answer.
    drop(writeln!(io::stdout().lock(), "{line}"));
}

fn attempt() -> Result<usize, String> {
    // Opened while that is allowed; used by descriptor afterwards.
    let open = |path: OsString| File::open(&path).map_err(|error| format!("{}: {error}", path.display()));
    let library = open(std::env::var_os(LIBRARY).ok_or("no library is named")?)?;
    let crypto = std::env::var_os(CRYPTO).map(open).transpose()?;
    sandbox::enter()?;
    let library = Library::load(crypto.as_ref(), &library)?;
    say(READY);
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| format!("standard input: {error}"))?;
    let mut done = 0;
    for version in [Version::Tls12, Version::Tls13] {
        match exchange(&library, version, done) {
            Ok(()) => done += 1,
            // A library may have been built without one of them.
            Err(Failure::Handshake) => {}
            Err(Failure::Other(why)) => return Err(why),
        }
    }
    if done == 0 {
        return Err("no handshake without a certificate".to_owned());
    }
    Ok(done)
}

enum Failure {
    Handshake,
    Other(String),
}

impl<T: Into<String>> From<T> for Failure {
    fn from(why: T) -> Self {
        Self::Other(why.into())
    }
}

/// One connection to itself, from handshake to the end of both streams.
fn exchange(library: &Library, version: Version, number: usize) -> Result<(), Failure> {
    let (client_socket, server_socket) = pair().map_err(|error| format!("loopback: {error}"))?;
    let client = library.object(Role::Client, version, &client_socket)?;
    let server = library.object(Role::Server, version, &server_socket)?;
    if !handshake(&client, &server) {
        return Err(Failure::Handshake);
    }
    let mut at_server = Reader::default();
    // Refused before anything happens; a placed probe must not take it for the beginning of a call.
    if server.read_of_negative_length() > 0 {
        return Err("a read of less than nothing succeeded".into());
    }
    send(&client, &server, &up(number), &mut at_server)?;
    let mut at_client = Reader::default();
    send(&server, &client, &down(number), &mut at_client)?;
    if at_server.got != up(number) || at_client.got != down(number) {
        return Err("the library gave other bytes than it was given".into());
    }
    client.shut_down();
    for _ in 0..TURNS {
        match server.read(&mut [0; 16], Api::Plain) {
            Outcome::Bytes(_) => return Err("bytes after the last".into()),
            Outcome::End => return Ok(()),
            Outcome::NotNow => {}
        }
    }
    Err("no end of the stream".into())
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    // Another process may knock at the door as well.
    let server = loop {
        let (server, peer) = listener.accept()?;
        if peer == client.local_addr()? {
            break server;
        }
    };
    for socket in [&client, &server] {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        // So small that writing meets "not now" soon.
        sandbox::limit_send_buffer(socket)?;
    }
    Ok((client, server))
}

fn handshake(client: &Object<'_>, server: &Object<'_>) -> bool {
    (0..TURNS).any(|_| {
        let at_client = client.shake_hands();
        let at_server = server.shake_hands();
        at_client && at_server
    })
}

/// What one side has read.
#[derive(Default)]
struct Reader {
    got: Vec<u8>,
    turn: usize,
}

impl Reader {
    /// One read, of changing length and in changing form.
    fn read(&mut self, from: &Object<'_>) -> Result<(), Failure> {
        let sizes = [3, 700, 16, 20_000, 1];
        let size = sizes.get(self.turn % sizes.len()).copied().unwrap_or(1);
        let api = if (self.turn / 2).is_multiple_of(2) {
            Api::Plain
        } else {
            Api::Ex
        };
        self.turn += 1;
        let mut buffer = vec![0; size];
        match from.read(&mut buffer, api) {
            Outcome::Bytes(count) => {
                let read = buffer.get(..count).ok_or("more bytes than there was room for")?;
                self.got.extend_from_slice(read);
                Ok(())
            }
            Outcome::NotNow => Ok(()),
            Outcome::End => Err("the stream ended early".into()),
        }
    }
}

/// Sends `bytes` in pieces, in both forms, reading whenever the socket takes no more, and then reads the rest.
fn send(from: &Object<'_>, to: &Object<'_>, bytes: &[u8], reader: &mut Reader) -> Result<(), Failure> {
    let cuts = [0, 1, 1_000, bytes.len() / 3, bytes.len() / 2, bytes.len()];
    for (piece, cut) in cuts.windows(2).enumerate() {
        let &[begin, end] = cut else { continue };
        let part = bytes.get(begin..end).unwrap_or_default();
        let api = if piece % 2 == 0 { Api::Plain } else { Api::Ex };
        let mut turns = 0;
        // Without partial writes a call accepts everything or nothing, and must be repeated as it was.
        while !matches!(from.write(part, api), Outcome::Bytes(_)) {
            reader.read(to)?;
            turns += 1;
            if turns > TURNS {
                return Err("a write that never succeeds".into());
            }
        }
    }
    for _ in 0..TURNS {
        if reader.got.len() >= bytes.len() {
            return Ok(());
        }
        reader.read(to)?;
    }
    Err("bytes that never arrive".into())
}
