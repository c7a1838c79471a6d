//! One POST of one message, and what became of it.
//!
//! In: an [`Endpoint`] and a message. Out: nothing, or a [`Failure`] with the ledger's reason for it. One deadline bounds
//! connecting, TLS, sending and reading the answer together.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::account::Ticket;
use crate::ship::answer::says_error;
use crate::ship::batch::AnswerForm;
use crate::ship::clients::{self, ClientError, PooledClient};
use crate::ship::lane::health::Ended;
use crate::telemetry::ledger::DropReason;

/// A destination with all that its requests have in common.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: PooledClient,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
}

/// What came of one POST.
#[derive(Debug)]
pub(super) struct Posted {
    /// Of each of its messages, in their order.
    pub(super) fates: Vec<Result<(), Failure>>,
    /// Of the endpoint.
    pub(super) ended: Ended,
    /// How it answers.
    pub(super) form: AnswerForm,
}

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
    /// For the operator. Holds no captured value and no secret.
    pub(super) detail: Cow<'static, str>,
}

impl Endpoint {
    pub(super) fn new(client: PooledClient, destination: &Destination) -> Result<Self, ClientError> {
        let bearer = format!("Bearer {}", destination.access_token.expose());
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_invalid| ClientError::Token)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            client,
            url: destination.url.clone(),
            headers,
            timeout: clients::duration(destination.timeout_ms),
        })
    }
}

impl Posted {
    /// The same failure for all.
    pub(super) fn all(tickets: &[Ticket], failure: &Failure) -> Self {
        Self {
            fates: tickets.iter().map(|_| Err(failure.clone())).collect(),
            ended: failure.of_endpoint(),
            form: AnswerForm::Other,
        }
    }
}

/// Posts the messages. Reads at most `answer_bytes` of the answer.
pub(super) async fn post(endpoint: &Endpoint, tickets: &[Ticket], answer_bytes: usize) -> Posted {
    let started = Instant::now();
    let mut fates = Vec::with_capacity(tickets.len());
    let mut ended = Ended::Failed;
    for ticket in tickets {
        let fate = post_one(endpoint, ticket.message(), answer_bytes).await;
        ended = match &fate {
            Ok(()) => Ended::Answered {
                took: started.elapsed(),
            },
            Err(failure) => failure.of_endpoint(),
        };
        fates.push(fate);
    }
    Posted {
        fates,
        ended,
        form: AnswerForm::Other,
    }
}

async fn post_one(endpoint: &Endpoint, message: &Message, answer_bytes: usize) -> Result<(), Failure> {
    let mut request = Request::new(Method::POST, endpoint.url.clone());
    request.headers_mut().clone_from(&endpoint.headers);
    *request.body_mut() = Some(message.json().clone().into());

    let deadline = Instant::now() + endpoint.timeout;
    let Ok(sent) = timeout_at(deadline, endpoint.client.execute(request)).await else {
        return Err(Failure::new(DropReason::Timeout, "no answer in time"));
    };
    let response = sent.map_err(|error| Failure::of_transport(&error))?;
    let status = response.status();
    let answer = timeout_at(deadline, read(response, answer_bytes)).await;
    if !status.is_success() {
        // Whatever its text: it was read only so that the connection can be used again.
        return Err(Failure::of_status(status));
    }
    match answer {
        Err(_elapsed) => Err(Failure::new(DropReason::Timeout, "the answer took too long")),
        Ok(Err(error)) => Err(Failure::of_transport(&error)),
        Ok(Ok(Answer::Whole(text))) if says_error(&text) => Err(Failure::new(
            DropReason::Rejected,
            "the answer marks the message as an error",
        )),
        Ok(Ok(Answer::Whole(_) | Answer::TooLong)) => Ok(()),
    }
}

#[derive(Debug)]
enum Answer {
    Whole(Vec<u8>),
    TooLong,
}

async fn read(mut response: Response, answer_bytes: usize) -> Result<Answer, reqwest::Error> {
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if text.len().saturating_add(chunk.len()) > answer_bytes {
            return Ok(Answer::TooLong);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(Answer::Whole(text))
}

impl Failure {
    fn new(reason: DropReason, detail: impl Into<Cow<'static, str>>) -> Self {
        let again = match reason {
            DropReason::Unreachable | DropReason::EndpointError => Again::Always { after: None },
            DropReason::Timeout | DropReason::BadAnswer => Again::WhereRecognised,
            _ => Again::Never,
        };
        Self {
            reason,
            again,
            detail: detail.into(),
        }
    }

    const fn of_endpoint(&self) -> Ended {
        match self.again {
            Again::Never => Ended::Answered { took: Duration::ZERO },
            Again::Always { .. } | Again::WhereRecognised => Ended::Failed,
        }
    }

    /// The message was given up without being sent.
    pub(super) const fn without_attempt(reason: DropReason) -> Self {
        Self {
            reason,
            again: Again::Never,
            detail: Cow::Borrowed("not attempted"),
        }
    }

    /// Nothing can be sent to this destination.
    pub(super) fn unsendable(error: &ClientError) -> Self {
        Self {
            again: Again::Never,
            ..Self::new(DropReason::Unreachable, format!("{error}: {}", root_cause(error)))
        }
    }

    pub(super) fn of_transport(error: &reqwest::Error) -> Self {
        let reason = if error.is_connect() || error.is_builder() {
            DropReason::Unreachable
        } else if error.is_timeout() {
            DropReason::Timeout
        } else {
            DropReason::BadAnswer
        };
        Self::new(reason, root_cause(error).to_string())
    }

    fn of_status(status: StatusCode) -> Self {
        let reason = if status.is_client_error() {
            DropReason::Rejected
        } else if status.is_server_error() {
            DropReason::EndpointError
        } else {
            DropReason::BadAnswer
        };
        Self::new(reason, format!("status {}", status.as_u16()))
    }
}

/// The innermost error: the outer ones of the HTTP client's say little and repeat the URL, which has the bucket key.
fn root_cause<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
