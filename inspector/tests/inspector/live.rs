//! The live stream: what followers are sent, and where they take up again.

use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{BUDGET, Inspector, message};

/// A stream of events, read as a browser does.
struct Events {
    response: Response,
    buffer: String,
}

impl Events {
    async fn open(inspector: &Inspector, path: &str, last_event: Option<&str>) -> Self {
        let mut request = inspector.client.get(format!("{}{path}", inspector.base));
        if let Some(id) = last_event {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next event's id and data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    return Some((id, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let chunk = timeout(BUDGET, self.response.chunk())
                .await
                .expect("no event in time")
                .unwrap()?;
            self.buffer.push_str(str::from_utf8(&chunk).unwrap());
        }
    }

    /// The URLs of the next `count` rows, in the order of arrival, and the last event's id.
    async fn urls(&mut self, count: usize) -> (String, Vec<String>) {
        let (mut urls, mut last) = (Vec::new(), String::new());
        while urls.len() < count {
            let (id, data) = self.next().await.expect("the stream ended");
            last = id;
            let rows = data["rows"].as_array().unwrap().iter().rev();
            let part = |row: &Value, part: &str| row[part].as_str().unwrap().to_owned();
            urls.extend(rows.map(|row| part(row, "origin") + &part(row, "path")));
        }
        (last, urls)
    }
}

#[tokio::test]
async fn what_arrives_is_delivered_once_and_in_order() {
    let inspector = Inspector::start().await;
    inspector.keep(&message("http://a/before", 1.0, 200)).await;
    let mut events = Events::open(&inspector, "/live", None).await;
    for url in ["http://a/1", "http://a/2", "http://a/3"] {
        inspector.keep(&message(url, 1.0, 200)).await;
    }
    let (last, urls) = events.urls(3).await;
    assert_eq!(urls, ["http://a/1", "http://a/2", "http://a/3"]);
    drop(events);
    // What was missed in between comes when the browser connects again.
    inspector.keep(&message("http://a/4", 1.0, 200)).await;
    let mut again = Events::open(&inspector, "/live?after=0", Some(&last)).await;
    inspector.keep(&message("http://a/5", 1.0, 200)).await;
    assert_eq!(again.urls(2).await.1, ["http://a/4", "http://a/5"]);
    inspector.stop().await;
}

#[tokio::test]
async fn a_page_and_its_stream_leave_no_gap() {
    let inspector = Inspector::start().await;
    inspector.keep(&message("http://a/on-the-page", 1.0, 200)).await;
    let page = inspector.get("/").await.text().await.unwrap();
    inspector.keep(&message("http://a/in-between", 1.0, 200)).await;
    let (_, stream) = page.split_once("data-stream=\"").unwrap();
    let (stream, _) = stream.split_once('"').unwrap();
    let mut events = Events::open(&inspector, &stream.replace("&#38;", "&"), None).await;
    assert_eq!(events.urls(1).await.1, ["http://a/in-between"]);
    inspector.stop().await;
}

#[tokio::test]
async fn a_filtered_stream_holds_what_matches() {
    let inspector = Inspector::start().await;
    let mut events = Events::open(&inspector, "/live?status=5xx&text=keep", None).await;
    for (url, status) in [("keep/1", 200), ("keep/2", 500), ("other", 500), ("KEEP/3", 503)] {
        inspector.keep(&message(url, 1.0, status)).await;
    }
    assert_eq!(events.urls(2).await.1, ["keep/2", "KEEP/3"]);
    inspector.stop().await;
}

#[tokio::test]
async fn a_flood_is_told_of_not_sent() {
    let inspector = Inspector::start().await;
    let mut events = Events::open(&inspector, "/live", None).await;
    let flood: Vec<Value> = (0..500)
        .map(|n| message(&format!("http://a/{n}"), 1.0, 200))
        .collect();
    inspector.keep(&Value::Array(flood)).await;
    let (_, data) = events.next().await.unwrap();
    assert_eq!(data["more"], true);
    assert_eq!(data["rows"].as_array().unwrap().len(), 50);
    assert_eq!(data["rows"][0]["path"], "/499");
    inspector.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_inspector() {
    let inspector = Inspector::start_with(|config| config.limits.followers = 1).await;
    let mut events = Events::open(&inspector, "/live", None).await;
    let second = inspector
        .client
        .get(format!("{}/live", inspector.base))
        .send()
        .await
        .unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    inspector.stop().await;
    assert!(events.next().await.is_none());
}
