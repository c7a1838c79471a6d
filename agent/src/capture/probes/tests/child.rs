//! A process to watch: this test binary again, running one [`Scenario`] when told to.

use std::io::{BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::pattern;

const SCENARIO: &str = "KONGTAP_TEST_SCENARIO";
const PEER: &str = "KONGTAP_TEST_PEER";

/// What the child does once it is told to go on. It connects to the peer for each connection that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Sends and receives by every call that copies, peeking in between; then half-closes and reads the rest.
    EveryCall,
    /// Says something before it is watched, then something after.
    Late,
    /// One short connection after the other, all on the same descriptor.
    Reuse,
    /// One `writev` of 5 MB.
    Large,
    /// `sendfile` of a file, between two writes.
    SendFile,
    /// Reads what came before the peer's reset.
    Reset,
    /// Two threads, a connection each.
    Threads,
    /// Every call that moves bytes: see [`super::calls`].
    Calls,
    /// Bytes that are spliced out of a socket.
    SpliceOut,
    /// Accepts two connections, and uses copies of their descriptors.
    Accept,
    /// Says `PACES` pieces of `PACE_BYTES`, each after a byte of the peer's.
    Paced,
    /// Answers twice with a head and a body in one `writev`, without being asked in between.
    Answers,
    /// Says an HTTP/2 server's first frame, then `PACES` pieces of `PACE_BYTES`, unasked.
    Settings,
    /// Reads a part, moves a part through a pipe unread, reads the rest.
    Splice,
}

impl Scenario {
    const ALL: &[Self] = &[
        Self::EveryCall,
        Self::Late,
        Self::Reuse,
        Self::Large,
        Self::SendFile,
        Self::Reset,
        Self::Threads,
        Self::Calls,
        Self::SpliceOut,
        Self::Accept,
        Self::Paced,
        Self::Answers,
        Self::Settings,
        Self::Splice,
    ];
}

/// Bytes that the child sends in [`Scenario::EveryCall`].
pub(super) const EVERY_CALL_BYTES: usize = 200_003;
/// Connections of [`Scenario::Reuse`].
pub(super) const REUSES: usize = 20;
/// Bytes of [`Scenario::Large`].
pub(super) const LARGE_BYTES: usize = 5_000_000;
/// Bytes of the file in [`Scenario::SendFile`].
pub(super) const FILE_BYTES: usize = 100_000;

/// Pieces of [`Scenario::Paced`].
pub(super) const PACES: usize = 24;
/// Bytes of each.
pub(super) const PACE_BYTES: usize = 8_000;
/// The first of [`Scenario::Settings`]: two settings on stream 0 (RFC 9113 section 6.5).
pub(super) const SETTINGS: &[u8] = b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0";
/// The head of each of [`Scenario::Answers`].
pub(super) const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
/// The body of each.
pub(super) const BODY_BYTES: usize = 20_000;
/// Bytes that [`Scenario::Splice`] reads, moves unread, and reads again.
pub(super) const SPLICED: [usize; 3] = [1_000, 30_000, 500];

/// The child, waiting.
pub(super) struct Watched {
    child: Child,
    /// Kept open, or the child's own test harness fails to print its result.
    _stdout: BufReader<ChildStdout>,
}

