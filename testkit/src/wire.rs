//! HTTP/1.1 as far as two programs on one machine need it: messages with a Content-Length.

use std::io::{Error, ErrorKind};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// One request or response.
pub struct Message {
    /// The first line and the headers, up to the empty line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads the next message; `None` where the other side is done.
    pub async fn read<S: tokio::io::AsyncRead + Unpin>(
        stream: &mut BufReader<S>,
    ) -> Result<Option<Self>, Error> {
        let mut head = String::new();
        loop {
            let start = head.len();
            let read = stream.read_line(&mut head).await?;
            match head[start..].trim_end() {
                "" if read == 0 && start == 0 => return Ok(None),
                "" if read == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                "" => break,
                _ => {}
            }
        }
        let mut message = Self { head, body: Vec::new() };
        let length = message.header("content-length").map_or(Ok(0), str::parse).map_err(Error::other)?;
        message.body.resize(length, 0);
        stream.read_exact(&mut message.body).await?;
        Ok(Some(message))
    }

    /// Writes it, with the Content-Length that it has now.
    pub async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<(), Error> {
        let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
        let mut bytes = Vec::with_capacity(self.head.len() + self.body.len() + 32);
        for line in self.head.lines().filter(|line| !line.is_empty() && !is_length(line)) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes).await?;
        stream.flush().await
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
