//! The PROXY protocol's header, which a balancer puts before the first byte of a connection (Kong: `proxy_protocol` listeners).
//!
//! In: a connection's first bytes. Out: how many of them are the header. Deliberately absent: the addresses in it. Versions 1
//! and 2 of the specification (haproxy, `doc/proxy-protocol.txt`, section 2).

/// Whether a connection begins with such a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// It does not.
    Absent,
    /// Perhaps; more bytes are needed.
    SoFar,
    /// It ends before this index.
    EndsAt(usize),
}

/// The longest header of version 1, its line end included, bytes (section 2.1).
const VERSION_1_BYTES: usize = 107;

/// The longest header of version 2 that is taken for one, bytes: as many as nginx reads (`NGX_PROXY_PROTOCOL_MAX_HEADER`).
const VERSION_2_BYTES: usize = 4096;

const VERSION_1: &[u8] = b"PROXY ";
const FAMILIES: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN"];
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Looks at a connection's first bytes.
#[must_use]
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    if let Some(rest) = after(bytes, VERSION_2) {
        return version_2(rest);
    }
    match after(bytes, VERSION_1) {
        Some(rest) => version_1(bytes, rest),
        None => ProxyHeader::Absent,
    }
}

fn version_1(bytes: &[u8], rest: &[u8]) -> ProxyHeader {
    // A method may be called PROXY; the families may not begin a target.
    if !FAMILIES.iter().any(|family| after(rest, family).is_some()) {
        return ProxyHeader::Absent;
    }
    let line = bytes.get(..VERSION_1_BYTES).unwrap_or(bytes);
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => ProxyHeader::EndsAt(end + 1),
        None if bytes.len() < VERSION_1_BYTES => ProxyHeader::SoFar,
        None => ProxyHeader::Absent,
    }
}

fn version_2(rest: &[u8]) -> ProxyHeader {
    let [version, _family, high, low, ..] = rest else {
        return ProxyHeader::SoFar;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let end = VERSION_2.len() + 4 + length;
    if version >> 4 != 2 || end > VERSION_2_BYTES {
        return ProxyHeader::Absent;
    }
    if rest.len() < 4 + length {
        ProxyHeader::SoFar
    } else {
        ProxyHeader::EndsAt(end)
    }
}

/// What follows `prefix` in `bytes`, nothing where they end within it; `None` if they begin otherwise.
fn after<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    match bytes.strip_prefix(prefix) {
        Some(rest) => Some(rest),
        None => prefix.starts_with(bytes).then_some(b""),
    }
}

#[cfg(test)]
mod tests {
    use super::{ProxyHeader, proxy_header};

    /// Whole, and at each byte before it.
    #[track_caller]
    fn check_ends(header: &[u8]) {
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(proxy_header(&bytes), ProxyHeader::EndsAt(header.len()));
        for end in 0..header.len() {
            assert_eq!(proxy_header(&bytes[..end]), ProxyHeader::SoFar, "{end}");
        }
    }

    #[test]
    fn headers_end_where_they_say() {
        check_ends(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n");
        check_ends(b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n");
        check_ends(b"PROXY UNKNOWN\r\n");
        check_ends(b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n");
        // An address of 10.10.10.10 is an empty line to who looks for one.
        check_ends(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\x0a\x0a\x0a\x0a\x0a\x0a\x0a\x00\x01\x00\x02");
        check_ends(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY / HTTP/1.1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            b"PROPFIND / HTTP/1.1\r\n",
            // Version 1 has at most 107 bytes, version 2 at most those that nginx reads.
            &[&b"PROXY TCP4 "[..], &[b'1'; 96]].concat(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf1",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
        ] {
            assert_eq!(
                proxy_header(bytes),
                ProxyHeader::Absent,
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
