//! One POST of one message or several, and what became of each.
//!
//! In: an [`Endpoint`] and messages. Out: [`Posted`]: each message's fate, how the endpoint bore it and the form of its answer.
//! One deadline bounds connecting, TLS, sending and reading the answer together. What was certainly not taken is posted
//! again here, at once, where the cause is a connection that was about to close or a list that the endpoint does not take;
//! every other repeat is [`retry`](crate::ship::retry)'s.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Body, Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::ship::account::Ticket;
use crate::ship::answer::{Code, Entry, Refusal, Said, understand};
use crate::ship::batch::AnswerForm;
use crate::ship::body::{Outgoing, Progress};
use crate::ship::clients::Endpoint;
use crate::ship::failure::{self, Failure};
use crate::ship::lane::health::Ended;

/// How often a post is begun anew when the endpoint says that it has seen nothing of it.
const FRESH_CONNECTIONS: u32 = 2;

/// How much longer an answer may be for each further message of a list, bytes.
const ENTRY_BYTES: usize = 1024;

/// What came of one POST.
#[derive(Debug)]
pub(super) struct Posted {
    /// Of each of its messages, in their order.
    pub(super) fates: Vec<Result<(), Failure>>,
    /// Of the endpoint.
    pub(super) ended: Ended,
    /// How it answers.
    pub(super) form: AnswerForm,
    /// Messages that it took with a warning.
    pub(super) warnings: u64,
}

impl Posted {
    /// The same failure for all.
    pub(super) fn all(tickets: &[Ticket], failure: &Failure) -> Self {
        Self {
            fates: vec![Err(failure.clone()); tickets.len()],
            ended: failure.ended,
            form: AnswerForm::Unknown,
            warnings: 0,
        }
    }
}

/// Posts the messages. Reads at most `answer_bytes` of an answer to one message.
pub(super) async fn post(endpoint: &Endpoint, tickets: &[Ticket], answer_bytes: usize) -> Posted {
    let mut posted = once(endpoint, tickets, answer_bytes).await;
    if !wants_parts(posted.form) {
        return posted;
    }
    // Nothing of this list was taken: its messages are posted in smaller lists, or singly.
    let mut form = posted.form;
    let mut parts: Vec<&[Ticket]> = Vec::new();
    split(tickets, form, &mut parts);
    posted.fates.clear();
    while let Some(part) = parts.pop() {
        let mut of_part = once(endpoint, part, answer_bytes).await;
        if wants_parts(of_part.form) {
            form = of_part.form;
            split(part, form, &mut parts);
            continue;
        }
        posted.fates.append(&mut of_part.fates);
        posted.warnings += of_part.warnings;
        posted.ended = of_part.ended;
        if !matches!(of_part.ended, Ended::Answered { .. }) {
            // What is left has not been tried since.
            let left: usize = parts.iter().map(|part| part.len()).sum();
            let failure = Failure::not_tried(of_part.ended);
            posted
                .fates
                .extend(std::iter::repeat_with(|| Err(failure.clone())).take(left));
            break;
        }
    }
    posted.form = form;
    posted
}

/// Whether a list was refused for being one, or for its size.
const fn wants_parts(form: AnswerForm) -> bool {
    matches!(form, AnswerForm::ListRefused | AnswerForm::ListTooLarge { .. })
}

/// Adds the parts of a refused list, so that the first one is taken first.
fn split<'a>(list: &'a [Ticket], form: AnswerForm, parts: &mut Vec<&'a [Ticket]>) {
    let most = match form {
        AnswerForm::ListTooLarge { messages } => messages.div_ceil(2),
        AnswerForm::ListRefused
        | AnswerForm::ListUnclear
        | AnswerForm::List
        | AnswerForm::Other
        | AnswerForm::Unknown => 1,
    };
    parts.extend(list.chunks(most.max(1)).rev());
}

async fn once(endpoint: &Endpoint, tickets: &[Ticket], answer_bytes: usize) -> Posted {
    let started = Instant::now();
    let deadline = started + endpoint.timeout;
    let most = answer_bytes.saturating_add(tickets.len().saturating_sub(1).saturating_mul(ENTRY_BYTES));
    let (head, answer) = match exchange(endpoint, tickets, deadline, most).await {
        Ok(answered) => answered,
        Err(failure) => return Posted::all(tickets, &failure),
    };
    let took = started.elapsed();
    let said = match &answer {
        Ok(Some(text)) => understand(text),
        Ok(None) | Err(_) => Said::Nothing,
    };
    match said {
        Said::Each(entries) if entries.len() == tickets.len() && counts_each(head.status, &entries) => {
            return of_entries(&entries, tickets, took);
        }
        Said::Each(_) | Said::Refused(_) | Said::Nothing => {}
    }
    let refusal = match said {
        Said::Refused(refusal) => Some(refusal),
        Said::Each(_) | Said::Nothing => None,
    };
    if !head.status.is_success() {
        return of_error(&head, refusal, tickets, took);
    }
    if let Err(failure) = answer {
        return Posted::all(tickets, &failure);
    }
    if let Some(refusal) = refusal {
        let status = refusal
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.filter(|status| !status.is_success());
        let code = shown(refusal.code.as_ref(), tickets);
        let failure = Failure::of_status(status.unwrap_or(StatusCode::BAD_REQUEST), code, None, took);
        return Posted {
            form: if tickets.len() > 1 {
                list_form(status, tickets.len())
            } else {
                AnswerForm::Other
            },
            ..Posted::all(tickets, &failure)
        };
    }
    if tickets.len() > 1 {
        // It took something, but which of them?
        return Posted {
            form: AnswerForm::ListUnclear,
            ended: Ended::Answered { took },
            ..Posted::all(tickets, &Failure::unclear_list(took))
        };
    }
    Posted {
        fates: vec![Ok(())],
        ended: Ended::Answered { took },
        form: AnswerForm::Other,
        warnings: 0,
    }
}

