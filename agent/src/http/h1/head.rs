//! Heads: where one ends, and what it says.
//!
//! The start line is read here, byte-transparently; the fields are `httparse`'s. A head that `httparse` refuses (folded
//! lines, stray bytes) is tried once more in its lenient form, which leaves out the lines that cannot be read.

use std::mem::MaybeUninit;

use bytes::Bytes;

use crate::http::exchange::Version;
use crate::http::headers::{Header, Headers};

/// Most fields of one head that can be read; a head with more is not read.
pub(crate) const FIELDS: usize = 256;

/// A request's head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Bytes,
    pub(crate) target: Bytes,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) reason: Bytes,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
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
    while let Some(newline) = bytes
        .get(from..)
        .and_then(|rest| memchr::memchr(b'\n', rest))
    {
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

/// Reads a request's head; `None` if it is none.
pub(crate) fn parse_request(text: &[u8], most_fields: usize) -> Option<RequestHead> {
    let text = Bytes::copy_from_slice(text);
    let (line, fields) = split_line(&text)?;
    let method_end = line.iter().position(|byte| *byte == b' ')?;
    let (method, rest) = line.split_at_checked(method_end)?;
    let rest = rest.trim_ascii();
    // nginx takes a target with spaces in it as far as the last space, if a version follows.
    let (target, version) = match rest.iter().rposition(|byte| *byte == b' ') {
        Some(space) => {
            let (target, version) = rest.split_at_checked(space)?;
            (target.trim_ascii_end(), version_of(version.trim_ascii())?)
        }
        // HTTP/0.9 has no version and no fields; no gateway serves it.
        None => return None,
    };
    if method.is_empty() || target.is_empty() || !method.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(RequestHead {
        method: text.slice_ref(method),
        target: text.slice_ref(target),
        version,
        headers: parse_fields(&text, fields, most_fields)?,
    })
}

/// Reads a response's head; `None` if it is none.
pub(crate) fn parse_response(text: &[u8], most_fields: usize) -> Option<ResponseHead> {
    let text = Bytes::copy_from_slice(text);
    let (line, fields) = split_line(&text)?;
    let (version, rest) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
    let version = version_of(version)?;
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
    Some(ResponseHead {
        status,
        reason: text.slice_ref(reason.trim_ascii()),
        version,
        headers: parse_fields(&text, fields, most_fields)?,
    })
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let newline = text.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = text.split_at_checked(newline)?;
    Some((
        line.strip_suffix(b"\r").unwrap_or(line),
        rest.strip_prefix(b"\n").unwrap_or(rest),
    ))
}

fn version_of(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.0" => Some(Version::Http10),
        // nginx takes any 1.x for 1.1.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Some(Version::Http11),
        _ => None,
    }
}

fn parse_fields(text: &Bytes, fields: &[u8], most: usize) -> Option<Headers> {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS];
    let slots = slots.get_mut(..most.min(FIELDS))?;
    match httparse::parse_headers(fields, slots) {
        Ok(httparse::Status::Complete((_, parsed))) => Some(Headers(
            parsed
                .iter()
                .map(|field| Header {
                    name: text.slice_ref(field.name.as_bytes()),
                    value: text.slice_ref(field.value),
                })
                .collect(),
        )),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => None,
        Err(_) => parse_fields_leniently(fields, most),
    }
}

fn parse_fields_leniently(fields: &[u8], most: usize) -> Option<Headers> {
    // Only `httparse`'s message parsers have lenient forms, so the fields are put under a status line.
    let mut message = b"HTTP/1.1 200 \r\n".to_vec();
    message.extend_from_slice(fields);
    let message = Bytes::from(message);
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response_with_uninit_headers(&mut response, &message, slots.get_mut(..most.min(FIELDS))?);
    match parsed {
        Ok(httparse::Status::Complete(_)) => Some(Headers(
            response
                .headers
                .iter()
                .map(|field| Header {
                    name: message.slice_ref(field.name.as_bytes()),
                    value: message.slice_ref(field.value),
                })
                .collect(),
        )),
        Ok(httparse::Status::Partial) | Err(_) => None,
    }
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

    /// Method, target and fields.
    type Expected<'a> = (&'a str, &'a [u8], &'a [(&'a str, &'a [u8])]);

    #[track_caller]
    fn check_request(text: &[u8], expected: Option<Expected<'_>>) {
        let head = parse_request(text, 8);
        let seen = head.as_ref().map(|head| {
            let fields: Vec<(String, Vec<u8>)> = head
                .headers
                .0
                .iter()
                .map(|field| {
                    (
                        String::from_utf8_lossy(&field.name).into_owned(),
                        field.value.to_vec(),
                    )
                })
                .collect();
            (
                String::from_utf8_lossy(&head.method).into_owned(),
                head.target.to_vec(),
                fields,
            )
        });
        let expected = expected.map(|(method, target, fields)| {
            let fields = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                .collect();
            (method.to_owned(), target.to_vec(), fields)
        });
        assert_eq!(seen, expected, "{}", text.escape_ascii());
    }

    #[test]
    fn request_heads() {
        check_request(
            b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n",
            Some(("GET", b"/a?b", &[("Host", b"x")])),
        );
        check_request(b"GET http://h/p HTTP/1.0\n\n", Some(("GET", b"http://h/p", &[])));
        check_request(b"OPTIONS * HTTP/1.1\r\n\r\n", Some(("OPTIONS", b"*", &[])));
        check_request(
            b"GET /\xff\x80 HTTP/1.1\r\nX: \xe9\r\n\r\n",
            Some(("GET", b"/\xff\x80", &[("X", b"\xe9")])),
        );
        check_request(b"GET /a b HTTP/1.1\r\n\r\n", Some(("GET", b"/a b", &[])));
        check_request(
            b"GET / HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n",
            Some(("GET", b"/", &[("A", b"1"), ("a", b"2")])),
        );
        check_request(
            b"GET / HTTP/1.1\r\nGood: 1\r\nBad Name: 2\r\n\r\n",
            Some(("GET", b"/", &[("Good", b"1")])),
        );
        check_request(b"GET /\r\n\r\n", None);
        check_request(b"GET / HTTP/2.0\r\n\r\n", None);
        check_request(b" / HTTP/1.1\r\n\r\n", None);
        check_request(b"GET / FTP/1.1\r\n\r\n", None);
        check_request(b"nothing", None);
    }

    #[test]
    fn folded_lines_are_kept_as_one_field() {
        let head = parse_request(b"GET / HTTP/1.1\r\nA: one\r\n two\r\nB: 3\r\n\r\n", 8).unwrap();
        assert!(head.headers.text("a").unwrap().starts_with("one"), "{head:?}");
        assert_eq!(head.headers.text("b"), Some("3"));
    }

    #[test]
    fn a_head_with_too_many_fields_is_not_read() {
        let fields = "A: b\r\n".repeat(9);
        assert!(parse_request(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), 8).is_none());
        assert!(parse_request(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), 9).is_some());
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
        ] {
            let head = parse_response(text, 8);
            let seen = head
                .as_ref()
                .map(|h| (h.status, std::str::from_utf8(&h.reason).unwrap(), h.version));
            assert_eq!(seen, expected, "{}", text.escape_ascii());
        }
    }
}
