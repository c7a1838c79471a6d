//! `/live`: what arrives, as server-sent events.
//!
//! In: a filter and an arrival to begin after (the browser sends the last event's id when it connects again). Out: an event
//! with the rows that arrived since, at most a few times a second, however fast they come. The rows are read from the store
//! like any list, so a slow reader costs nothing: it gets the newest rows and a note that there were more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use super::problem;
use super::row::Row;
use crate::app::App;
use crate::store::filter::{Order, Parameters};
use crate::store::{Arrival, Filter, Query};

/// Rows in one event, at most.
const ROWS: u32 = 50;
/// The least time between two events.
const PACE: Duration = Duration::from_millis(250);
/// A line is sent at least this often, so that dead connections are found.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A browser that takes no event for so long is let go; it connects again when it wants more.
const STALLED: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Event<'a> {
    /// Newest first.
    rows: &'a [Row],
    /// Whether more arrived than are here.
    more: bool,
}

/// The stream.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let parameters = match Parameters::parse(query.as_deref().unwrap_or_default()) {
        Ok(parameters) => parameters,
        Err(bad) => {
            return problem(
                StatusCode::BAD_REQUEST,
                "This address cannot be read",
                &bad.to_string(),
            );
        }
    };
    let Ok(place) = Arc::clone(&app.followers).try_acquire_owned() else {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many pages follow the traffic",
            "Close one of them and reload this page.",
        );
    };
    let last_event = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok())
        .map(Arrival);
    let newest = app.writer.newest();
    let after = last_event
        .or(parameters.after)
        .unwrap_or_else(|| *newest.borrow());
    let (sender, body) = Channel::<Bytes, Infallible>::new(1);
    let follower = Follower {
        app,
        filter: parameters.filter,
        after,
        sender,
    };
    tokio::spawn(async move {
        follower.follow(newest).await;
        drop(place);
    });
    let mut response = Body::new(body).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
}

struct Follower {
    app: Arc<App>,
    filter: Filter,
    after: Arrival,
    sender: Sender<Bytes, Infallible>,
}

impl Follower {
    /// Sends events until the browser or the inspector goes.
    async fn follow(mut self, mut newest: tokio::sync::watch::Receiver<Arrival>) {
        // The first line tells the browser that the stream stands, and how soon to come again when it breaks.
        if !self.send(Bytes::from_static(b"retry: 1000\n\n")).await {
            return;
        }
        loop {
            let seen = *newest.borrow_and_update();
            if seen > self.after {
                let next = Instant::now() + PACE;
                let Some(event) = self.event(seen).await else {
                    return;
                };
                if !self.send(event).await {
                    return;
                }
                sleep_until(next).await;
            }
            let stop = self.app.stop.clone();
            let changed = tokio::select! {
                changed = timeout(KEEP_ALIVE, newest.changed()) => changed,
                () = stop.cancelled() => return,
            };
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    if !self.send(Bytes::from_static(b":\n\n")).await {
                        return;
                    }
                }
            }
        }
    }

    /// What arrived up to `seen` and was not sent yet; `None` when the store fails.
    async fn event(&mut self, seen: Arrival) -> Option<Bytes> {
        let query = Query {
            filter: self.filter.clone(),
            since: None,
            before: None,
            order: Order::ArrivedAfter(self.after),
            most: ROWS + 1,
        };
        let mut entries = self.app.query(move |store| store.list(&query)).await.ok()?;
        let most = usize::try_from(ROWS).unwrap_or(usize::MAX);
        let more = entries.len() > most;
        entries.truncate(most);
        // The list may hold even newer ones than were announced.
        let last = entries.first().map_or(seen, |entry| entry.arrival.max(seen));
        self.after = last;
        let rows: Vec<Row> = entries.iter().map(Row::of).collect();
        // JSON has no raw line breaks, so one data line is enough.
        let data = serde_json::to_string(&Event { rows: &rows, more }).ok()?;
        Some(Bytes::from(format!(
            "id: {}\nevent: rows\ndata: {data}\n\n",
            last.0
        )))
    }

    async fn send(&mut self, bytes: Bytes) -> bool {
        matches!(timeout(STALLED, self.sender.send_data(bytes)).await, Ok(Ok(())))
    }
}
