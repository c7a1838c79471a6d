//! What the child does: a list of steps for each direction, which the parent knows too.

#![expect(unsafe_code, reason = "system calls by name")]

use std::ffi::c_int;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use libc::{iovec, mmsghdr, msghdr};

use super::pattern;
use crate::capture::sources::SocketSource;

/// What a call answers, unless that it failed.
macro_rules! ok {
    ($call:expr) => {
        // SAFETY: descriptors are open, and what pointers lead to lives through the call and is as long as it says.
        checked(usize::try_from(unsafe { $call }))
    };
}

/// A descriptor that a call answers.
macro_rules! fd {
    ($call:expr) => {
        RawFd::try_from(ok!($call)).unwrap()
    };
}

/// One kind of call, repeated until so many bytes have moved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// `read` or `write`.
    Plain(usize),
    /// The same on a descriptor made by `dup`, `dup2`, `dup3` and `fcntl`, in turn.
    Copied(usize),
    /// `readv` or `writev` with so many vectors.
    Vectors(usize, usize),
    /// `preadv2` or `pwritev2` at the current position.
    AtPosition(usize),
    /// `recv` or `send`.
    Short(usize),
    /// `recvfrom` or `sendto`.
    Address(usize),
    /// `recvmsg` or `sendmsg` with so many vectors.
    Message(usize, usize),
    /// `recvmmsg` or `sendmmsg` with so many messages.
    Messages(usize, usize),
    /// `recv` with `MSG_TRUNC`: the bytes are thrown away.
    Discard(usize),
    /// `sendfile`.
    File(usize),
    /// `splice` from or to a pipe.
    Splice(usize),
}

/// What the child sends.
pub(crate) const SENT: &[Step] = &[
    Step::Plain(100),
    // What nginx was seen to do in one call.
    Step::Vectors(65_536 + 2232, 3),
    Step::Plain(1 << 20),
    Step::Vectors(300_000, 1024),
    Step::Short(777),
    Step::Address(20_000),
    Step::Message(40_000, 5),
    Step::Messages(60_000, 3),
    Step::File(50_000),
    Step::Copied(400),
    Step::Splice(30_000),
    Step::AtPosition(5_000),
    Step::Messages(1_000, 40),
    Step::Plain(1),
];

/// What it receives.
pub(crate) const RECEIVED: &[Step] = &[
    Step::Plain(1_000),
    Step::Vectors(70_000, 9),
    Step::Short(12_345),
    Step::Address(3_000),
    Step::Message(50_000, 1024),
    Step::Discard(500),
    Step::Messages(40_000, 4),
    Step::AtPosition(6_000),
    Step::Copied(800),
    Step::Messages(90, 30),
    Step::Plain(1 << 20),
];

/// What it receives in `splice_out`.
pub(crate) const SPLICED_OUT: &[Step] = &[Step::Plain(10), Step::Splice(20_000), Step::Plain(500)];

/// Connections that `accept` takes.
pub(crate) const ACCEPTED: usize = 2;

impl Step {
    /// How many bytes it moves.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Plain(bytes)
            | Self::Copied(bytes)
            | Self::Vectors(bytes, _)
            | Self::AtPosition(bytes)
            | Self::Short(bytes)
            | Self::Address(bytes)
            | Self::Message(bytes, _)
            | Self::Messages(bytes, _)
            | Self::Discard(bytes)
            | Self::File(bytes)
            | Self::Splice(bytes) => bytes,
        }
    }

    /// Whether `source` sees its length alone.
    pub(crate) fn has_no_payload(self, source: SocketSource) -> bool {
        match self {
            Self::Discard(_) | Self::File(_) | Self::Splice(_) => true,
            // The tracepoints come once a message, and do not say which one.
            Self::Messages(..) => source == SocketSource::Sock,
            Self::Plain(_)
            | Self::Copied(_)
            | Self::Vectors(..)
            | Self::AtPosition(_)
            | Self::Short(_)
            | Self::Address(_)
            | Self::Message(..) => false,
        }
    }

    /// Of all together.
    pub(crate) fn total(steps: &[Self]) -> usize {
        steps.iter().map(|step| step.bytes()).sum()
    }
}

