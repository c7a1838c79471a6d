//! Heads: where one ends, and what its first line says. The lines after it are read in `fields`.
//!
//! In: a head's bytes. Out: [`RequestHead`] or [`ResponseHead`], byte-transparent, with what was odd about it. Any text gives a
//! request, because whatever a client sends in the place of one is answered as one; a response is one or is none.

pub(super) mod fields;

use bytes::Bytes;

use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::exchange::Version;
use crate::http::headers::Headers;

/// Most fields of one head that are kept.
pub(crate) const FIELDS: usize = 256;

/// A request's head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// Empty where there is no such word.
    pub(crate) method: Bytes,
    /// Likewise.
    pub(crate) target: Bytes,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
    pub(crate) anomalies: Anomalies,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) reason: Bytes,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
    pub(crate) anomalies: Anomalies,
}

/// Where a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadEnd {
    /// Before this index.
    At(usize),
    /// Not in what is there.
    NotYet,
}

/// Finds the empty line that ends a head. `searched` remembers how far earlier calls have looked.
pub(crate) fn find_end(bytes: &[u8], searched: &mut usize) -> HeadEnd {
    let mut from = *searched;
    while let Some(newline) = bytes.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let next = from + newline + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return HeadEnd::At(next + 1),
            Some([b'\r', b'\n', ..]) => return HeadEnd::At(next + 2),
            // Undecided: look at this line end again when more has come.
            Some([] | [b'\r']) | None => {
                *searched = next - 1;
                return HeadEnd::NotYet;
            }
            Some(_) => from = next,
        }
    }
    *searched = bytes.len();
    HeadEnd::NotYet
}

/// Reads a request's head. One that did not come to its end is read as far as its last whole line.
pub(crate) fn parse_request(text: &[u8], most_fields: usize) -> RequestHead {
    let text = Bytes::copy_from_slice(text);
    let (line, fields, mut anomalies) = split_line(&text);
    let line = request_line(line, text.contains(&b'\n'), &mut anomalies);
    let (headers, odd) = if line.has_fields {
        fields::parse(&text, fields, most_fields)
    } else {
        (Headers::default(), Anomalies::NONE)
    };
    anomalies.extend(odd);
    RequestHead {
        method: text.slice_ref(line.method),
        target: text.slice_ref(line.target),
        version: line.version,
        headers,
        anomalies,
    }
}

/// Whether `text` begins with a whole line of HTTP/0.9.
pub(super) fn is_http09(text: &[u8]) -> bool {
    text.contains(&b'\n') && parse_request(text, 0).anomalies.contains(Anomaly::Http09)
}

/// Reads a response's head; `None` if it is none.
pub(crate) fn parse_response(text: &[u8], most_fields: usize) -> Option<ResponseHead> {
    let text = Bytes::copy_from_slice(text);
    let (line, fields, mut anomalies) = split_line(&text);
    let (version, rest) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
    let version = match version_of(version) {
        Some(Stated::Known(version)) => version,
        Some(Stated::Unknown) => {
            anomalies.insert(Anomaly::UnknownVersion);
            Version::Http11
        }
        None => return None,
    };
    let rest = rest.trim_ascii_start();
    let (digits, reason) = rest.split_at_checked(3)?;
    if !(reason.is_empty() || reason.starts_with(b" ")) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = str::from_utf8(digits)
        .ok()?
        .parse()
        .ok()
        .filter(|status| *status >= 100)?;
    anomalies.insert_if(reason.iter().any(|byte| is_control(*byte)), Anomaly::ControlByte);
    let (headers, odd) = fields::parse(&text, fields, most_fields);
    anomalies.extend(odd);
    Some(ResponseHead {
        status,
        reason: text.slice_ref(reason.trim_ascii()),
        version,
        headers,
        anomalies,
    })
}

/// The first line without its end, and what follows it.
fn split_line(text: &[u8]) -> (&[u8], &[u8], Anomalies) {
    let mut anomalies = Anomalies::NONE;
    let newline = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at_checked(newline).unwrap_or((text, b""));
    let fields = rest.strip_prefix(b"\n").unwrap_or(rest);
    let line = match line.strip_suffix(b"\r") {
        Some(line) => line,
        None => {
            anomalies.insert_if(!rest.is_empty(), Anomaly::BareLineFeed);
            line
        }
    };
    (line, fields, anomalies)
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
    /// Lines that follow are fields of it.
    has_fields: bool,
}

