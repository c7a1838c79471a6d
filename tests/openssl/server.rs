//! A small TLS server on OpenSSL's C interface: the gateway's part in the OpenSSL matrix (tests/tests/openssl.rs).
//!
//! In: HTTP/1.1 requests over TLS; `--api plain|ex`, a certificate, a socket buffer size. Out: answers of the asked size,
//! `listening ADDRESS` on standard output, and counts of what it went through (`/statistics`). One thread serves all
//! connections with poll(2), one OpenSSL call for each at a turn, so that calls of different connections alternate as they
//! do in nginx. Objects and descriptors are used again in every way that the interface allows.
//! Deliberately absent: crates (rustc alone compiles it, once for each OpenSSL), and leniency: what is not expected ends it.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Bytes that one read call asks for: a record of 16 KiB takes dozens of them.
const READ_BYTES: usize = 500;
/// Connections at one time.
const CONNECTIONS: usize = 64;

/// OpenSSL's and the C library's functions, as `openssl/ssl.h`, `poll.h` and `sys/socket.h` declare them.
mod c {
    use super::{c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};

    #[repr(C)]
    pub struct PollFd {
        pub fd: c_int,
        pub events: c_short,
        pub revents: c_short,
    }
    pub const POLLIN: c_short = 1;
    pub const POLLOUT: c_short = 4;

    pub const PEM: c_int = 1;
    pub const CTRL_MODE: c_int = 33;
    pub const CTRL_CLEAR_MODE: c_int = 78;
    pub const MODE_PARTIAL_WRITE: c_long = 1;
    pub const MODE_MOVING_BUFFER: c_long = 2;
    pub const WANT_READ: c_int = 2;
    pub const WANT_WRITE: c_int = 3;
    pub const ZERO_RETURN: c_int = 6;
    pub const TLS_1_3: c_int = 0x304;
    pub const BIO_NOCLOSE: c_int = 0;

    pub enum Ctx {}
    pub enum Ssl {}

    unsafe extern "C" {
        pub fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
        pub fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, size: c_uint) -> c_int;

        pub fn OpenSSL_version(what: c_int) -> *const c_char;
        pub fn OpenSSL_version_num() -> c_ulong;
        pub fn TLS_server_method() -> *const c_void;
        pub fn SSL_CTX_new(method: *const c_void) -> *mut Ctx;
        pub fn SSL_CTX_use_certificate_chain_file(ctx: *mut Ctx, path: *const c_char) -> c_int;
        pub fn SSL_CTX_use_PrivateKey_file(ctx: *mut Ctx, path: *const c_char, kind: c_int) -> c_int;
        pub fn SSL_new(ctx: *mut Ctx) -> *mut Ssl;
        pub fn SSL_clear(ssl: *mut Ssl) -> c_int;
        pub fn SSL_free(ssl: *mut Ssl);
        pub fn SSL_set_fd(ssl: *mut Ssl, fd: c_int) -> c_int;
        pub fn SSL_set_rfd(ssl: *mut Ssl, fd: c_int) -> c_int;
        pub fn SSL_set_wfd(ssl: *mut Ssl, fd: c_int) -> c_int;
        pub fn SSL_set_bio(ssl: *mut Ssl, read: *mut c_void, write: *mut c_void);
        pub fn BIO_new_socket(fd: c_int, close: c_int) -> *mut c_void;
        pub fn SSL_set_accept_state(ssl: *mut Ssl);
        pub fn SSL_ctrl(ssl: *mut Ssl, command: c_int, long: c_long, pointer: *mut c_void) -> c_long;
        pub fn SSL_do_handshake(ssl: *mut Ssl) -> c_int;
        pub fn SSL_read(ssl: *mut Ssl, buffer: *mut c_void, bytes: c_int) -> c_int;
        pub fn SSL_write(ssl: *mut Ssl, buffer: *const c_void, bytes: c_int) -> c_int;
        pub fn SSL_read_ex(ssl: *mut Ssl, buffer: *mut c_void, bytes: usize, moved: *mut usize) -> c_int;
        pub fn SSL_write_ex(ssl: *mut Ssl, buffer: *const c_void, bytes: usize, moved: *mut usize) -> c_int;
        pub fn SSL_pending(ssl: *const Ssl) -> c_int;
        pub fn SSL_get_error(ssl: *const Ssl, result: c_int) -> c_int;
        pub fn SSL_version(ssl: *const Ssl) -> c_int;
        pub fn SSL_shutdown(ssl: *mut Ssl) -> c_int;
        pub fn ERR_clear_error();
        pub fn ERR_get_error() -> c_ulong;
        pub fn ERR_error_string_n(code: c_ulong, text: *mut c_char, size: usize);
    }
}

