//! A proxy on loopback that breaks what passes through it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing: it is forwarded and answered.
    None,
    /// It is forwarded later.
    Delay(Duration),
    /// It is read and never answered.
    Hang,
    /// Its connection is reset before it is read.
    ResetBefore,
    /// Its connection is reset once it is read.
    ResetAfter,
    /// It is forwarded; the answer is dropped with the connection.
    LoseAnswer,
    /// It is answered; then the connection, which the client would keep, is closed.
    CloseAfter,
    /// It is answered here: status and body.
    Answer(u16, &'static str),
}

impl Fault {
    /// An error answer of an AWS service with this error code.
    pub const fn error(code: &'static str) -> Self {
        Self::Answer(400, code)
    }
}

/// What happens to the requests one after the other: first these, then always that.
#[derive(Debug, Clone)]
pub struct Script {
    pub first: VecDeque<Fault>,
    pub then: Fault,
}

impl Script {
    pub fn always(fault: Fault) -> Self {
        Self { first: VecDeque::new(), then: fault }
    }

    pub fn times(count: usize, fault: Fault) -> Self {
        Self { first: vec![fault; count].into(), then: Fault::None }
    }

    fn peek(&self) -> Fault {
        self.first.front().copied().unwrap_or(self.then)
    }

    fn next(&mut self) -> Fault {
        self.first.pop_front().unwrap_or(self.then)
    }
}

/// A proxy before one HTTP/1.1 service.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub url: String,
    script: Arc<Mutex<Script>>,
    forwarded: Arc<Mutex<usize>>,
}

impl Proxy {
    /// Starts a proxy before `upstream`, `http://host:port`.
    pub async fn start(upstream: &str, script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Self {
            url: format!("http://{}", listener.local_addr()?),
            script: Arc::new(Mutex::new(script)),
            forwarded: Arc::default(),
        };
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let server = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, upstream) = (server.clone(), upstream.clone());
                // An error is the client's going away, which is what the test is about.
                tokio::spawn(async move { server.serve(stream, &upstream).await.ok() });
            }
        });
        Ok(proxy)
    }

    /// Changes what happens from now on.
    pub fn set(&self, script: Script) {
        self.script(|current| *current = script);
    }

    /// How many requests have been forwarded.
    pub fn forwarded(&self) -> usize {
        *self.forwarded.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn script<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn serve(&self, mut client: TcpStream, upstream: &str) -> io::Result<()> {
        if self.script(|script| script.peek()) == Fault::ResetBefore {
            self.script(Script::next);
            return reset(client);
        }
        while let Some(request) = read_message(&mut client).await? {
            match self.script(Script::next) {
                Fault::None => client.write_all(&self.forward(&request, upstream).await?).await?,
                Fault::Delay(delay) => {
                    tokio::time::sleep(delay).await;
                    client.write_all(&self.forward(&request, upstream).await?).await?;
                }
                Fault::Hang => std::future::pending().await,
                Fault::ResetBefore | Fault::ResetAfter => return reset(client),
                Fault::LoseAnswer => {
                    self.forward(&request, upstream).await?;
                    return reset(client);
                }
                Fault::CloseAfter => {
                    return client.write_all(&self.forward(&request, upstream).await?).await;
                }
                Fault::Answer(status, body) => client.write_all(&answer(status, body)).await?,
            }
        }
        Ok(())
    }

    async fn forward(&self, request: &[u8], upstream: &str) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(upstream).await?;
        server.write_all(request).await?;
        *self.forwarded.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        read_message(&mut server).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Closes a connection so that the client sees it reset.
fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// An answer of the service's own; a body that is no JSON or HTML is the code of an AWS error.
fn answer(status: u16, body: &str) -> Vec<u8> {
    let body = match body.starts_with(['{', '<']) {
        true => body.to_owned(),
        false => format!(r#"{{"__type":"com.amazonaws.service#{body}","message":"made up"}}"#),
    };
    let head = format!("HTTP/1.1 {status} Made Up\r\ncontent-type: application/x-amz-json-1.0\r\n");
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads one HTTP/1.1 message with its body; `None` where the connection ends before it.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    let body_from = loop {
        if stream.read_buf(&mut message).await? == 0 {
            return Ok(None);
        }
        if let Some(end) = message.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&message[..body_from]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    while message.len() < body_from + length.unwrap_or(0_usize) {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(message))
}
