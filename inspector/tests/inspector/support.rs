//! An inspector in this process, and a client for it.

use std::time::Duration;

use kongtap_inspector::config::{Config, Wishes};
use kongtap_inspector::server::{Server, ServerError};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "token-of-the-tests";

/// How long anything on loopback may take before a test gives up.
pub(crate) const BUDGET: Duration = Duration::from_secs(20);

pub(crate) struct Inspector {
    pub(crate) base: String,
    pub(crate) client: Client,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServerError>>,
}

impl Inspector {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(Wishes {
            listen: "127.0.0.1:0".to_owned(),
            tokens: vec![TOKEN.to_owned()],
            ..Wishes::default()
        })
        .unwrap();
        change(&mut config);
        let stop = CancellationToken::new();
        let server = Server::start(config, stop.clone()).await.unwrap();
        Self {
            base: format!("http://{}", server.address()),
            client: client(),
            stop,
            running: tokio::spawn(server.run()),
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(BUDGET, self.running)
            .await
            .expect("did not stop in time")
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.post(format!("{}{path}", self.base));
        request.bearer_auth(TOKEN).body(body).send().await.unwrap()
    }

    /// Posts to the bucket `b` and returns the answer's items.
    pub(crate) async fn keep(&self, message: &Value) -> Vec<Value> {
        let response = self.post("/buckets/b/messages", message.to_string()).await;
        assert_eq!(response.status(), StatusCode::OK, "{:.300}", message.to_string());
        let answer: Value = response.json().await.unwrap();
        answer["data"].as_array().unwrap().clone()
    }

    /// Posts one message and returns its uuid.
    pub(crate) async fn keep_one(&self, message: &Value) -> String {
        self.keep(message).await[0]["uuid"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.base));
        request.bearer_auth(TOKEN).send().await.unwrap()
    }

    pub(crate) async fn data(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["meta"], json!({"status": "success"}), "{path}");
        assert_eq!(answer["error"], Value::Null, "{path}");
        answer["data"].clone()
    }
}

pub(crate) fn client() -> Client {
    Client::builder().timeout(BUDGET).no_proxy().build().unwrap()
}

/// A small whole message.
pub(crate) fn message(url: &str, timestamp: f64, status: u16) -> Value {
    json!({
        "request": {
            "method": "GET", "url": url, "timestamp": timestamp, "form": {},
            "headers": {"host": "a.example", "accept": ["text/html", "*/*"]}, "body": "question",
        },
        "response": {
            "status": status, "headers": {"content-type": "text/plain"}, "body": "answer",
            "size_bytes": "6", "timestamp": timestamp + 0.002, "response_time": 0.002,
        },
    })
}
