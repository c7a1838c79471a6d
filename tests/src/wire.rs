//! HTTP/1.1 messages on a socket, byte for byte: fields keep their order, case and repeats, and bodies say what they took on
//! the wire. Every end of the lab (client, upstream, receiver) speaks through this.
//!
//! In: a connected stream. Out: heads and bodies. Absent: leniency; the lab's own ends and the gateway send what is right, and
//! anything else is an error that a test should see.

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A head may be this long, bytes.
const HEAD_BYTES: usize = 256 * 1024;
/// A body may be this long, bytes.
const BODY_BYTES: usize = 64 * 1024 * 1024;

/// A plain or TLS stream.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Field lines in the order in which they were sent.
pub type Fields = Vec<(String, String)>;

/// The first value of the field `name`, in any case.
#[must_use]
pub fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// A message's first line and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line, without its end.
    pub first_line: String,
    /// The fields.
    pub fields: Fields,
}

/// A body as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Its bytes, without chunk framing.
    pub bytes: Bytes,
    /// How many bytes it took on the connection, chunk framing included.
    pub wire_bytes: usize,
}

/// How a body says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(usize),
    /// Chunks.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

impl Framing {
    /// Of a request with these fields (RFC 9112, 6.3).
    ///
    /// # Errors
    /// When the length is no number.
    pub fn of_request(fields: &[(String, String)]) -> anyhow::Result<Self> {
        Ok(Self::declared(fields)?.unwrap_or(Self::Length(0)))
    }

    /// Of the final response to a request with this method.
    ///
    /// # Errors
    /// When the length is no number.
    pub fn of_response(method: &str, status: u16, fields: &[(String, String)]) -> anyhow::Result<Self> {
        if method == "HEAD" || status == 204 || status == 304 {
            return Ok(Self::Length(0));
        }
        Ok(Self::declared(fields)?.unwrap_or(Self::UntilClose))
    }

    fn declared(fields: &[(String, String)]) -> anyhow::Result<Option<Self>> {
        if field(fields, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Some(Self::Chunked));
        }
        field(fields, "content-length")
            .map(|value| {
                Ok(Self::Length(
                    value
                        .parse()
                        .with_context(|| format!("Content-Length {value:?}"))?,
                ))
            })
            .transpose()
    }
}

/// One end of a connection.
pub struct Wire {
    socket: Box<dyn Socket>,
    read: BytesMut,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("unread_bytes", &self.read.len())
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// Speaks over `socket`.
    pub fn new(socket: impl Socket + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            read: BytesMut::new(),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.socket.write_all(bytes).await.context("send")?;
        self.socket.flush().await.context("flush")
    }

    /// Ends what this side sends.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        self.socket.shutdown().await.context("shut down")
    }

    /// The next head; `None` when the connection ended before a byte of it.
    ///
    /// # Errors
    /// When it breaks off, is too long or is not a head.
    pub async fn head(&mut self) -> anyhow::Result<Option<Head>> {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.read.split_to(end);
                self.read.advance(4);
                return parse_head(&head).map(Some);
            }
            ensure!(
                self.read.len() <= HEAD_BYTES,
                "a head of more than {HEAD_BYTES} bytes"
            );
            if !self.more().await? {
                ensure!(self.read.is_empty(), "the connection ended inside a head");
                return Ok(None);
            }
        }
    }

    /// The body that follows.
    ///
    /// # Errors
    /// When it breaks off, is too long or its chunks are malformed.
    pub async fn body(&mut self, framing: Framing) -> anyhow::Result<Body> {
        match framing {
            Framing::Length(length) => {
                let bytes = self.exactly(length).await?;
                Ok(Body {
                    wire_bytes: bytes.len(),
                    bytes,
                })
            }
            Framing::Chunked => self.chunks().await,
            Framing::UntilClose => {
                while self.more().await? {
                    ensure!(
                        self.read.len() <= BODY_BYTES,
                        "a body of more than {BODY_BYTES} bytes"
                    );
                }
                let bytes = self.read.split().freeze();
                Ok(Body {
                    wire_bytes: bytes.len(),
                    bytes,
                })
            }
        }
    }

    async fn chunks(&mut self) -> anyhow::Result<Body> {
        let (mut whole, mut wire_bytes) = (BytesMut::new(), 0_usize);
        loop {
            let line = self.line().await?;
            let (size, _) = line.split_once(';').unwrap_or((&line, ""));
            let size =
                usize::from_str_radix(size.trim(), 16).with_context(|| format!("chunk size {line:?}"))?;
            ensure!(
                whole.len().saturating_add(size) <= BODY_BYTES,
                "a body of more than {BODY_BYTES} bytes"
            );
            wire_bytes = wire_bytes
                .saturating_add(line.len())
                .saturating_add(size)
                .saturating_add(4);
            if size == 0 {
                let end = self.line().await?;
                ensure!(end.is_empty(), "trailer field {end:?}: the lab sends none");
                return Ok(Body {
                    bytes: whole.freeze(),
                    wire_bytes,
                });
            }
            whole.extend_from_slice(&self.exactly(size).await?);
            ensure!(self.line().await?.is_empty(), "a chunk is longer than it says");
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|window| window == b"\r\n") {
                let line = self.read.split_to(end);
                self.read.advance(2);
                return Ok(str::from_utf8(&line).context("chunk size")?.to_owned());
            }
            ensure!(self.more().await?, "the connection ended inside a chunked body");
        }
    }

    async fn exactly(&mut self, length: usize) -> anyhow::Result<Bytes> {
        ensure!(length <= BODY_BYTES, "a body of more than {BODY_BYTES} bytes");
        while self.read.len() < length {
            if !self.more().await? {
                bail!(
                    "the connection ended after {} of {length} bytes of a body",
                    self.read.len()
                );
            }
        }
        Ok(self.read.split_to(length).freeze())
    }

    /// Reads what is there; false at the end of the connection.
    async fn more(&mut self) -> anyhow::Result<bool> {
        Ok(self.socket.read_buf(&mut self.read).await.context("receive")? > 0)
    }
}

