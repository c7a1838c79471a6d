//! What a stream is, from its first bytes.
//!
//! The bias is towards the gateway's own: a method is what nginx accepts as one (upper-case letters, `_`, `-`), so that
//! other protocols that begin with a word are not taken for HTTP.

pub mod proxy;

/// What the first bytes of a stream, or of a call, look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The start of an HTTP/1 request.
    Request,
    /// The start of an HTTP/1 response.
    Response,
    /// The HTTP/2 preface.
    Http2,
    /// A TLS record: ciphertext, because the library's calls are not probed.
    Tls,
    /// Too few bytes to say.
    Undecided,
    /// Something else.
    Other,
}

/// Longest method that is taken for one, bytes.
const METHOD_LIMIT_BYTES: usize = 32;

/// RFC 9113 section 3.4; the rest of the preface follows an empty line.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

const STATUS_LINE: &[u8] = b"HTTP/1.";

/// Where the status begins.
const STATUS_AT: usize = b"HTTP/1.1 ".len();

/// Most bytes that a decision needs.
pub const DETECTION_BYTES: usize = METHOD_LIMIT_BYTES + 1;

/// Looks at the first bytes of a stream or of a call.
#[must_use]
pub fn detect(bytes: &[u8]) -> Detection {
    // RFC 9112 section 2.2: a server ignores empty lines before a request line.
    let blank = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    let bytes = bytes.get(blank..).unwrap_or_default();
    if bytes.is_empty() {
        return Detection::Undecided;
    }
    // RFC 8446 section 5.1: content types 20 to 23, then the legacy version 3.x.
    if let [0x14..=0x17, rest @ ..] = bytes {
        return match rest.first() {
            None => Detection::Undecided,
            Some(3) => Detection::Tls,
            Some(_) => Detection::Other,
        };
    }
    match starts_with(bytes, HTTP2_PREFACE) {
        Prefix::Whole => return Detection::Http2,
        Prefix::SoFar => return Detection::Undecided,
        Prefix::No => {}
    }
    match starts_with(bytes, STATUS_LINE) {
        Prefix::Whole => return Detection::Response,
        Prefix::SoFar => return Detection::Undecided,
        Prefix::No => {}
    }
    let method = bytes.iter().take_while(|byte| is_method_byte(**byte)).count();
    match bytes.get(method) {
        Some(b' ') if method > 0 => Detection::Request,
        None if method <= METHOD_LIMIT_BYTES => Detection::Undecided,
        Some(_) | None => Detection::Other,
    }
}

/// The same in the middle of a connection, where the start of the call may be the middle of a word: only well-known methods
/// are taken for the start of a request.
#[must_use]
pub fn detect_joining(bytes: &[u8]) -> Detection {
    let detection = detect(bytes);
    if detection == Detection::Request && !starts_with_known_method(bytes) {
        return Detection::Other;
    }
    detection
}

/// Whether `bytes` are empty lines and a part of a word by which [`detect_joining`] would know what begins, and nothing else.
#[must_use]
pub(crate) fn is_part_of_a_known_start(bytes: &[u8]) -> bool {
    let word = bytes.trim_ascii_start();
    let mut words = KNOWN_METHODS.iter().copied().chain([STATUS_LINE]);
    words.any(|known| known.starts_with(word))
}

/// Whether `bytes` begin a response that tells of an error.
#[must_use]
pub(crate) fn begins_error_response(bytes: &[u8]) -> bool {
    bytes.starts_with(STATUS_LINE) && matches!(bytes.get(STATUS_AT), Some(b'4' | b'5'))
}

/// Whether `bytes` are, or may yet become, the beginning of an HTTP/1 status line.
#[must_use]
pub(crate) fn may_be_status_line(bytes: &[u8]) -> bool {
    !matches!(starts_with(bytes, STATUS_LINE), Prefix::No)
}

fn starts_with_known_method(bytes: &[u8]) -> bool {
    let mut words = bytes
        .split(|byte| matches!(byte, b' ' | b'\r' | b'\n'))
        .filter(|word| !word.is_empty());
    words.next().is_some_and(|method| KNOWN_METHODS.contains(&method))
}

/// The methods that nginx knows by name (src/http/ngx_http_request.h), and `PURGE`.
const KNOWN_METHODS: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"PURGE",
];

const fn is_method_byte(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'_' | b'-')
}

enum Prefix {
    Whole,
    SoFar,
    No,
}

fn starts_with(bytes: &[u8], prefix: &[u8]) -> Prefix {
    if bytes.starts_with(prefix) {
        Prefix::Whole
    } else if prefix.starts_with(bytes) {
        Prefix::SoFar
    } else {
        Prefix::No
    }
}

#[cfg(test)]
mod tests {
    use super::Detection::{Http2, Other, Request, Response, Tls, Undecided};
    use super::{Detection, detect, detect_joining};

    #[track_caller]
    fn check(bytes: &[u8], expected: Detection) {
        assert_eq!(detect(bytes), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn streams_are_told_apart_by_their_first_bytes() {
        check(b"GET / HTTP/1.1\r\n", Request);
        check(b"\r\n\r\nGET /", Request);
        check(b"M-SEARCH * HTTP/1.1\r\n", Request);
        check(b"HTTP/1.1 200 OK\r\n", Response);
        check(b"HTTP/1.0 200 OK\r\n", Response);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http2);
        check(b"\x16\x03\x01\x02\x00", Tls);
        check(b"\x17\x03\x03", Tls);
        check(b"SSH-2.0-OpenSSH", Other);
        check(b"get / HTTP/1.1", Other);
        check(b"\x00\x00\x00\x12", Other);
        check(b"{\"json\":1}", Other);
        check(b" GET /", Other);
        check(b"HTTP/2", Other);
    }

    #[test]
    fn too_few_bytes_are_undecided() {
        for bytes in [
            &b""[..],
            b"G",
            b"GET",
            b"H",
            b"HTTP/",
            b"PRI * HT",
            b"\x16",
            b"\r\n",
        ] {
            check(bytes, Undecided);
        }
        check(&[b'A'; 32], Undecided);
        check(&[b'A'; 33], Other);
    }

    #[test]
    fn in_the_middle_of_a_connection_only_known_methods_begin_a_request() {
        for (bytes, expected) in [
            (&b"POST / HTTP/1.1\r\n"[..], Request),
            (b"\r\nDELETE / HTTP/1.1\r\n", Request),
            (b"OST / HTTP/1.1\r\n", Other),
            (b"MYMETHOD / HTTP/1.1\r\n", Other),
            (b"HTTP/1.1 200 OK\r\n", Response),
            (b"PO", Undecided),
        ] {
            assert_eq!(detect_joining(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