impl Watched {
    /// Starts the child. It is ready, and waits for [`Watched::go`].
    pub(super) fn start(scenario: Scenario, peer: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "capture::probes::tests::child::run_as_child",
                "--nocapture",
            ])
            .env(SCENARIO, format!("{scenario:?}"))
            .env(PEER, peer.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let ready = stdout
            .by_ref()
            .lines()
            .any(|line| line.unwrap().ends_with("ready"));
        assert!(ready, "the child ended early");
        Self {
            child,
            _stdout: stdout,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the child to go on.
    pub(super) fn go(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Not a test of its own: what [`Watched`] runs.
#[test]
fn run_as_child() {
    let Ok(name) = std::env::var(SCENARIO) else { return };
    let scenario = *Scenario::ALL
        .iter()
        .find(|scenario| format!("{scenario:?}") == name)
        .unwrap();
    let peer: SocketAddr = std::env::var(PEER).unwrap().parse().unwrap();
    let mut early = (scenario == Scenario::Late).then(|| TcpStream::connect(peer).unwrap());
    if let Some(early) = &mut early {
        early.write_all(b"before").unwrap();
    }
    ready();
    match scenario {
        Scenario::EveryCall => every_call(TcpStream::connect(peer).unwrap()),
        Scenario::Late => early.unwrap().write_all(b"after").unwrap(),
        Scenario::Reuse => {
            for turn in 0..REUSES {
                let mut stream = TcpStream::connect(peer).unwrap();
                stream.write_all(format!("turn {turn}").as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
            }
        }
        Scenario::Large => large(&TcpStream::connect(peer).unwrap()),
        Scenario::SendFile => send_file(TcpStream::connect(peer).unwrap()),
        Scenario::Reset => reset(TcpStream::connect(peer).unwrap()),
        Scenario::Calls => super::calls::script::every_call(&TcpStream::connect(peer).unwrap()),
        Scenario::SpliceOut => super::calls::script::splice_out(&TcpStream::connect(peer).unwrap()),
        Scenario::Accept => super::calls::script::accept(&TcpStream::connect(peer).unwrap()),
        Scenario::Paced => paced(TcpStream::connect(peer).unwrap()),
        Scenario::Answers => answers(TcpStream::connect(peer).unwrap()),
        Scenario::Settings => settings(TcpStream::connect(peer).unwrap()),
        Scenario::Splice => splice(TcpStream::connect(peer).unwrap()),
        Scenario::Threads => std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| every_call(TcpStream::connect(peer).unwrap()));
            }
        }),
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn ready() {
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line, "go\n");
}

fn every_call(mut stream: TcpStream) {
    let fd = stream.as_raw_fd();
    let bytes = pattern(EVERY_CALL_BYTES, 1);
    let mut rest = bytes.as_slice();
    let mut turn = 0;
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(1 + turn * 37 % 20_000)];
        let (head, tail) = piece.split_at(piece.len() / 3);
        let sent = match turn % 4 {
            0 => loop_write(&mut stream, piece),
            1 => stream
                .write_vectored(&[IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)])
                .unwrap(),
            2 => checked(unsafe_calls::send(fd, piece)),
            _ => checked(unsafe_calls::send_message(fd, head, tail)),
        };
        rest = &rest[sent..];
        turn += 1;
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut first = vec![0; 7000];
    let mut second = vec![0; 300];
    for turn in 0.. {
        let mut peeked = [0; 5];
        if turn % 5 == 0 {
            stream.peek(&mut peeked).unwrap();
        }
        let got = match turn % 4 {
            0 => stream.read(&mut first).unwrap(),
            1 => stream
                .read_vectored(&mut [IoSliceMut::new(&mut second), IoSliceMut::new(&mut first)])
                .unwrap(),
            2 => checked(unsafe_calls::receive(fd, &mut first)),
            _ => checked(unsafe_calls::receive_message(fd, &mut second, &mut first)),
        };
        if got == 0 {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "one write(2) is what is tested")]
fn loop_write(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.write(bytes).unwrap()
}

fn checked(result: isize) -> usize {
    usize::try_from(result).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
}

fn large(stream: &TcpStream) {
    let bytes = pattern(LARGE_BYTES, 2);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.len().min(17));
        let mut stream = stream;
        let sent = stream
            .write_vectored(&[IoSlice::new(head), IoSlice::new(tail)])
            .unwrap();
        rest = &rest[sent..];
    }
}

fn send_file(mut stream: TcpStream) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(FILE_BYTES, 3)).unwrap();
    stream.write_all(b"head").unwrap();
    let mut offset = 0;
    let mut left = FILE_BYTES;
    while left > 0 {
        left -= checked(unsafe_calls::send_file(
            stream.as_raw_fd(),
            file.as_raw_fd(),
            &mut offset,
            left,
        ));
    }
    stream.write_all(b"tail").unwrap();
}

fn paced(mut stream: TcpStream) {
    let bytes = pattern(PACES * PACE_BYTES, 4);
    for piece in bytes.chunks(PACE_BYTES) {
        let mut word = [0; 1];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(piece).unwrap();
    }
}