/// What the server went through, for the test to see that it really did.
#[derive(Default)]
struct Statistics {
    /// Connections that came …
    accepted: u64,
    /// … and that were closed here.
    ended: u64,
    /// Write calls that are to be repeated.
    want_write: u64,
    /// Read calls answered from a record that an earlier call had received …
    drains: u64,
    /// … with calls of other connections in between.
    drains_after_others: u64,
    /// Objects used again after `SSL_clear`.
    cleared: u64,
    /// Objects that were freed instead, because this OpenSSL's `SSL_clear` leaves them broken.
    not_cleared: u64,
    /// Objects at the address of one that was freed.
    same_address: u64,
    /// Descriptors used again.
    same_fd: u64,
}

impl Statistics {
    fn text(&self) -> String {
        format!(
            "accepted {}\nended {}\nwant_write {}\ndrains {}\ndrains_after_others {}\ncleared {}\nnot_cleared {}\nsame_address {}\nsame_fd {}\n",
            self.accepted,
            self.ended,
            self.want_write,
            self.drains,
            self.drains_after_others,
            self.cleared,
            self.not_cleared,
            self.same_address,
            self.same_fd
        )
    }
}

/// Which functions move bytes.
#[derive(Clone, Copy, PartialEq)]
enum Api {
    Plain,
    Ex,
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq)]
enum Writing {
    /// By one call, repeated with the same arguments until it has taken everything.
    Whole,
    /// By calls that may take a part.
    Parts,
    /// As `Whole`, but each repetition has the bytes at another address.
    Moving,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Handshake,
    Reading,
    Writing(Writing),
}

struct Conn {
    stream: TcpStream,
    ssl: *mut c::Ssl,
    number: u64,
    state: State,
    /// What the last call waits for.
    waits_for: c_short,
    /// Whether its socket took all that it was given last: then more is written without asking poll(2), as servers do.
    may_write: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// Reads that it may still make while it is paced: one for each answer to somebody else. `None`: it is not paced.
    credit: Option<u64>,
    /// The server's count of calls after this connection's last one.
    last_call: u64,
    ends: bool,
}

/// What a call of OpenSSL's came to.
enum Outcome {
    Moved(usize),
    Again,
    /// The other end said that it is done.
    End,
    /// The connection is gone without a word.
    Broken,
}

struct Server {
    ctx: *mut c::Ctx,
    api: Api,
    send_buffer: c_int,
    listener: TcpListener,
    conns: Vec<Conn>,
    calls: u64,
    pool: Vec<*mut c::Ssl>,
    freed: HashSet<*mut c::Ssl>,
    fds: HashSet<c_int>,
    statistics: Statistics,
}

fn main() {
    let argument = |name: &str| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().unwrap_or_else(|| panic!("{name} is missing"))
    };
    let path = |name| CString::new(argument(name)).expect("a path");
    let api = match argument("--api").as_str() {
        "plain" => Api::Plain,
        "ex" => Api::Ex,
        other => panic!("--api {other}"),
    };
    // SAFETY: plain calls with valid, null-terminated paths.
    let ctx = unsafe {
        let ctx = c::SSL_CTX_new(c::TLS_server_method());
        assert_eq!(
            c::SSL_CTX_use_certificate_chain_file(ctx, path("--certificate").as_ptr()),
            1,
            "{}",
            errors()
        );
        assert_eq!(
            c::SSL_CTX_use_PrivateKey_file(ctx, path("--key").as_ptr(), c::PEM),
            1,
            "{}",
            errors()
        );
        ctx
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    listener.set_nonblocking(true).expect("a non-blocking listener");
    // SAFETY: a constant text. Without it the linker would leave the version out of an executable, which no gateway does.
    println!(
        "{}",
        unsafe { CStr::from_ptr(c::OpenSSL_version(0)) }.to_string_lossy()
    );
    println!("listening {}", listener.local_addr().expect("an address"));
    let mut server = Server {
        ctx,
        api,
        send_buffer: argument("--send-buffer").parse().expect("bytes"),
        listener,
        conns: Vec::new(),
        calls: 0,
        pool: Vec::new(),
        freed: HashSet::new(),
        fds: HashSet::new(),
        statistics: Statistics::default(),
    };
    loop {
        server.turn();
    }
}

