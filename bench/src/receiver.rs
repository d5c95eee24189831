//! What stands for the queue and for the downstream receiver: it takes whatever is posted.

use std::error::Error;

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wire::Message;

/// An answer to Chat, and to SendMessage.
const ANSWER: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0,"MessageId":"1"}"#;

/// A receiver on loopback.
pub struct Receiver {
    pub url: String,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub async fn start() -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A connection ends when its process does, however that looks from here.
                    drop(serve(stream).await);
                });
            }
        });
        Ok(Self { url, serving })
    }
}

async fn serve(stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while Message::read(&mut stream).await?.is_some() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned();
        Message { head, body: ANSWER.into() }.write(&mut stream).await?;
    }
    Ok(())
}