/// `is_whole`: the line has come to its end.
fn request_line<'a>(line: &'a [u8], is_whole: bool, anomalies: &mut Anomalies) -> RequestLine<'a> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let method_end = line.iter().position(is_blank).unwrap_or(line.len());
    let (method, rest) = line.split_at_checked(method_end).unwrap_or((line, b""));
    let rest = rest.trim_ascii();
    anomalies.insert_if(line.iter().any(|byte| is_control(*byte)), Anomaly::ControlByte);
    if method.is_empty() || !method.iter().all(u8::is_ascii_graphic) {
        // No words at all: another protocol, or noise.
        anomalies.insert(Anomaly::BadRequestLine);
        return RequestLine {
            method: b"",
            target: b"",
            version: Version::Http11,
            has_fields: false,
        };
    }
    // `ngx_http_parse_request_line`.
    let is_method = method
        .iter()
        .all(|byte| matches!(byte, b'A'..=b'Z' | b'_' | b'-'));
    anomalies.insert_if(!is_method, Anomaly::BadMethod);
    // nginx before 1.21.1 took a target with blanks in it as far as the last one, if a version follows.
    let last_blank = rest.iter().rposition(is_blank);
    let split = last_blank.and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?)));
    let (target, version) = match split {
        Some((target, stated)) => (target.trim_ascii_end(), version_of(stated)),
        None => (rest, None),
    };
    let blanks = line.iter().filter(|byte| is_blank(byte)).count();
    let (target, version, has_fields) = match (version, last_blank) {
        (Some(stated), _) => {
            anomalies.insert_if(blanks != 2, Anomaly::BlanksInRequestLine);
            let version = match stated {
                Stated::Known(version) => version,
                Stated::Unknown => {
                    anomalies.insert(Anomaly::UnknownVersion);
                    Version::Http11
                }
            };
            (target, version, true)
        }
        (None, None) if !rest.is_empty() => {
            anomalies.insert_if(is_whole, Anomaly::Http09);
            (rest, Version::Http10, false)
        }
        (None, _) => {
            anomalies.insert(Anomaly::BadRequestLine);
            (rest, Version::Http11, true)
        }
    };
    RequestLine {
        method,
        target,
        version,
        has_fields,
    }
}

/// A version as it stands in a start line.
enum Stated {
    Known(Version),
    /// One of HTTP's form, which is taken for 1.1, as nginx takes all others of 1.x.
    Unknown,
}

fn version_of(text: &[u8]) -> Option<Stated> {
    match text.strip_prefix(b"HTTP/")? {
        b"1.1" => Some(Stated::Known(Version::Http11)),
        b"1.0" => Some(Stated::Known(Version::Http10)),
        digits => {
            let is_form = digits.contains(&b'.')
                && digits.len() <= VERSION_BYTES
                && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
            is_form.then_some(Stated::Unknown)
        }
    }
}

/// `1.999`, the longest that nginx reads.
const VERSION_BYTES: usize = 5;

/// CR, NUL and their like, but for the blanks.
const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

#[cfg(test)]
mod tests {
    use super::{HeadEnd, find_end, parse_request, parse_response};
    use crate::http::exchange::Version;

    #[test]
    fn the_end_is_found_in_any_segmentation() {
        for head in [
            &b"GET / HTTP/1.1\r\nA: b\r\n\r\n"[..],
            b"GET / HTTP/1.1\nA: b\n\n",
            b"A\r\n\n",
            b"A\n\r\n",
        ] {
            assert_eq!(
                find_end(head, &mut 0),
                HeadEnd::At(head.len()),
                "{}",
                head.escape_ascii()
            );
            let mut searched = 0;
            for end in 0..head.len() {
                assert_eq!(
                    find_end(&head[..end], &mut searched),
                    HeadEnd::NotYet,
                    "{} at {end}",
                    head.escape_ascii()
                );
            }
            assert_eq!(
                find_end(head, &mut searched),
                HeadEnd::At(head.len()),
                "{}",
                head.escape_ascii()
            );
        }
    }

    #[track_caller]
    fn check_request(text: &[u8], expected: &str) {
        let head = parse_request(text, 8);
        let fields: String = head
            .headers
            .0
            .iter()
            .map(|field| format!(" {}={}", field.name.escape_ascii(), field.value.escape_ascii()))
            .collect();
        let odd: String = head.anomalies.names().map(|name| format!(" !{name}")).collect();
        let seen = format!(
            "{} {}{fields}{odd}",
            head.method.escape_ascii(),
            head.target.escape_ascii()
        );
        assert_eq!(seen, expected, "{}", text.escape_ascii());
    }

    #[test]
    fn any_text_is_a_request() {
        check_request(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a?b Host=x");
        check_request(b"nothing", "nothing  !bad_method !bad_request_line");
        check_request(b"", "  !bad_request_line");
        check_request(
            b"\x16\x03\x01 / HTTP/1.1\r\n",
            "  !control_byte !bad_request_line",
        );
        // Cut off: the last line may go on.
        check_request(b"GET / HTTP/1.1\r\nA: b\r\nC: d", "GET / A=b");
    }

    #[test]
    fn response_heads() {
        for (text, expected) in [
            (
                &b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"[..],
                Some((200, "OK", Version::Http11)),
            ),
            (
                b"HTTP/1.0 404 Not Found\r\n\r\n",
                Some((404, "Not Found", Version::Http10)),
            ),
            (b"HTTP/1.1 204\r\n\r\n", Some((204, "", Version::Http11))),
            (b"HTTP/1.1 204 \r\n\r\n", Some((204, "", Version::Http11))),
            (b"HTTP/1.1 2000 OK\r\n\r\n", None),
            (b"HTTP/1.1 099 OK\r\n\r\n", None),
            (b"HTTP/1.1 abc OK\r\n\r\n", None),
            (b"HTTP/3 200 OK\r\n\r\n", None),
            (b"HTTP/1.2 200 OK\r\n\r\n", Some((200, "OK", Version::Http11))),
        ] {
            let head = parse_response(text, 8);
            let seen = head
                .as_ref()
                .map(|h| (h.status, std::str::from_utf8(&h.reason).unwrap(), h.version));
            assert_eq!(seen, expected, "{}", text.escape_ascii());
        }
    }
}
