//! OpenSSL as far as the self-test uses it, bound by name when it runs: the agent itself is not linked with it.
//!
//! The connections use a pre-shared key, so that no certificate is needed; the key is in this file and protects nothing.

#![expect(unsafe_code, reason = "functions of a library that is loaded when this runs")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uchar, c_uint, c_void};
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};

/// `SSL_CTRL_SET_MIN_PROTO_VERSION` and `SSL_CTRL_SET_MAX_PROTO_VERSION` of `openssl/ssl.h`.
const SET_VERSION_BOUNDS: [c_int; 2] = [123, 124];
/// Suites with a pre-shared key, which no security level may refuse.
const SUITES: &CStr = c"PSK-AES128-GCM-SHA256:PSK-AES128-CBC-SHA:@SECLEVEL=0";
const IDENTITY: &[u8] = b"self-test\0";
const KEY: [u8; 16] = *b"not a secret key";

type Ssl = NonNull<c_void>;
type Context = NonNull<c_void>;
type ServerCallback = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_uchar, c_uint) -> c_uint;
type ClientCallback =
    unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_char, c_uint, *mut c_uchar, c_uint) -> c_uint;

macro_rules! library {
    ($($field:ident = $name:literal: $type:ty,)*) => {
        /// A loaded library. It stays loaded as long as the process lives.
        pub(super) struct Library { $($field: $type,)* }

        impl Library {
            fn bind(handle: NonNull<c_void>) -> Result<Self, String> {
                Ok(Self { $($field: {
                    let address = symbol(handle, $name)?;
                    const { assert!(size_of::<$type>() == size_of::<NonNull<c_void>>()) };
                    // SAFETY: a function of that name has had that type since OpenSSL 1.1.1 (`openssl/ssl.h`), and the
                    // address is not null.
                    unsafe { std::mem::transmute_copy::<NonNull<c_void>, $type>(&address) }
                },)* })
            }
        }
    };
}

library! {
    method = c"TLS_method": unsafe extern "C" fn() -> *const c_void,
    new_context = c"SSL_CTX_new": unsafe extern "C" fn(*const c_void) -> Option<Context>,
    free_context = c"SSL_CTX_free": unsafe extern "C" fn(Context),
    control_context = c"SSL_CTX_ctrl": unsafe extern "C" fn(Context, c_int, c_long, *mut c_void) -> c_long,
    set_suites = c"SSL_CTX_set_cipher_list": unsafe extern "C" fn(Context, *const c_char) -> c_int,
    set_server_key = c"SSL_CTX_set_psk_server_callback": unsafe extern "C" fn(Context, ServerCallback),
    set_client_key = c"SSL_CTX_set_psk_client_callback": unsafe extern "C" fn(Context, ClientCallback),
    new_object = c"SSL_new": unsafe extern "C" fn(Context) -> Option<Ssl>,
    free_object = c"SSL_free": unsafe extern "C" fn(Ssl),
    set_fd = c"SSL_set_fd": unsafe extern "C" fn(Ssl, c_int) -> c_int,
    accept_state = c"SSL_set_accept_state": unsafe extern "C" fn(Ssl),
    connect_state = c"SSL_set_connect_state": unsafe extern "C" fn(Ssl),
    do_handshake = c"SSL_do_handshake": unsafe extern "C" fn(Ssl) -> c_int,
    read = c"SSL_read": unsafe extern "C" fn(Ssl, *mut c_void, c_int) -> c_int,
    read_ex = c"SSL_read_ex": unsafe extern "C" fn(Ssl, *mut c_void, usize, *mut usize) -> c_int,
    write = c"SSL_write": unsafe extern "C" fn(Ssl, *const c_void, c_int) -> c_int,
    write_ex = c"SSL_write_ex": unsafe extern "C" fn(Ssl, *const c_void, usize, *mut usize) -> c_int,
    shut_down = c"SSL_shutdown": unsafe extern "C" fn(Ssl) -> c_int,
    clear_errors = c"ERR_clear_error": unsafe extern "C" fn(),
}

