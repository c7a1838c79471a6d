//! Why a message did not arrive, by which name it is counted, and whether it may be sent again.
//!
//! In: statuses, and what the HTTP client reports. Out: [`Failure`]s. What decides about a repeat is whether the endpoint can
//! have taken the message: a transport that failed before the whole of it was handed over says no, as do 408, 425, 429 and 5xx; one
//! that failed later says perhaps; any other answer would be the same again. Details are the transport's own words, statuses
//! and codes; nothing captured and nothing else of an endpoint's text is in them.

use std::borrow::Cow;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::HeaderValue;

use crate::clock;
use crate::ship::body::Progress;
use crate::ship::clients::ClientError;
use crate::ship::lane::health::Ended;
use crate::telemetry::ledger::DropReason;

/// Longest detail, bytes. Certificates have as many names as their owners like.
const DETAIL_BYTES: usize = 300;

/// What more seconds than a number holds are taken for.
const ENDLESS_SECONDS: u64 = 0xffff_ffff;

/// Whether a message may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The answer would be the same.
    Never,
    /// It did not arrive, or the endpoint said so.
    Always {
        /// After how long, if the endpoint said.
        after: Option<Duration>,
    },
    /// It may have arrived: only if the receiver can tell that it has it.
    WhereRecognised,
}

/// Why a message did not arrive.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: DropReason,
    pub(super) again: Again,
    /// What it says of the endpoint.
    pub(super) ended: Ended,
    /// For the operator. Holds no captured value and no secret.
    pub(super) detail: Cow<'static, str>,
}

const AT_ONCE: Again = Again::Always { after: None };

impl Failure {
    /// The message was given up without being sent.
    pub(super) const fn without_attempt(reason: DropReason) -> Self {
        Self {
            reason,
            again: Again::Never,
            ended: Ended::Failed,
            detail: Cow::Borrowed("not attempted"),
        }
    }

    /// It was to be posted after others, and the endpoint failed at those.
    pub(super) const fn not_tried(ended: Ended) -> Self {
        Self {
            reason: DropReason::EndpointError,
            again: AT_ONCE,
            ended,
            detail: Cow::Borrowed("the endpoint failed at an earlier part of the same list"),
        }
    }

    /// Nothing can be sent to this destination as things are.
    pub(super) fn unsendable(error: &ClientError) -> Self {
        Self {
            reason: DropReason::Unreachable,
            again: if error.may_pass() { AT_ONCE } else { Again::Never },
            ended: Ended::Failed,
            detail: words(&chain(error)),
        }
    }

    /// The deadline passed before there was an answer.
    pub(super) fn of_deadline(progress: &Progress) -> Self {
        let (reason, again, detail) = if !progress.has_begun() {
            (DropReason::Unreachable, AT_ONCE, "no connection in time")
        } else if !progress.is_handed_over() {
            (
                DropReason::Timeout,
                AT_ONCE,
                "the endpoint did not read all of it in time",
            )
        } else {
            (DropReason::Timeout, Again::WhereRecognised, "no answer in time")
        };
        Self {
            reason,
            again,
            ended: Ended::Failed,
            detail: Cow::Borrowed(detail),
        }
    }

    /// The deadline passed while the answer came.
    pub(super) const fn of_late_answer() -> Self {
        Self {
            reason: DropReason::Timeout,
            again: Again::WhereRecognised,
            ended: Ended::Failed,
            detail: Cow::Borrowed("the answer took too long"),
        }
    }

    /// The answer broke off.
    pub(super) fn of_broken_answer(error: &reqwest::Error) -> Self {
        Self {
            reason: DropReason::BadAnswer,
            again: Again::WhereRecognised,
            ended: Ended::Failed,
            detail: detail(error),
        }
    }

    /// There was no connection, or no answer on it.
    pub(super) fn of_transport(error: &reqwest::Error, progress: &Progress) -> Self {
        let reason = if error.is_connect() {
            DropReason::Unreachable
        } else {
            DropReason::BadAnswer
        };
        let may_have_it = progress.is_handed_over() && !is_not_taken(error);
        Self {
            reason,
            again: if may_have_it {
                Again::WhereRecognised
            } else {
                AT_ONCE
            },
            ended: Ended::Failed,
            detail: detail(error),
        }
    }

    /// An answer with this status, which is no success. `after`: what its Retry-After says.
    pub(super) fn of_status(
        status: StatusCode,
        code: Option<&str>,
        after: Option<Duration>,
        took: Duration,
    ) -> Self {
        let later = Again::Always { after };
        let overloaded = Ended::Overloaded { after };
        let answered = Ended::Answered { took };
        let (reason, again, ended) = match status.as_u16() {
            401 | 403 | 407 => (DropReason::Unauthorized, Again::Never, answered),
            404 | 410 => (DropReason::NoBucket, Again::Never, answered),
            413 => (DropReason::TooLarge, Again::Never, answered),
            400 | 422 => (DropReason::Invalid, Again::Never, answered),
            429 => (DropReason::Throttled, later, overloaded),
            // RFC 9110 section 15.5.9 and RFC 8470 section 5.2: the same request may do better.
            408 => (DropReason::EndpointError, later, Ended::Failed),
            425 | 503 => (DropReason::EndpointError, later, overloaded),
            402..=499 => (DropReason::Rejected, Again::Never, answered),
            500..=599 => (DropReason::EndpointError, later, Ended::Failed),
            // A redirect, which is not followed: whoever would get the token there is not the configured endpoint.
            _ => (DropReason::BadAnswer, Again::Never, answered),
        };
        let status = status.as_u16();
        let detail = code.map_or_else(
            || format!("status {status}"),
            |code| format!("status {status}, code {code}"),
        );
        Self {
            reason,
            again,
            ended,
            detail: detail.into(),
        }
    }