impl Server {
    /// Waits until something can go on, then makes one step with each connection that can.
    fn turn(&mut self) {
        let entry = |fd: c_int, events| c::PollFd {
            fd,
            events,
            revents: 0,
        };
        let mut polled = vec![entry(self.listener.as_raw_fd(), c::POLLIN)];
        polled.extend(self.conns.iter().map(|conn| {
            // A negative descriptor is passed over.
            let waits = !conn.is_held() && !conn.is_ready();
            entry(if waits { conn.stream.as_raw_fd() } else { -1 }, conn.waits_for)
        }));
        let timeout_ms = if self.conns.iter().any(Conn::is_ready) {
            0
        } else {
            -1
        };
        // SAFETY: the array is as long as said.
        let polled_count = unsafe { c::poll(polled.as_mut_ptr(), polled.len() as c_ulong, timeout_ms) };
        assert!(polled_count >= 0, "poll: {}", std::io::Error::last_os_error());
        for index in (0..self.conns.len()).rev() {
            if self.conns[index].is_ready() || polled[index + 1].revents != 0 {
                self.step(index);
            }
        }
        if polled[0].revents != 0 {
            self.accept();
        }
    }

    fn accept(&mut self) {
        while self.conns.len() < CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else {
                return;
            };
            stream.set_nonblocking(true).expect("a non-blocking socket");
            stream.set_nodelay(true).expect("no delay");
            let fd = stream.as_raw_fd();
            let (sol_socket, so_sndbuf) = (1, 7);
            let value = (&raw const self.send_buffer).cast();
            // SAFETY: an int, as the option wants.
            assert_eq!(unsafe { c::setsockopt(fd, sol_socket, so_sndbuf, value, 4) }, 0);
            if !self.fds.insert(fd) {
                self.statistics.same_fd += 1;
            }
            let number = self.statistics.accepted;
            self.statistics.accepted += 1;
            let ssl = self.object();
            // SAFETY: a live object and an open descriptor.
            unsafe {
                match number % 3 {
                    0 => assert_eq!(c::SSL_set_fd(ssl, fd), 1),
                    1 => assert_eq!((c::SSL_set_rfd(ssl, fd), c::SSL_set_wfd(ssl, fd)), (1, 1)),
                    _ => {
                        let bio = c::BIO_new_socket(fd, c::BIO_NOCLOSE);
                        c::SSL_set_bio(ssl, bio, bio);
                    }
                }
                c::SSL_set_accept_state(ssl);
            }
            self.conns.push(Conn {
                stream,
                ssl,
                number,
                state: State::Handshake,
                waits_for: c::POLLIN,
                may_write: false,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                credit: None,
                last_call: 0,
                ends: false,
            });
        }
    }

    /// The object that was cleared last, or else a new one.
    fn object(&mut self) -> *mut c::Ssl {
        if let Some(ssl) = self.pool.pop() {
            self.statistics.cleared += 1;
            return ssl;
        }
        // SAFETY: the context lives as long as the server.
        let ssl = unsafe { c::SSL_new(self.ctx) };
        assert!(!ssl.is_null(), "SSL_new: {}", errors());
        if self.freed.remove(&ssl) {
            self.statistics.same_address += 1;
        }
        ssl
    }

    /// One call for one connection.
    fn step(&mut self, index: usize) {
        let calls = self.calls;
        self.calls += 1;
        let conn = &mut self.conns[index];
        let others_called = conn.last_call != calls;
        conn.last_call = self.calls;
        match conn.state {
            State::Handshake => {
                // SAFETY: a live object with a descriptor.
                let result = unsafe { cleared(|| c::SSL_do_handshake(conn.ssl)) };
                match conn.outcome(result, 0) {
                    Outcome::Moved(_) => conn.reads(),
                    Outcome::Again => {}
                    Outcome::End | Outcome::Broken => panic!("handshake: {}", errors()),
                }
            }
            State::Reading => {
                if conn.has_pending() {
                    self.statistics.drains += 1;
                    self.statistics.drains_after_others += u64::from(others_called);
                }
                let mut buffer = [0; READ_BYTES];
                match conn.read(self.api, &mut buffer) {
                    Outcome::Moved(count) => {
                        conn.credit = conn.credit.map(|credit| credit - 1);
                        conn.input.extend_from_slice(&buffer[..count]);
                        self.answer(index);
                    }
                    Outcome::Again => {}
                    Outcome::End => self.end(index, true),
                    Outcome::Broken => self.end(index, false),
                }
            }
            State::Writing(writing) => match conn.write(self.api) {
                Outcome::Moved(count) => {
                    conn.may_write = true;
                    conn.written += count;
                    assert!(writing == Writing::Parts || conn.written == conn.output.len());
                    if conn.written < conn.output.len() {
                        return;
                    }
                    if conn.ends {
                        return self.end(index, true);
                    }
                    conn.reads();
                    let number = conn.number;
                    let paced = self.conns.iter_mut().filter(|conn| conn.number != number);
                    paced
                        .filter_map(|conn| conn.credit.as_mut())
                        .for_each(|credit| *credit += 1);
                    self.answer(index);
                }
                Outcome::Again => {
                    conn.may_write = false;
                    self.statistics.want_write += u64::from(conn.waits_for == c::POLLOUT);
                    if writing == Writing::Moving {
                        let moved = conn.output.clone();
                        // What the old address holds must not be taken for the bytes that are sent.
                        conn.output.fill(b'?');
                        conn.output = moved;
                    }
                }
                Outcome::End | Outcome::Broken => panic!("write: {}", errors()),
            },
        }
    }

    /// Answers the next request, if all of it is there.
    fn answer(&mut self, index: usize) {
        let statistics = self.statistics.text();
        let conn = &mut self.conns[index];
        let Some(head) = conn.input.windows(4).position(|window| window == b"\r\n\r\n") else {
            return;
        };
        let text = String::from_utf8(conn.input[..head].to_vec()).expect("a head");
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let length: usize = field("Content-Length:").map_or(0, |value| value.parse().expect("a length"));
        let target = text.split(' ').nth(1).expect("a target");
        if conn.input.len() < head + 4 + length {
            if target == "/paced" && conn.credit.is_none() {
                conn.credit = Some(0);
            }
            return;
        }
        conn.ends = field("Connection:") == Some("close");
        let words: Vec<&str> = target.split('/').skip(1).collect();
        let number = |index: usize| words[index].parse::<usize>().expect("a number");
        let (writing, body) = match words[0] {
            "whole" => (Writing::Whole, noise(number(1), number(2))),
            "parts" => (Writing::Parts, noise(number(1), number(2))),
            "moving" => (Writing::Moving, noise(number(1), number(2))),
            "echo" | "paced" => (Writing::Whole, conn.input[head + 4..head + 4 + length].to_vec()),
            "statistics" => (Writing::Whole, statistics.into_bytes()),
            other => panic!("nothing at /{other}"),
        };
        conn.input.drain(..head + 4 + length);
        conn.credit = None;
        conn.output = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        conn.output.extend_from_slice(&body);
        conn.written = 0;
        conn.mode(writing);
        conn.state = State::Writing(writing);
        conn.may_write = true;
    }

    /// Ends a connection: its object goes back, in turn cleared or freed, and its descriptor is closed.
    fn end(&mut self, index: usize, politely: bool) {
        let conn = self.conns.remove(index);
        self.statistics.ended += 1;
        // SAFETY: a live object, which nobody uses afterwards but `object`.
        unsafe {
            if politely {
                cleared(|| c::SSL_shutdown(conn.ssl));
            }
            let clears = conn.number % 2 == 0;
            let survives = survives_clear(conn.ssl);
            self.statistics.not_cleared += u64::from(clears && !survives);
            if clears && survives {
                assert_eq!(c::SSL_clear(conn.ssl), 1, "SSL_clear: {}", errors());
                self.pool.push(conn.ssl);
            } else {
                c::SSL_free(conn.ssl);
                self.freed.insert(conn.ssl);
            }
        }
    }
}