fn symbol(handle: NonNull<c_void>, name: &CStr) -> Result<NonNull<c_void>, String> {
    // SAFETY: the handle is a loaded library's, the name ends with a zero.
    let address = unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) };
    NonNull::new(address).ok_or_else(|| format!("the library has no {}", name.to_string_lossy()))
}

fn open(file: &File) -> Result<NonNull<c_void>, String> {
    let path =
        CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| error.to_string())?;
    // SAFETY: runs the library's initialisers, which is what the sandbox is for.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if let Some(handle) = NonNull::new(handle) {
        return Ok(handle);
    }
    // SAFETY: no other thread loads libraries.
    let why = unsafe { libc::dlerror() };
    if why.is_null() {
        return Err("the library cannot be loaded".to_owned());
    }
    // SAFETY: a string of the loader's, valid until its next call.
    let why = unsafe { CStr::from_ptr(why) };
    Err(format!(
        "the library cannot be loaded here: {}",
        why.to_string_lossy()
    ))
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    /// As records and `openssl/tls1.h` have it.
    const fn number(self) -> c_long {
        match self {
            Self::Tls12 => 0x0303,
            Self::Tls13 => 0x0304,
        }
    }
}

/// Which of two functions for the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Plain,
    Ex,
}

/// What a read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Bytes(usize),
    End,
    NotNow,
}

impl Library {
    /// Loads libcrypto, if there is one, then libssl.
    pub(super) fn load(crypto: Option<&File>, library: &File) -> Result<Self, String> {
        // First, so that libssl's own search by name finds the one that is there.
        if let Some(crypto) = crypto {
            open(crypto)?;
        }
        Self::bind(open(library)?)
    }

    /// One end of a connection on `socket`.
    pub(super) fn object(
        &self,
        role: Role,
        version: Version,
        socket: &TcpStream,
    ) -> Result<Object<'_>, String> {
        // SAFETY: takes nothing, returns a static.
        let method = unsafe { (self.method)() };
        // SAFETY: the method is the library's own.
        let context = unsafe { (self.new_context)(method) }.ok_or("SSL_CTX_new failed")?;
        let object = self.prepare(context, role, version, socket);
        // SAFETY: the context is ours; the object keeps its own reference.
        unsafe { (self.free_context)(context) };
        object
    }

    fn prepare(
        &self,
        context: Context,
        role: Role,
        version: Version,
        socket: &TcpStream,
    ) -> Result<Object<'_>, String> {
        for bound in SET_VERSION_BOUNDS {
            // SAFETY: the control takes a number and no pointer.
            if unsafe { (self.control_context)(context, bound, version.number(), ptr::null_mut()) } != 1 {
                return Err("the protocol's version cannot be set".to_owned());
            }
        }
        // SAFETY: the list ends with a zero. That it has no effect shows in the handshake.
        unsafe { (self.set_suites)(context, SUITES.as_ptr()) };
        // SAFETY: the callback has the declared type.
        unsafe { (self.set_server_key)(context, server_key) };
        // SAFETY: the callback has the declared type.
        unsafe { (self.set_client_key)(context, client_key) };
        // SAFETY: the context is valid.
        let ssl = unsafe { (self.new_object)(context) }.ok_or("SSL_new failed")?;
        let object = Object { library: self, ssl };
        // SAFETY: object and descriptor are valid.
        if unsafe { (self.set_fd)(ssl, socket.as_raw_fd()) } != 1 {
            return Err("SSL_set_fd failed".to_owned());
        }
        match role {
            // SAFETY: the object is valid.
            Role::Client => unsafe { (self.connect_state)(ssl) },
            // SAFETY: the object is valid.
            Role::Server => unsafe { (self.accept_state)(ssl) },
        }
        Ok(object)
    }
}

/// One end of a connection.
pub(super) struct Object<'a> {
    library: &'a Library,
    ssl: Ssl,
}

