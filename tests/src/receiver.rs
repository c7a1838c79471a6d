//! A Runscope endpoint inside the test: takes posts, answers as Runscope does, and keeps them as they came.
//!
//! In: `POST /buckets/{key}/messages`. Out: [`Post`]s. `kongtap-inspector` is the real one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::wire::{Fields, Framing, Wire};

/// One post as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Method and target, `POST /buckets/key/messages`.
    pub line: String,
    /// Fields in the order in which they came.
    pub fields: Fields,
    /// Body.
    pub body: Bytes,
}

/// The running receiver. It ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    _task: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("the receiver's listener")?;
        let address = listener.local_addr()?;
        let posts = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&posts)));
        Ok(Self {
            address,
            posts,
            _task: task,
        })
    }

    /// What `api_endpoint` is set to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many posts came.
    #[must_use]
    pub fn count(&self) -> usize {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The posts so far, in order of arrival.
    #[must_use]
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, posts: Arc<Mutex<Vec<Post>>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let posts = Arc::clone(&posts);
        connections.spawn(async move {
            // A sender that gives up is what a timeout looks like from here.
            let _gave_up = serve(stream, &posts).await;
        });
    }
}

async fn serve(stream: TcpStream, posts: &Mutex<Vec<Post>>) -> anyhow::Result<()> {
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await? {
        let body = wire.body(Framing::of_request(&head.fields)?).await?;
        posts.lock().unwrap_or_else(PoisonError::into_inner).push(Post {
            line: head
                .first_line
                .strip_suffix(" HTTP/1.1")
                .unwrap_or(&head.first_line)
                .to_owned(),
            fields: head.fields,
            body: body.bytes,
        });
        answer(&mut wire, &accepted()).await?;
    }
    Ok(())
}

async fn answer(wire: &mut Wire, body: &serde_json::Value) -> anyhow::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.send(format!("{head}{body}").as_bytes()).await
}

fn accepted() -> serde_json::Value {
    json!({
        "data": [{"status": "success", "unique_identifier": null, "uuid": Uuid::new_v4().to_string(), "warning": null, "error": null}],
        "meta": {"success_count": 1, "warning_count": 0, "error_count": 0},
    })
}
