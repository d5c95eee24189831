//! A stand-in for the downstream receiver `FORWARD_URL`: it notes the requests that reach it, and answers as it is told.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The method, as `POST`.
    pub method: String,
    /// The path and the query, to the byte.
    pub target: String,
    /// By names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    /// The query string.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub struct Reply {
    after: Duration,
    bytes: Vec<u8>,
    then: Then,
}

/// What happens once the bytes of a reply are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The connection waits for the next request.
    KeepAlive,
    /// It is closed once it has been idle for so long.
    CloseAfter(Duration),
    /// Nothing more is sent.
    Hang,
    /// The same bytes are sent again and again, with a pause.
    Repeat(&'static [u8], Duration),
    /// The connection is reset.
    Reset,
    /// The connection is reset before the request is read.
    ResetUnread,
}

impl Reply {
    /// A status and a body.
    pub fn answer(status: u16, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Made Up\r\ncontent-length: {}\r\n", body.len());
        Self::raw(&format!("{head}content-type: text/plain\r\n\r\n{body}"))
    }

    /// These bytes in the place of a response.
    pub fn raw(bytes: &str) -> Self {
        Self { after: Duration::ZERO, bytes: bytes.into(), then: Then::KeepAlive }
    }

    /// No response ever.
    pub fn silence() -> Self {
        Self::raw("").and_hang()
    }

    /// The same, later.
    #[must_use]
    pub fn after(self, milliseconds: u64) -> Self {
        Self { after: Duration::from_millis(milliseconds), ..self }
    }

    /// The same, and then silence.
    #[must_use]
    pub fn and_hang(self) -> Self {
        Self { then: Then::Hang, ..self }
    }

    /// The same, and then these bytes for ever, with a pause between them.
    #[must_use]
    pub fn and_repeat(self, bytes: &'static [u8], pause: Duration) -> Self {
        Self { then: Then::Repeat(bytes, pause), ..self }
    }

    /// The same, and then the connection is closed as soon as it has been idle for so long.
    #[must_use]
    pub fn and_close_after(self, milliseconds: u64) -> Self {
        Self { then: Then::CloseAfter(Duration::from_millis(milliseconds)), ..self }
    }

    /// The same, and then the connection is reset.
    #[must_use]
    pub fn and_reset(self) -> Self {
        Self { then: Then::Reset, ..self }
    }

    /// The connection is reset before the request is read.
    pub fn reset_unread() -> Self {
        Self { then: Then::ResetUnread, ..Self::raw("") }
    }
}

/// A receiver on loopback.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Without a path.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    reply: Reply,
    /// For the next request alone.
    once: Option<Reply>,
    /// For requests whose body contains a text.
    special: Option<(String, Reply)>,
    received: Vec<Received>,
    connections: usize,
    open_connections: usize,
}

impl Receiver {
    /// Starts one that speaks HTTP/1.1 without TLS.
    pub async fn start(reply: Reply) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self::new(format!("http://{}", listener.local_addr()?), reply);
        let server = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // An error is the client's going away, which is what a test may be about.
                tokio::spawn(async move { server.serve_tcp(stream).await.ok() });
            }
        });
        Ok(receiver)
    }

    /// One that gets its connections, or its requests, from the caller.
    pub fn new(url: String, reply: Reply) -> Self {
        let state = State {
            reply,
            once: None,
            special: None,
            received: Vec::new(),
            connections: 0,
            open_connections: 0,
        };
        Self { url, state: Arc::new(Mutex::new(state)) }
    }

    /// Changes what happens to the requests from now on.
    pub fn set(&self, reply: Reply) {
        self.state().reply = reply;
    }

    /// Changes what happens to the next request alone.
    pub fn set_once(&self, reply: Reply) {
        self.state().once = Some(reply);
    }

    /// Changes what happens to the requests whose body contains this text.
    pub fn set_for(&self, text: &str, reply: Reply) {
        self.state().special = Some((text.to_owned(), reply));
    }

    /// Takes out the requests that have come.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state().received)
    }

    /// How many connections have been made.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// How many of them are open.
    pub fn open_connections(&self) -> usize {
        self.state().open_connections
    }

    /// Notes a request that came in another way.
    pub fn note(&self, received: Received) {
        self.state().received.push(received);
    }

    /// Serves the requests of a connection; `true` where it is to be reset now.
    pub async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<bool> {
        self.state().connections += 1;
        if self.state().reply.then == Then::ResetUnread {
            return Ok(true);
        }
        while let Some(received) = read(&mut stream).await? {
            let reply = self.state().reply_to(&received);
            self.note(received);
            tokio::time::sleep(reply.after).await;
            stream.write_all(&reply.bytes).await?;
            stream.flush().await?;
            match reply.then {
                Then::KeepAlive => {}
                Then::CloseAfter(idle) => {
                    tokio::time::sleep(idle).await;
                    return Ok(false);
                }
                Then::Hang => std::future::pending().await,
                Then::Repeat(bytes, pause) => repeat(&mut stream, bytes, pause).await?,
                Then::Reset | Then::ResetUnread => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn serve_tcp(&self, mut stream: TcpStream) -> io::Result<()> {
        self.state().open_connections += 1;
        let is_reset = self.serve(&mut stream).await.unwrap_or(false);
        if is_reset {
            stream.set_zero_linger()?;
        }
        drop(stream);
        self.state().open_connections -= 1;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reply_to(&mut self, received: &Received) -> Reply {
        if let Some(reply) = self.once.take() {
            return reply;
        }
        let body = String::from_utf8_lossy(&received.body);
        match &self.special {
            Some((text, reply)) if body.contains(text) => reply.clone(),
            _ => self.reply.clone(),
        }
    }
}

async fn repeat(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], pause: Duration) -> io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Reads one request; `None` where the connection ends before it.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Received>> {
    let mut request = Vec::new();
    let body_from = loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..body_from]).into_owned();
    let mut lines = head.lines();
    let mut start = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    let mut body = request.split_off(body_from);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(Received { method, target, headers, body }))
}