    /// An entry of the answer's list says that this message was not taken.
    pub(super) fn of_entry(code: Option<&str>, took: Duration) -> Self {
        let detail = code.map_or(
            Cow::Borrowed("the answer marks the message as an error"),
            |code| format!("the answer marks the message as an error, code {code}").into(),
        );
        Self {
            reason: DropReason::Invalid,
            again: Again::Never,
            ended: Ended::Answered { took },
            detail,
        }
    }

    /// A list was answered with success, but without an entry for each message.
    pub(super) const fn unclear_list(took: Duration) -> Self {
        Self {
            reason: DropReason::BadAnswer,
            again: Again::WhereRecognised,
            ended: Ended::Answered { took },
            detail: Cow::Borrowed("a list was answered without an entry for each message"),
        }
    }
}

/// Whether the endpoint said that it left the request untouched: an HTTP/2 stream that it refused (RFC 9113 section 8.7) or
/// that came after its farewell (section 6.8). (A request that found its connection closed before anything of it was written
/// is sent anew by the HTTP client itself.)
pub(super) fn is_not_taken(error: &(dyn Error + 'static)) -> bool {
    let is_refused = |error: &h2::Error| {
        error.is_remote()
            && match error.reason() {
                Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
                Some(h2::Reason::NO_ERROR) => error.is_go_away(),
                Some(_) | None => false,
            }
    };
    find::<h2::Error>(error).is_some_and(is_refused)
}

/// How long an endpoint asks to be left alone: seconds or a date (RFC 9110 section 10.2.3). A date that is past says zero.
pub(super) fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(ENDLESS_SECONDS)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let now: SystemTime = UNIX_EPOCH + Duration::from_nanos(clock::unix_ns());
    Some(date.duration_since(now).unwrap_or_default())
}

/// The innermost error: the outer ones of the HTTP client say little.
fn detail(error: &(dyn Error + 'static)) -> Cow<'static, str> {
    // Its own words may quote the endpoint's.
    if let Some(error) = find::<h2::Error>(error) {
        let reason = error.reason();
        let reason = reason.as_ref().map_or("broken off", h2::Reason::description);
        return format!("HTTP/2: {reason}").into();
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    words(&cause.to_string())
}

/// What both `detail` and log lines hold: one line, not too long.
fn words(text: &str) -> Cow<'static, str> {
    let end = text.floor_char_boundary(DETAIL_BYTES);
    let kept = text.get(..end).unwrap_or_default();
    kept.replace(char::is_control, " ").into()
}

/// An error with what it comes from, outermost first.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What a probe says of a failed connection: the reason's label and the detail.
pub(super) fn of_probe(error: &reqwest::Error) -> (&'static str, String) {
    let failure = Failure::of_transport(error, &Progress::default());
    (failure.reason.label(), failure.detail.into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use reqwest::StatusCode;
    use reqwest::header::HeaderValue;

    use super::{Again, Failure, retry_after, words};
    use crate::ship::lane::health::Ended;

    #[test]
    fn a_status_decides_the_reason_the_repeat_and_what_it_says_of_the_endpoint() {
        let after = Some(Duration::from_secs(7));
        let took = Duration::from_millis(3);
        let check = |status: u16, reason: &str, is_repeated: bool, ended: Ended| {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::of_status(status, None, after, took);
            let again = if is_repeated {
                Again::Always { after }
            } else {
                Again::Never
            };
            let found = (failure.reason.label(), failure.again, failure.ended);
            assert_eq!(found, (reason, again, ended), "{status}");
            assert_eq!(failure.detail, format!("status {}", status.as_u16()));
        };
        let answered = Ended::Answered { took };
        let overloaded = Ended::Overloaded { after };
        for status in [401, 403, 407] {
            check(status, "unauthorized", false, answered);
        }
        for status in [404, 410] {
            check(status, "no_bucket", false, answered);
        }
        check(413, "too_large", false, answered);
        for status in [400, 422] {
            check(status, "invalid", false, answered);
        }
        for status in [402, 405, 406, 409, 411, 415, 418, 431, 451, 499] {
            check(status, "rejected", false, answered);
        }
        check(408, "endpoint_error", true, Ended::Failed);
        check(425, "endpoint_error", true, overloaded);
        check(429, "throttled", true, overloaded);
        check(503, "endpoint_error", true, overloaded);
        for status in [500, 501, 502, 504, 507, 599] {
            check(status, "endpoint_error", true, Ended::Failed);
        }
        for status in [101, 301, 302, 304, 307, 308, 600, 999] {
            check(status, "bad_answer", false, answered);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str, expected: Option<u64>| {
            let found = retry_after(&HeaderValue::from_str(text).unwrap());
            assert_eq!(found.map(|after| after.as_secs()), expected, "{text}");
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("99999999999999999999999", Some(u64::from(u32::MAX)));
        check("-1", None);
        check("1.5", None);
        check("soon", None);
        check("", None);
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(0));
        check("Sun, 06 Nov 1994", None);
        #[expect(clippy::disallowed_methods, reason = "the header has the wall clock's time")]
        let soon = SystemTime::now() + Duration::from_secs(100);
        let found = retry_after(&HeaderValue::from_str(&httpdate::fmt_http_date(soon)).unwrap());
        assert!((90..=100).contains(&found.unwrap().as_secs()), "{found:?}");
    }

    #[test]
    fn a_detail_is_one_line_of_bounded_length() {
        assert_eq!(words("a\r\nb"), "a  b");
        assert_eq!(words(&"é".repeat(200)).len(), 300);
    }
}
