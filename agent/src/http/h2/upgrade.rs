//! HTTP/1.1 that becomes HTTP/2 on the same connection: `Upgrade: h2c`.
//!
//! RFC 7540 section 3.2 has it and RFC 9113 section 3.1 took it out, but `curl --http2` still asks for it, some servers still agree, and a
//! gateway that passes `Upgrade` on makes a tunnel of it ("h2c smuggling"), through which requests go that it never sees. Such a
//! connection is read on. In: the exchange that asked, with its 101. Out: what HTTP/2 has to know of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::frame;
use crate::http::exchange::{Exchange, Request};
use crate::http::headers::Headers;

/// Whether the server agreed to go on in HTTP/2. The request must have come whole: HTTP/2 begins behind it.
#[must_use]
pub fn is_agreed(exchange: &Exchange) -> bool {
    let agreed = exchange
        .response
        .as_ref()
        .is_some_and(|response| response.status == 101 && names_h2c(&response.headers));
    let asked = exchange
        .request
        .as_ref()
        .is_some_and(|request| request.body.complete && names_h2c(&request.headers));
    agreed && asked
}

fn names_h2c(headers: &Headers) -> bool {
    headers
        .all("upgrade")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// The longest payload that the client allows, by the `HTTP2-Settings` of its request (RFC 7540 section 3.2.1).
pub(super) fn most_payload(request: &Request) -> Option<usize> {
    let coded = request.headers.first("http2-settings")?;
    // Without padding by the RFC; some send it all the same.
    let coded = coded.split(|byte| *byte == b'=').next()?;
    frame::most_payload(&URL_SAFE_NO_PAD.decode(coded).ok()?)
}