impl Object<'_> {
    /// Whether the handshake is through.
    pub(super) fn shake_hands(&self) -> bool {
        self.without_old_errors();
        // SAFETY: the object is valid.
        unsafe { (self.library.do_handshake)(self.ssl) == 1 }
    }

    /// Reads as much as `buffer` takes.
    pub(super) fn read(&self, buffer: &mut [u8], api: Api) -> Outcome {
        self.without_old_errors();
        let mut count = 0;
        match api {
            Api::Plain => {
                let length = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
                // SAFETY: the buffer has that length.
                outcome(unsafe { (self.library.read)(self.ssl, buffer.as_mut_ptr().cast(), length) })
            }
            Api::Ex => {
                // SAFETY: the buffer has that length, and `count` outlives the call.
                let done = unsafe {
                    (self.library.read_ex)(self.ssl, buffer.as_mut_ptr().cast(), buffer.len(), &raw mut count)
                };
                if done == 1 {
                    Outcome::Bytes(count)
                } else {
                    Outcome::NotNow
                }
            }
        }
    }

    /// Reads less than nothing, which is an error; what the library says.
    pub(super) fn read_of_negative_length(&self) -> c_int {
        self.without_old_errors();
        // SAFETY: nothing is written, because the length is refused.
        unsafe { (self.library.read)(self.ssl, ptr::null_mut(), -1) }
    }

    /// Writes all of `bytes` or nothing.
    pub(super) fn write(&self, bytes: &[u8], api: Api) -> Outcome {
        self.without_old_errors();
        let mut count = 0;
        match api {
            Api::Plain => {
                let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
                // SAFETY: there are that many bytes.
                outcome(unsafe { (self.library.write)(self.ssl, bytes.as_ptr().cast(), length) })
            }
            Api::Ex => {
                // SAFETY: there are that many bytes, and `count` outlives the call.
                let done = unsafe {
                    (self.library.write_ex)(self.ssl, bytes.as_ptr().cast(), bytes.len(), &raw mut count)
                };
                if done == 1 {
                    Outcome::Bytes(count)
                } else {
                    Outcome::NotNow
                }
            }
        }
    }

    /// Says that no more will be written.
    pub(super) fn shut_down(&self) {
        self.without_old_errors();
        // SAFETY: the object is valid. What it answers is whether the other end has said the same.
        unsafe { (self.library.shut_down)(self.ssl) };
    }

    /// Errors of earlier calls would be taken for this one's.
    fn without_old_errors(&self) {
        // SAFETY: takes nothing.
        unsafe { (self.library.clear_errors)() }
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and is not used again.
        unsafe { (self.library.free_object)(self.ssl) }
    }
}

fn outcome(result: c_int) -> Outcome {
    match usize::try_from(result) {
        Ok(0) => Outcome::End,
        Ok(count) => Outcome::Bytes(count),
        Err(_negative) => Outcome::NotNow,
    }
}

unsafe extern "C" fn server_key(
    _ssl: *mut c_void,
    _identity: *const c_char,
    key: *mut c_uchar,
    room: c_uint,
) -> c_uint {
    // SAFETY: the library gives that much room.
    unsafe { give_key(key, room) }
}

unsafe extern "C" fn client_key(
    _ssl: *mut c_void,
    _hint: *const c_char,
    identity: *mut c_char,
    identity_room: c_uint,
    key: *mut c_uchar,
    room: c_uint,
) -> c_uint {
    if usize::try_from(identity_room).is_ok_and(|room| room >= IDENTITY.len()) {
        // SAFETY: the library gives that much room.
        unsafe { ptr::copy_nonoverlapping(IDENTITY.as_ptr(), identity.cast(), IDENTITY.len()) };
    }
    // SAFETY: likewise.
    unsafe { give_key(key, room) }
}

/// # Safety
/// There are `room` bytes at `key`.
unsafe fn give_key(key: *mut c_uchar, room: c_uint) -> c_uint {
    let length = c_uint::try_from(KEY.len()).unwrap_or(0);
    if room < length {
        return 0;
    }
    // SAFETY: there is enough room, as just seen.
    unsafe { ptr::copy_nonoverlapping(KEY.as_ptr(), key, KEY.len()) };
    length
}