impl Conn {
    /// Whether it must wait for others before it reads on.
    fn is_held(&self) -> bool {
        self.credit == Some(0)
    }

    /// Whether it can go on without its socket.
    fn is_ready(&self) -> bool {
        match self.state {
            State::Handshake => false,
            State::Reading => !self.is_held() && self.has_pending(),
            State::Writing(_) => self.may_write,
        }
    }

    fn has_pending(&self) -> bool {
        // SAFETY: a live object.
        unsafe { c::SSL_pending(self.ssl) > 0 }
    }

    fn reads(&mut self) {
        self.state = State::Reading;
        self.waits_for = c::POLLIN;
    }

    fn read(&mut self, api: Api, buffer: &mut [u8]) -> Outcome {
        let (ssl, start, room) = (self.ssl, buffer.as_mut_ptr().cast(), buffer.len());
        let mut moved = 0;
        // SAFETY: a live object, and a buffer with that much room.
        let result = unsafe {
            cleared(|| match api {
                Api::Plain => c::SSL_read(ssl, start, room as c_int),
                Api::Ex => c::SSL_read_ex(ssl, start, room, &mut moved),
            })
        };
        self.outcome(result, moved)
    }

    fn write(&mut self, api: Api) -> Outcome {
        let rest = &self.output[self.written..];
        let (ssl, start, length) = (self.ssl, rest.as_ptr().cast(), rest.len());
        let mut moved = 0;
        // SAFETY: a live object, and that many bytes.
        let result = unsafe {
            cleared(|| match api {
                Api::Plain => c::SSL_write(ssl, start, length as c_int),
                Api::Ex => c::SSL_write_ex(ssl, start, length, &mut moved),
            })
        };
        self.outcome(result, moved)
    }