fn parse_head(head: &[u8]) -> anyhow::Result<Head> {
    let text = str::from_utf8(head).context("a head that is not UTF-8")?;
    let mut lines = text.split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_owned();
    let fields = lines
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("field line {line:?}"))?;
            Ok((name.to_owned(), value.trim().to_owned()))
        })
        .collect::<anyhow::Result<Fields>>()?;
    Ok(Head { first_line, fields })
}

/// `body` cut into chunks of at most `chunk_bytes`, with framing.
#[must_use]
pub fn chunked(body: &[u8], chunk_bytes: usize) -> Bytes {
    let mut framed = BytesMut::with_capacity(body.len().saturating_add(64));
    for chunk in body.chunks(chunk_bytes.max(1)) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::{Framing, Wire, chunked, field};

    async fn given(bytes: &[u8]) -> Wire {
        let (near, far) = tokio::io::duplex(1 << 20);
        Wire::new(far).send(bytes).await.unwrap();
        Wire::new(near)
    }

    #[tokio::test]
    async fn messages_keep_their_fields_and_say_what_they_took() {
        let body = chunked(b"hello world", 5);
        assert_eq!(&body[..], b"5\r\nhello\r\n5\r\n worl\r\n1\r\nd\r\n0\r\n\r\n");
        let mut bytes = b"POST /x HTTP/1.1\r\nB: 1\r\na:  2 \r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let mut wire = given(&bytes).await;

        let head = wire.head().await.unwrap().unwrap();
        assert_eq!(head.first_line, "POST /x HTTP/1.1");
        assert_eq!(head.fields[0], ("B".to_owned(), "1".to_owned()));
        assert_eq!(field(&head.fields, "A"), Some("2"));
        let framing = Framing::of_request(&head.fields).unwrap();
        let read = wire.body(framing).await.unwrap();
        assert_eq!(
            (&read.bytes[..], read.wire_bytes),
            (&b"hello world"[..], body.len())
        );

        assert_eq!(wire.head().await.unwrap().unwrap().first_line, "GET / HTTP/1.1");
        assert!(wire.head().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_breaks_off_is_an_error() {
        assert!(given(b"GET / HT").await.head().await.is_err());
        assert!(given(b"abc").await.body(Framing::Length(4)).await.is_err());
        assert!(given(b"5\r\nabc").await.body(Framing::Chunked).await.is_err());
        assert!(
            given(b"2\r\nabc\r\n0\r\n\r\n")
                .await
                .body(Framing::Chunked)
                .await
                .is_err()
        );
        assert_eq!(
            given(b"abc")
                .await
                .body(Framing::UntilClose)
                .await
                .unwrap()
                .wire_bytes,
            3
        );
    }

    #[test]
    fn framing_follows_method_status_and_fields() {
        let length = vec![("content-length".to_owned(), "7".to_owned())];
        assert_eq!(
            Framing::of_response("GET", 200, &length).unwrap(),
            Framing::Length(7)
        );
        assert_eq!(
            Framing::of_response("HEAD", 200, &length).unwrap(),
            Framing::Length(0)
        );
        assert_eq!(Framing::of_response("GET", 204, &[]).unwrap(), Framing::Length(0));
        assert_eq!(
            Framing::of_response("GET", 200, &[]).unwrap(),
            Framing::UntilClose
        );
        assert_eq!(Framing::of_request(&[]).unwrap(), Framing::Length(0));
        assert!(Framing::of_request(&[("Content-Length".to_owned(), "x".to_owned())]).is_err());
    }
}