fn settings(mut stream: TcpStream) {
    stream.write_all(SETTINGS).unwrap();
    for piece in pattern(PACES * PACE_BYTES, 3).chunks(PACE_BYTES) {
        stream.write_all(piece).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

fn answers(mut stream: TcpStream) {
    let mut asked = [0; 16];
    assert!(stream.read(&mut asked).unwrap() > 0);
    let body = pattern(BODY_BYTES, 5);
    for _ in 0..2 {
        let sent = stream
            .write_vectored(&[
                IoSlice::new(HEAD),
                IoSlice::new(b"4e20\r\n"),
                IoSlice::new(&body),
                IoSlice::new(b"\r\n0\r\n\r\n"),
            ])
            .unwrap();
        assert_eq!(sent, HEAD.len() + 6 + BODY_BYTES + 7, "one call takes it all");
    }
}

fn splice(mut stream: TcpStream) {
    let [before, between, after] = SPLICED;
    stream.read_exact(&mut vec![0; before]).unwrap();
    let mut left = between;
    while left > 0 {
        left -= unsafe_calls::through_a_pipe(stream.as_raw_fd(), left);
    }
    stream.read_exact(&mut vec![0; after]).unwrap();
}

fn reset(mut stream: TcpStream) {
    stream.write_all(b"hello").unwrap();
    // The peer has sent its bytes and a reset by the time that the socket reports an error.
    unsafe_calls::wait_for_error(stream.as_raw_fd());
    let mut bytes = [0; 100];
    assert_eq!(stream.read(&mut bytes).unwrap(), b"last words".len());
    assert!(stream.read(&mut bytes).is_err());
}

/// Calls that the standard library does not make.
mod unsafe_calls {
    #![expect(unsafe_code, reason = "system calls by name")]

    use std::os::fd::RawFd;

    fn message(vectors: &mut [libc::iovec]) -> libc::msghdr {
        // SAFETY: all-zero is a valid, empty header.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len();
        header
    }

    fn vector(bytes: &[u8]) -> libc::iovec {
        libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }
    }

    pub(super) fn send(fd: RawFd, bytes: &[u8]) -> isize {
        // SAFETY: reads `bytes`.
        unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0) }
    }

    pub(super) fn receive(fd: RawFd, bytes: &mut [u8]) -> isize {
        // SAFETY: writes to `bytes`.
        unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0) }
    }

    pub(super) fn send_message(fd: RawFd, first: &[u8], second: &[u8]) -> isize {
        let mut vectors = [vector(first), vector(second)];
        let header = message(&mut vectors);
        // SAFETY: reads the two buffers.
        unsafe { libc::sendmsg(fd, &raw const header, 0) }
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "the kernel writes to them")]
    pub(super) fn receive_message(fd: RawFd, first: &mut [u8], second: &mut [u8]) -> isize {
        let mut vectors = [vector(first), vector(second)];
        let mut header = message(&mut vectors);
        // SAFETY: writes to the two buffers.
        unsafe { libc::recvmsg(fd, &raw mut header, 0) }
    }

    pub(super) fn send_file(to: RawFd, from: RawFd, offset: &mut i64, length: usize) -> isize {
        // SAFETY: writes to `offset`.
        unsafe { libc::sendfile(to, from, offset, length) }
    }

    /// Moves up to `length` bytes from a socket into a pipe, and throws them away.
    pub(super) fn through_a_pipe(socket: RawFd, length: usize) -> usize {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        let null = std::ptr::null_mut();
        // SAFETY: no offsets, so no memory is touched.
        let moved = unsafe { libc::splice(socket, null, ends[1], null, length, 0) };
        for end in ends {
            // SAFETY: both were opened above.
            unsafe { libc::close(end) };
        }
        super::checked(moved)
    }

    pub(super) fn wait_for_error(fd: RawFd) {
        let mut poll = libc::pollfd {
            fd,
            events: 0,
            revents: 0,
        };
        // SAFETY: `poll` is one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 10_000) };
        assert_eq!(ready, 1, "no error came");
    }
}