/// Whether the entries of an answer with this status say what became of each message. Where none was taken the answer may
/// be an error and still have its entries.
fn counts_each(status: StatusCode, entries: &[Entry]) -> bool {
    let may_have_entries = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    let is_refused = |entry: &Entry| matches!(entry, Entry::Refused(_));
    status.is_success() || (may_have_entries && entries.iter().all(is_refused))
}

fn of_entries(entries: &[Entry], tickets: &[Ticket], took: Duration) -> Posted {
    let mut warnings = 0;
    let fate = |(entry, ticket): (&Entry, &Ticket)| match entry {
        Entry::Taken => Ok(()),
        Entry::Warned => {
            warnings += 1;
            Ok(())
        }
        Entry::Refused(code) => {
            let code = shown(code.as_ref(), std::slice::from_ref(ticket));
            Err(Failure::of_entry(code, took))
        }
    };
    let fates = entries.iter().zip(tickets).map(fate).collect();
    Posted {
        fates,
        ended: Ended::Answered { took },
        form: AnswerForm::List,
        warnings,
    }
}

fn of_error(head: &Head, refusal: Option<Refusal>, tickets: &[Ticket], took: Duration) -> Posted {
    let code = refusal.and_then(|refusal| shown(refusal.code.as_ref(), tickets).map(str::to_owned));
    let after = head.headers.get(RETRY_AFTER).and_then(failure::retry_after);
    let failure = Failure::of_status(head.status, code.as_deref(), after, took);
    let form = if tickets.len() > 1 {
        list_form(Some(head.status), tickets.len())
    } else {
        AnswerForm::Unknown
    };
    Posted {
        form,
        ..Posted::all(tickets, &failure)
    }
}

/// What a refusal of a list says of lists: where single messages were fine it may be the list that is not taken.
fn list_form(status: Option<StatusCode>, messages: usize) -> AnswerForm {
    match status.map(|status| status.as_u16()) {
        Some(413) => AnswerForm::ListTooLarge { messages },
        None | Some(400 | 404 | 405 | 415 | 422) => AnswerForm::ListRefused,
        Some(_) => AnswerForm::Unknown,
    }
}

/// The code of an error, unless it was posted.
fn shown<'c>(code: Option<&'c Code>, tickets: &[Ticket]) -> Option<&'c str> {
    let code = code?;
    tickets
        .iter()
        .try_fold("", |_, ticket| code.unless_quoted_from(ticket.message().json()))
}

/// What comes before the text of an answer.
#[derive(Debug)]
struct Head {
    status: StatusCode,
    headers: HeaderMap,
}

/// The head of an answer, and its text: `None` if it was longer than `most`.
type Answered = (Head, Result<Option<Vec<u8>>, Failure>);

/// Sends the messages and reads the answer. Begins anew where the endpoint says that it has seen nothing of it.
async fn exchange(
    endpoint: &Endpoint,
    tickets: &[Ticket],
    deadline: Instant,
    most: usize,
) -> Result<Answered, Failure> {
    let mut connections = 0;
    loop {
        let progress = Arc::new(Progress::default());
        let messages = tickets.iter().map(|ticket| ticket.message().json());
        let mut request = Request::new(Method::POST, endpoint.url.clone());
        request.headers_mut().clone_from(&endpoint.headers);
        *request.body_mut() = Some(Body::wrap(Outgoing::new(messages, Arc::clone(&progress))));
        match timeout_at(deadline, endpoint.client.execute(request)).await {
            Err(_elapsed) => return Err(Failure::of_deadline(&progress)),
            Ok(Ok(mut response)) => {
                let head = Head {
                    status: response.status(),
                    headers: std::mem::take(response.headers_mut()),
                };
                let text = timeout_at(deadline, read(response, most)).await;
                let text = text.unwrap_or_else(|_elapsed| Err(Failure::of_late_answer()));
                return Ok((head, text));
            }
            Ok(Err(error)) => {
                connections += 1;
                if !failure::is_not_taken(&error) || connections > FRESH_CONNECTIONS {
                    return Err(Failure::of_transport(&error, &progress));
                }
            }
        }
    }
}

async fn read(mut response: Response, most: usize) -> Result<Option<Vec<u8>>, Failure> {
    let mut text: Vec<u8> = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if text.len().saturating_add(chunk.len()) > most => return Ok(None),
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return Ok(Some(text)),
            Err(error) => return Err(Failure::of_broken_answer(&error)),
        }
    }
}