    fn outcome(&mut self, result: c_int, moved: usize) -> Outcome {
        if result > 0 {
            return Outcome::Moved(if moved > 0 { moved } else { result as usize });
        }
        // SAFETY: a live object, and what its last call returned.
        match unsafe { c::SSL_get_error(self.ssl, result) } {
            c::WANT_READ => self.waits_for = c::POLLIN,
            c::WANT_WRITE => self.waits_for = c::POLLOUT,
            c::ZERO_RETURN => return Outcome::End,
            _ => return Outcome::Broken,
        }
        Outcome::Again
    }

    fn mode(&self, writing: Writing) {
        let set = match writing {
            Writing::Whole => 0,
            Writing::Parts => c::MODE_PARTIAL_WRITE,
            Writing::Moving => c::MODE_MOVING_BUFFER,
        };
        let both = c::MODE_PARTIAL_WRITE | c::MODE_MOVING_BUFFER;
        // SAFETY: a live object; these commands take no pointer.
        unsafe {
            c::SSL_ctrl(self.ssl, c::CTRL_CLEAR_MODE, both, std::ptr::null_mut());
            c::SSL_ctrl(self.ssl, c::CTRL_MODE, set, std::ptr::null_mut());
        }
    }
}

/// Whether an object can be used again after `SSL_clear`. In 3.2 one that has spoken TLS 1.3 cannot: the next handshake fails,
/// watched or not. (`ossl_ssl_connection_reset`, ssl/ssl_lib.c, resets the record layer in another way from 3.4 on.)
///
/// # Safety
/// The object lives.
unsafe fn survives_clear(ssl: *const c::Ssl) -> bool {
    // SAFETY: a live object.
    let (library, protocol) = unsafe { (c::OpenSSL_version_num() >> 20, c::SSL_version(ssl)) };
    !(library == 0x302 && protocol == c::TLS_1_3)
}

/// A call with an empty error queue, which `SSL_get_error` wants.
///
/// # Safety
/// That of the call.
unsafe fn cleared(call: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: it has no preconditions.
    unsafe { c::ERR_clear_error() };
    call()
}

/// What OpenSSL says went wrong.
fn errors() -> String {
    let mut text = [0; 256];
    // SAFETY: a buffer of that size, which the function terminates.
    unsafe {
        c::ERR_error_string_n(c::ERR_get_error(), text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

/// Bytes that no two positions nearby share.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u32 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_ne_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}
