//! The endpoint, in a process of its own: takes posts and answers in Runscope's documented form, as cheaply as that can be done.
//!
//! In: posts, one message or a list of them; a line on standard input for each question. Out: answers with an entry for each
//! message; [`Address`], and [`Taken`] for each question, a line each on standard output. It ends when standard input does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::case::Transport;
use crate::bench::cpu::{Cpus, pin};
use crate::tls;
use crate::wire::Socket;

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// A loopback port.
    pub address: SocketAddr,
}

/// What it took since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Posts.
    pub posts: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    posts: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What begins in a message once and cannot stand in one of its strings, where quotation marks are escaped.
const ONCE_A_MESSAGE: &[u8] = b"\"unique_identifier\":\"";

/// Longest head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// Flow control must not be what is measured.
const WINDOW_BYTES: u32 = 16 << 20;

/// Takes posts until standard input ends.
///
/// # Errors
/// When it cannot listen.
pub fn run(transport: Transport) -> anyhow::Result<()> {
    pin(Cpus::choose()?.others)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(transport))
}

async fn serve(transport: Transport) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    let address = Address {
        address: listener.local_addr()?,
    };
    let counts = Arc::new(Counts::default());
    let accepting = tokio::spawn(accept(
        listener,
        transport,
        acceptor(transport)?,
        Arc::clone(&counts),
    ));
    say(&address)?;
    tokio::task::spawn_blocking(move || questioned(&counts)).await??;
    accepting.abort();
    Ok(())
}

fn questioned(counts: &Counts) -> anyhow::Result<()> {
    for question in std::io::stdin().lines() {
        let _asked: String = question?;
        say(&counts.taken())?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "that is where its parent reads")]
fn say(what: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

fn acceptor(transport: Transport) -> anyhow::Result<Option<TlsAcceptor>> {
    let protocol = match transport {
        Transport::Plain => return Ok(None),
        Transport::Tls => "http/1.1",
        Transport::Http2 => "h2",
    };
    let mut configuration = (*tls::server(&tls::self_signed()?)?).clone();
    configuration.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(configuration))))
}

async fn accept(
    listener: TcpListener,
    transport: Transport,
    acceptor: Option<TlsAcceptor>,
    counts: Arc<Counts>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            // A sender that hangs up is the end of a measurement; one that sends nonsense has fewer messages counted.
            let _ended = converse(stream, transport, acceptor, &counts).await;
        });
    }
}

async fn converse(
    stream: TcpStream,
    transport: Transport,
    acceptor: Option<TlsAcceptor>,
    counts: &Counts,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    match acceptor {
        None => http1(stream, counts).await,
        Some(acceptor) => {
            let stream = acceptor.accept(stream).await?;
            match transport {
                Transport::Http2 => http2(stream, counts).await,
                Transport::Plain | Transport::Tls => http1(stream, counts).await,
            }
        }
    }
}

async fn http1(mut stream: impl Socket, counts: &Counts) -> anyhow::Result<()> {
    let mut read = BytesMut::with_capacity(64 << 10);
    loop {
        let Some((head, length)) = head(&read)? else {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        read.advance(head);
        while read.len() < length {
            if stream.read_buf(&mut read).await? == 0 {
                bail!("the post broke off");
            }
        }
        let messages = counts.take(&read.split_to(length));
        let answer = answer(messages);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all(&[head.as_bytes(), &answer].concat()).await?;
        stream.flush().await?;
    }
}

/// How long a request's head is, and how long its body; `None` while the head is not there.
fn head(read: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = read.windows(END.len()).position(|window| window == END) else {
        anyhow::ensure!(read.len() < HEAD_BYTES, "the head has no end");
        return Ok(None);
    };
    let text = std::str::from_utf8(read.get(..end).unwrap_or_default())?;
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Ok(Some((
        end + END.len(),
        length.context("a post without its length")?,
    )))
}

async fn http2(stream: impl Socket, counts: &Counts) -> anyhow::Result<()> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(1000)
        .handshake::<_, Bytes>(stream)
        .await?;
    let mut posts = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            post = connection.accept() => match post {
                Some(post) => {
                    let (request, respond) = post?;
                    posts.spawn(whole(request, respond));
                }
                None => return Ok(()),
            },
            Some(Ok(Ok((body, mut respond)))) = posts.join_next() => {
                let messages = counts.take(&body);
                let head = Response::builder().header("content-type", "application/json").body(())?;
                respond.send_response(head, false)?.send_data(answer(messages).into(), true)?;
            }
        }
    }
}

async fn whole(
    request: Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
) -> Result<(Bytes, SendResponse<Bytes>), h2::Error> {
    let mut body = request.into_body();
    let mut read = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        read.extend_from_slice(&part);
    }
    Ok((read.freeze(), respond))
}

/// `data` has an entry for each message, in order, as the Runscope API documents it.
fn answer(messages: usize) -> Vec<u8> {
    const ENTRY: &str = r#"{"status":"success","unique_identifier":"0123456789abcdef0123456789abcdef","uuid":"0b7c7f0e-6c3a-4f0e-9a50-3c1a52f2d9a1","warning":null,"error":null}"#;
    let entries = vec![ENTRY; messages].join(",");
    format!(
        r#"{{"data":[{entries}],"meta":{{"success_count":{messages},"warning_count":0,"error_count":0}}}}"#
    )
    .into_bytes()
}

impl Counts {
    fn taken(&self) -> Taken {
        Taken {
            posts: self.posts.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Counts a post; how many messages are in it.
    fn take(&self, body: &[u8]) -> usize {
        let messages = memchr::memmem::find_iter(body, ONCE_A_MESSAGE).count();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.posts.fetch_add(1, Ordering::Relaxed);
        self.messages.fetch_add(number(messages), Ordering::Relaxed);
        self.bytes.fetch_add(number(body.len()), Ordering::Relaxed);
        messages
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Counts, answer, head};

    #[test]
    fn a_head_says_how_long_its_body_is() {
        let check = |text: &str, expected| assert_eq!(head(text.as_bytes()).unwrap(), expected, "{text:?}");
        check("POST / HTTP/1.1\r\nContent-Length: 12\r\n", None);
        check(
            "POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 12\r\n\r\nabc",
            Some((48, 12)),
        );
        head(b"POST / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap_err();
    }

    #[test]
    fn every_message_has_its_entry() {
        let one = r#"{"unique_identifier":"a","request":{"body":"\"unique_identifier\":\"b\""}}"#;
        let counts = Counts::default();
        for (body, expected) in [
            (one.to_owned(), 1),
            (format!("[{one},{one},{one}]"), 3),
            ("{}".to_owned(), 0),
        ] {
            let messages = counts.take(body.as_bytes());
            assert_eq!(messages, expected, "{body}");
            let answer: Value = serde_json::from_slice(&answer(messages)).unwrap();
            assert_eq!(answer["data"].as_array().unwrap().len(), expected);
            assert_eq!(answer["meta"]["success_count"], expected);
        }
        assert_eq!((counts.taken().posts, counts.taken().messages), (3, 4));
    }
}
