//! What an endpoint answers, as the operator gets to see it: by reason, with codes, without its words.

use std::time::Duration;

use super::list_endpoint::{ListEndpoint, Reply};
use super::{Run, destination, dropped, fates, message, once};
use crate::ship::attempt::Posted;
use crate::ship::batch::AnswerForm;
use crate::ship::failure::Again;
use crate::ship::lane::health::Ended;

/// What becomes of one message that is answered so.
async fn check(reply: Reply, expected: (u64, Vec<(&'static str, u64)>), detail: &str) {
    let what = format!("{reply:?}");
    let endpoint = ListEndpoint::start(move |_| reply.clone()).await;
    let run = Run::start(once());
    run.offer(message(&destination(&endpoint.url()), 10));
    assert_eq!(fates(&run.settle().await), expected, "{what}");
    let errors = run.handle.stats().last_errors;
    let found: Vec<_> = errors.iter().map(|error| error.detail.to_string()).collect();
    assert_eq!(found.join("; "), detail, "{what}");
    run.stop().await;
}

#[tokio::test]
async fn errors_are_told_apart_and_named_by_status_and_code() {
    let envelope = |status: u16| {
        let text = format!(
            r#"{{"meta":{{"status":"error"}},"data":null,"error":{{"status":{status},"code":"no_access","message":"hunter2"}}}}"#
        );
        Reply::new(200, text)
    };
    check(Reply::list(200, ["success"]), (1, vec![]), "").await;
    check(Reply::list(201, ["warning"]), (1, vec![]), "").await;
    check(
        Reply::list(200, ["error"]),
        dropped("invalid", 1),
        "the answer marks the message as an error, code bad_message",
    )
    .await;
    check(
        Reply::list(400, ["error"]),
        dropped("invalid", 1),
        "the answer marks the message as an error, code bad_message",
    )
    .await;
    check(Reply::list(400, ["success"]), dropped("invalid", 1), "status 400").await;
    check(
        envelope(401),
        dropped("unauthorized", 1),
        "status 401, code no_access",
    )
    .await;
    check(
        envelope(404),
        dropped("no_bucket", 1),
        "status 404, code no_access",
    )
    .await;
    check(envelope(200), dropped("invalid", 1), "status 400, code no_access").await;
    check(
        Reply::new(403, envelope(403).text),
        dropped("unauthorized", 1),
        "status 403, code no_access",
    )
    .await;
    check(Reply::new(404, "hunter2"), dropped("no_bucket", 1), "status 404").await;
    check(Reply::new(413, ""), dropped("too_large", 1), "status 413").await;
    check(Reply::new(415, ""), dropped("rejected", 1), "status 415").await;
    check(Reply::new(429, ""), dropped("throttled", 1), "status 429").await;
    check(Reply::new(503, ""), dropped("endpoint_error", 1), "status 503").await;
    check(Reply::new(307, ""), dropped("bad_answer", 1), "status 307").await;
    // What it says in the body of a success that is no answer of Runscope's does not matter.
    check(Reply::new(200, "error"), (1, vec![]), "").await;
}

#[tokio::test]
async fn a_code_that_quotes_the_message_is_not_shown() {
    let check = async |code: &str, detail: &str| {
        let text = format!(r#"{{"meta":{{"status":"error"}},"error":{{"status":400,"code":{code}}}}}"#);
        check(Reply::new(400, text), dropped("invalid", 1), detail).await;
    };
    check(r#""bad_message""#, "status 400, code bad_message").await;
    check("17", "status 400, code 17").await;
    // The message has a body of ten of these.
    check(r#""xxxxxxxxxx""#, "status 400").await;
    check(r#""Bearer token""#, "status 400").await;
}

/// What one post of one message comes to.
async fn posted(reply: Reply) -> Posted {
    let endpoint = ListEndpoint::start(move |_| reply.clone()).await;
    let destination = destination(&endpoint.url());
    super::send::post(&destination, &[message(&destination, 10)]).await
}

#[tokio::test]
async fn an_answer_says_when_to_come_back_and_in_which_form_it_is() {
    let check = async |mut reply: Reply,
                       after: Option<&str>,
                       again: Option<Again>,
                       ended: fn(&Ended) -> bool,
                       form| {
        reply
            .headers
            .extend(after.map(|after| ("retry-after", after.to_owned())));
        let what = format!("{reply:?}");
        let posted = posted(reply).await;
        assert_eq!(posted.fates.len(), 1);
        assert_eq!(
            posted.fates[0].as_ref().err().map(|failure| failure.again),
            again,
            "{what}"
        );
        assert!(ended(&posted.ended), "{what}: {:?}", posted.ended);
        assert_eq!(posted.form, form, "{what}");
    };
    let answered = |ended: &Ended| matches!(ended, Ended::Answered { took } if *took > Duration::ZERO);
    let failed = |ended: &Ended| *ended == Ended::Failed;
    let later = |seconds| {
        Some(Again::Always {
            after: Some(Duration::from_secs(seconds)),
        })
    };
    let unknown = AnswerForm::Unknown;
    check(
        Reply::list(200, ["success"]),
        None,
        None,
        answered,
        AnswerForm::List,
    )
    .await;
    check(
        Reply::list(200, ["error"]),
        None,
        Some(Again::Never),
        answered,
        AnswerForm::List,
    )
    .await;
    check(Reply::new(200, "OK"), None, None, answered, AnswerForm::Other).await;
    check(
        Reply::new(404, ""),
        Some("5"),
        Some(Again::Never),
        answered,
        unknown,
    )
    .await;
    check(
        Reply::new(429, ""),
        Some("5"),
        later(5),
        |ended| {
            *ended
                == Ended::Overloaded {
                    after: Some(Duration::from_secs(5)),
                }
        },
        unknown,
    )
    .await;
    check(
        Reply::new(503, ""),
        Some("Sun, 06 Nov 1994 08:49:37 GMT"),
        later(0),
        |ended| {
            *ended
                == Ended::Overloaded {
                    after: Some(Duration::ZERO),
                }
        },
        unknown,
    )
    .await;
    check(
        Reply::new(429, ""),
        Some("soon"),
        Some(Again::Always { after: None }),
        |ended| *ended == Ended::Overloaded { after: None },
        unknown,
    )
    .await;
    check(Reply::new(500, ""), Some("9"), later(9), failed, unknown).await;
    check(
        Reply::new(408, ""),
        None,
        Some(Again::Always { after: None }),
        failed,
        unknown,
    )
    .await;
}