/// Sends and receives by every step, with calls in between that are none of the stream's.
pub(crate) fn every_call(stream: &TcpStream) {
    let fd = stream.as_raw_fd();
    let bytes = pattern(Step::total(SENT), 1);
    let mut rest = bytes.as_slice();
    for step in SENT {
        noise();
        let (now, later) = rest.split_at(step.bytes());
        send_all(fd, *step, now);
        rest = later;
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    for step in RECEIVED {
        noise();
        peek(fd);
        // A call that asks for nothing and gets it is not the end.
        ok!(libc::recv(fd, ptr::null_mut(), 0, 0));
        ok!(libc::readv(fd, ptr::null(), 0));
        receive_all(fd, *step);
    }
    assert_eq!(ok!(libc::read(fd, [0; 9].as_mut_ptr().cast(), 9)), 0);
}

/// Receives some bytes, splices some to a pipe, and sends all of them back.
pub(crate) fn splice_out(stream: &TcpStream) {
    let mut all = Vec::new();
    for step in SPLICED_OUT {
        all.extend(receive_all(stream.as_raw_fd(), *step));
    }
    let (pipe, into) = pipe();
    let (from, target) = (stream.as_raw_fd(), into.as_raw_fd());
    let end = ok!(libc::splice(
        from,
        ptr::null_mut(),
        target,
        ptr::null_mut(),
        100,
        0
    ));
    assert_eq!(end, 0, "the other end has said all");
    drop(pipe);
    (&*stream).write_all(&all).unwrap();
}

/// Tells the peer a port, and echoes on two connections to it, on copies of their descriptors.
pub(crate) fn accept(mut peer: &TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    peer.write_all(&port.to_be_bytes()).unwrap();
    for turn in 0..ACCEPTED {
        let from = listener.as_raw_fd();
        let accepted = match turn {
            0 => fd!(libc::accept(from, ptr::null_mut(), ptr::null_mut())),
            _ => fd!(libc::accept4(
                from,
                ptr::null_mut(),
                ptr::null_mut(),
                libc::SOCK_CLOEXEC
            )),
        };
        let mut original = stream_of(accepted);
        let mut said = vec![0; 300];
        original.read_exact(&mut said).unwrap();
        let mut copy = original.try_clone().unwrap();
        drop(original); // the connection lives on
        copy.read_to_end(&mut said).unwrap();
        copy.write_all(&said).unwrap();
    }
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
}

fn stream_of(fd: RawFd) -> TcpStream {
    TcpStream::from(owned(fd))
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the call that answered it gave it to us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Calls on what is no TCP connection.
fn noise() {
    let (mut one, mut other) = UnixStream::pair().unwrap();
    one.write_all(b"unix").unwrap();
    other.read_exact(&mut [0; 4]).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams
        .send_to(b"datagram", datagrams.local_addr().unwrap())
        .unwrap();
    datagrams.recv(&mut [0; 20]).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"file").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_exact(&mut [0; 4]).unwrap();
}

fn peek(fd: RawFd) {
    let mut bytes = [0; 5];
    let mut vectors = vec![vector(&bytes)];
    let mut header = header(&mut vectors);
    ok!(libc::recv(fd, bytes.as_mut_ptr().cast(), 5, libc::MSG_PEEK));
    ok!(libc::recvmsg(fd, &raw mut header, libc::MSG_PEEK));
    let mut messages = [mmsghdr {
        msg_hdr: header,
        msg_len: 0,
    }];
    ok!(libc::recvmmsg(
        fd,
        messages.as_mut_ptr(),
        1,
        libc::MSG_PEEK,
        ptr::null_mut()
    ));
}

fn checked(result: Result<usize, std::num::TryFromIntError>) -> usize {
    result.unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
}

fn vector(bytes: &[u8]) -> iovec {
    iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn header(vectors: &mut [iovec]) -> msghdr {
    // SAFETY: all-zero is a valid, empty header.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len();
    header
}

/// `bytes` in `count` vectors, as even as they can be, with an empty one among them where there is room.
fn vectors(bytes: &[u8], count: usize) -> Vec<iovec> {
    let filled = if count > 2 { count - 1 } else { count };
    let mut vectors: Vec<iovec> = (0..filled)
        .map(|index| {
            let from = bytes.len() * index / filled;
            let to = bytes.len() * (index + 1) / filled;
            vector(&bytes[from..to])
        })
        .collect();
    if filled < count {
        vectors.insert(1, vector(&[]));
    }
    vectors
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    ok!(libc::pipe(ends.as_mut_ptr()));
    let [from, into] = ends;
    (owned(from), owned(into))
}

/// Another descriptor of the same socket, made in one of four ways.
fn copy_of(fd: RawFd, way: usize) -> OwnedFd {
    let spare = std::fs::File::open("/dev/null").unwrap();
    owned(match way % 4 {
        0 => fd!(libc::dup(fd)),
        1 => fd!(libc::dup2(fd, OwnedFd::from(spare).into_raw_fd())),
        2 => fd!(libc::dup3(
            fd,
            OwnedFd::from(spare).into_raw_fd(),
            libc::O_CLOEXEC
        )),
        _ => fd!(libc::fcntl(fd, libc::F_DUPFD, 100)),
    })
}

/// Calls until all of `bytes` are sent.
fn send_all(fd: RawFd, step: Step, bytes: &[u8]) {
    let mut rest = bytes;
    let mut turn = 0;
    while !rest.is_empty() {
        rest = &rest[send_once(fd, step, rest, turn)..];
        turn += 1;
    }
}

fn send_once(fd: RawFd, step: Step, rest: &[u8], turn: usize) -> usize {
    let buffer = rest.as_ptr().cast();
    let length = rest.len();
    match step {
        Step::Plain(_) => ok!(libc::write(fd, buffer, length)),
        Step::Copied(_) => {
            let copy = copy_of(fd, turn);
            ok!(libc::write(copy.as_raw_fd(), buffer, length.min(100)))
        }
        Step::Vectors(_, count) => {
            let vectors = vectors(rest, count);
            ok!(libc::writev(fd, vectors.as_ptr(), int(vectors.len())))
        }
        Step::AtPosition(_) => {
            let vectors = vectors(rest, 2);
            ok!(libc::pwritev2(fd, vectors.as_ptr(), 2, -1, 0))
        }
        Step::Short(_) => ok!(libc::send(fd, buffer, length, libc::MSG_NOSIGNAL)),
        Step::Address(_) => ok!(libc::sendto(fd, buffer, length, 0, ptr::null(), 0)),
        Step::Message(_, count) => {
            let mut vectors = vectors(rest, count);
            let header = header(&mut vectors);
            ok!(libc::sendmsg(fd, &raw const header, 0))
        }
        Step::Messages(_, count) => {
            let (vectors, mut messages) = messages(rest, count);
            let many = count.try_into().unwrap();
            let sent = ok!(libc::sendmmsg(fd, messages.as_mut_ptr(), many, 0));
            drop(vectors);
            lengths(&messages[..sent])
        }
        Step::File(_) => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(rest).unwrap();
            let mut offset = 0;
            ok!(libc::sendfile(fd, file.as_raw_fd(), &raw mut offset, length))
        }
        Step::Splice(_) => {
            let (from, into) = pipe();
            let put = ok!(libc::write(into.as_raw_fd(), buffer, length.min(4096)));
            let source = from.as_raw_fd();
            let moved = ok!(libc::splice(source, ptr::null_mut(), fd, ptr::null_mut(), put, 0));
            assert_eq!(moved, put);
            moved
        }
        Step::Discard(_) => panic!("nothing is thrown away when sending"),
    }
}

/// `count` messages of two vectors each.
fn messages(bytes: &[u8], count: usize) -> (Vec<Vec<iovec>>, Vec<mmsghdr>) {
    let mut all: Vec<Vec<iovec>> = (0..count)
        .map(|index| {
            let piece = &bytes[bytes.len() * index / count..bytes.len() * (index + 1) / count];
            vectors(piece, 2)
        })
        .collect();
    let headers = all
        .iter_mut()
        .map(|vectors| mmsghdr {
            msg_hdr: header(vectors),
            msg_len: 12_345, // the kernel writes it
        })
        .collect();
    (all, headers)
}

fn lengths(messages: &[mmsghdr]) -> usize {
    messages
        .iter()
        .map(|message| usize::try_from(message.msg_len).unwrap())
        .sum()
}

fn int(number: usize) -> c_int {
    c_int::try_from(number).unwrap()
}

/// Calls until the step's bytes are received; answers them (zeros where they were thrown away).
fn receive_all(fd: RawFd, step: Step) -> Vec<u8> {
    let mut all = vec![0; step.bytes()];
    let mut done = 0;
    let mut turn = 0;
    while done < all.len() {
        let got = receive_once(fd, step, &mut all[done..], turn);
        assert_ne!(got, 0, "the peer said less than the script needs");
        done += got;
        turn += 1;
    }
    all
}

fn receive_once(fd: RawFd, step: Step, room: &mut [u8], turn: usize) -> usize {
    let buffer = room.as_mut_ptr().cast();
    let length = room.len();
    match step {
        Step::Plain(_) => ok!(libc::read(fd, buffer, length)),
        Step::Copied(_) => {
            let copy = copy_of(fd, turn);
            ok!(libc::read(copy.as_raw_fd(), buffer, length.min(100)))
        }
        Step::Vectors(_, count) => {
            let vectors = vectors(room, count);
            ok!(libc::readv(fd, vectors.as_ptr(), int(vectors.len())))
        }
        Step::AtPosition(_) => {
            let vectors = vectors(room, 2);
            ok!(libc::preadv2(fd, vectors.as_ptr(), 2, -1, 0))
        }
        Step::Short(_) => ok!(libc::recv(fd, buffer, length, 0)),
        Step::Address(_) => {
            ok!(libc::recvfrom(
                fd,
                buffer,
                length,
                0,
                ptr::null_mut(),
                ptr::null_mut()
            ))
        }
        Step::Message(_, count) => {
            let mut vectors = vectors(room, count);
            let mut header = header(&mut vectors);
            ok!(libc::recvmsg(fd, &raw mut header, 0))
        }
        Step::Messages(_, count) => {
            // Whole messages only, or the next ones would leave holes in `room`.
            let (vectors, mut messages) = messages(room, count);
            let got = ok!(libc::recvmmsg(
                fd,
                messages.as_mut_ptr(),
                count.try_into().unwrap(),
                libc::MSG_WAITALL,
                ptr::null_mut(),
            ));
            drop(vectors);
            lengths(&messages[..got])
        }
        Step::Discard(_) => {
            ok!(libc::recv(
                fd,
                buffer,
                length,
                libc::MSG_TRUNC | libc::MSG_WAITALL
            ))
        }
        Step::Splice(_) => {
            let (from, into) = pipe();
            let target = into.as_raw_fd();
            let most = length.min(4096);
            let moved = ok!(libc::splice(
                fd,
                ptr::null_mut(),
                target,
                ptr::null_mut(),
                most,
                0
            ));
            std::fs::File::from(from).read_exact(&mut room[..moved]).unwrap();
            moved
        }
        Step::File(_) => panic!("nothing is received by sendfile"),
    }
}
