//! What a response towards a client says of where it came from, in Kong's own fields.
//!
//! In: a response. Out: answers to two questions. Sources: Kong 0.13 `kong/core/handler.lua`, 3.9 `kong/runloop/handler.lua`. Deliberately
//! absent: guesses from bodies (`message::answer` has them).

use crate::http::exchange::Response;

/// Whether the response shows that an upstream was tried: Kong sets these two only then, on its own 502 as well
/// (`testdata/kong-3.9.1/transcript.txt`). Both can be switched off in Kong with `headers` (0.13: `latency_tokens` and
/// `server_tokens`).
#[must_use]
pub fn says_proxied(response: &Response) -> bool {
    response.headers.contains("Via") || response.headers.contains("X-Kong-Upstream-Latency")
}

/// Whether the response shows that Kong's own code made it: by `X-Kong-Response-Latency` (1.4 on), or before by its name in
/// `Server` without any sign of an upstream. An upstream that is a Kong itself can say so too, where this one is told to
/// add nothing.
#[must_use]
pub fn says_own(response: &Response) -> bool {
    let is_named = || {
        response
            .headers
            .text("Server")
            .is_some_and(|server| server.starts_with("kong/"))
    };
    !says_proxied(response) && (response.headers.contains("X-Kong-Response-Latency") || is_named())
}
