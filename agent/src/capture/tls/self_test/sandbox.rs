//! Gives up every privilege before a library of unknown origin is loaded: its code runs with none, as nobody, without a network
//! but its own loopback, and not for long.

#![expect(unsafe_code, reason = "system calls that the standard library does not have")]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::ptr;

/// `nobody` and `nogroup`, on every distribution.
const NOBODY: libc::uid_t = 65_534;
/// Seconds of processor time.
const CPU_SECONDS: libc::rlim_t = 3;
/// Bytes of a send buffer; the kernel doubles it, and has a lower bound of its own.
const SEND_BUFFER_BYTES: libc::c_int = 4 * 1024;

/// Enters the sandbox. Where that is not possible, nothing may be loaded.
///
/// # Errors
/// What could not be given up, in words.
pub(super) fn enter() -> Result<(), String> {
    // Best effort: without the privilege for it the child has the host's loopback, as nobody.
    if own_network().is_err() {
        tracing::debug!("The self-test has no network namespace of its own.");
    }
    for (resource, limit) in [
        (libc::RLIMIT_CPU, CPU_SECONDS),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NPROC, 0),
    ] {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: the limit outlives the call.
        checked(unsafe { libc::setrlimit(resource, &raw const limit) }, "limits")?;
    }
    let what = "becoming nobody (CAP_SETUID and CAP_SETGID are needed)";
    // SAFETY: no list is read when its length is zero.
    checked(unsafe { libc::setgroups(0, ptr::null()) }, what)?;
    // SAFETY: takes plain numbers.
    checked(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, what)?;
    // SAFETY: takes plain numbers.
    checked(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, what)?;
    drop_capabilities()?;
    // SAFETY: takes plain numbers.
    let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    checked(no_new, "giving up new privileges")?;
    // Otherwise `/proc/self` is root's, and the library cannot be opened by its descriptor.
    // SAFETY: takes plain numbers.
    checked(
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) },
        "/proc/self",
    )
}

/// `capset` with none in any set. `linux/capability.h`.
fn drop_capabilities() -> Result<(), String> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Effective, permitted, inheritable; low and high halves.
    let none = [[0_u32; 3]; 2];
    // SAFETY: header and sets have the kernel's layout, and outlive the call.
    let dropped = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) };
    if dropped == 0 {
        Ok(())
    } else {
        Err(format!("giving up capabilities: {}", io::Error::last_os_error()))
    }
}

/// A network namespace with nothing but a loopback device, up.
fn own_network() -> Result<(), String> {
    // SAFETY: takes a plain number; the process has one thread, or threads that do without a network.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "unshare")?;
    let socket =
        std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::try_from(*from).unwrap_or_default();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: the request outlives the call.
    let up = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    checked(up, "loopback")
}

/// Makes a socket's send buffer small.
pub(super) fn limit_send_buffer(socket: &TcpStream) -> io::Result<()> {
    let value = SEND_BUFFER_BYTES;
    let length = u32::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the option's value is an `int`, and outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const value).cast(),
            length,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn checked(result: libc::c_int, what: &str) -> Result<(), String> {
    if result == 0 {
        Ok(())
    } else {
        Err(format!("{what}: {}", io::Error::last_os_error()))
    }
}
