//! The Lambda Runtime API on loopback, for one function.
//!
//! The benchmark includes this file and [`wire`](crate::wire): it measures, so that they take nothing but tokio.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::wire::Message;

const GONE: &str = "the function is gone";

/// What a function is told that asks for its next event, and where it brings its answers.
pub struct RuntimeApi {
    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    calls: mpsc::Receiver<Call>,
}

/// A request of the function.
struct Call {
    request: Message,
    at: Instant,
    response: oneshot::Sender<Message>,
}

impl RuntimeApi {
    /// Starts one on a port of its own.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (sender, calls) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection ends when its process does, however that looks from here.
                let sender = sender.clone();
                tokio::spawn(async move { serve(stream, sender).await.ok() });
            }
        });
        Ok(Self { address, calls })
    }

    /// Waits until the function asks for an event.
    pub async fn next(&mut self) -> Result<Next, String> {
        loop {
            let call = self.calls.recv().await.ok_or(GONE)?;
            if call.request.head.starts_with("GET /2018-06-01/runtime/invocation/next ") {
                return Ok(Next { at: call.at, response: call.response });
            }
            // Why it did not start, for example.
            accept(call.response)?;
        }
    }

    /// Waits for the answer to the event that the function was given last.
    pub async fn answer(&mut self) -> Result<Answer, String> {
        let call = self.calls.recv().await.ok_or(GONE)?;
        let Message { head, body } = call.request;
        let result = match head.contains("/response ") {
            true => Ok(body),
            false => Err(String::from_utf8_lossy(&body).into_owned()),
        };
        Ok(Answer { at: call.at, result, response: call.response })
    }
}

async fn serve(stream: TcpStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = Message::read(&mut stream).await? {
        let (response, answered) = oneshot::channel();
        let call = Call { request, at: Instant::now(), response };
        calls.send(call).await.map_err(io::Error::other)?;
        answered.await.map_err(io::Error::other)?.write(&mut stream).await?;
    }
    Ok(())
}

fn accept(response: oneshot::Sender<Message>) -> Result<(), String> {
    let head = "HTTP/1.1 202 Accepted\r\n".to_owned();
    response.send(Message { head, body: Vec::new() }).map_err(|_| GONE.to_owned())
}

/// A function that waits for its next event.
pub struct Next {
    /// When it asked.
    pub at: Instant,
    response: oneshot::Sender<Message>,
}

impl Next {
    /// Hands it an event, the JSON, with the time that it has for its answer.
    pub fn send(self, number: usize, event: Vec<u8>, limit: Duration) -> Result<(), String> {
        let deadline = (SystemTime::now() + limit).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
             lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-{number:012}\r\n\
             lambda-runtime-deadline-ms: {deadline}\r\n\
             lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-west-1:123456789012:function:function\r\n"
        );
        self.response.send(Message { head, body: event }).map_err(|_| GONE.to_owned())
    }
}

/// What a function made of an event.
pub struct Answer {
    /// When it came.
    pub at: Instant,
    /// The response, or the error that the function reported.
    pub result: Result<Vec<u8>, String>,
    response: oneshot::Sender<Message>,
}

impl Answer {
    /// Lets the function go on.
    pub fn accept(self) -> Result<Vec<u8>, String> {
        accept(self.response)?;
        self.result
    }
}
