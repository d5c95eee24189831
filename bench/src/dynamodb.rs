//! The embedded DynamoDB behind a TLS endpoint with a certificate authority of its own.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dynoxide::Database;
use dynoxide::actions::batch_execute_statement::BatchExecuteStatementRequest;
use dynoxide::actions::put_item::PutItemRequest;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::database::{Stream, create_table};
use crate::tls::Authority;
use crate::wire::Message;

/// One request that came in.
#[derive(Debug)]
pub struct Seen {
    pub begin: Instant,
    pub end: Instant,
    pub write_units: f64,
}

/// What the DynamoDB saw, in the order of the answers.
pub type Log = Arc<Mutex<Vec<Seen>>>;

/// A DynamoDB with the table, which starts empty.
pub struct DynamoDb {
    pub url: String,
    /// The same without TLS.
    pub plain_url: String,
    /// The file with the certificate of its authority.
    pub authority: PathBuf,
    pub log: Log,
    serving: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.serving.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl DynamoDb {
    /// Starts one on ports of its own, with an authority of its own, whose certificate goes into `folder`. It holds
    /// each answer back for a while.
    pub async fn start(folder: &Path, hold: Duration) -> Result<Self, Box<dyn Error>> {
        let database = Database::memory()?;
        create_table(&database, Stream::Off)?;
        let plain = TcpListener::bind("127.0.0.1:0").await?;
        let plain_url = format!("http://localhost:{}", plain.local_addr()?.port());
        let secure = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}", secure.local_addr()?.port());
        let issuer = Authority::new()?;
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, issuer.pem())?;
        let log = Log::default();
        let service = Service { database, log: Arc::clone(&log), hold };
        let serving = vec![
            tokio::spawn(accept(plain, None, service.clone())),
            tokio::spawn(accept(secure, Some(issuer.acceptor(b"http/1.1")?), service)),
        ];
        Ok(Self { url, plain_url, authority, log, serving })
    }
}

/// What every connection works with.
#[derive(Clone)]
struct Service {
    database: Database,
    log: Log,
    hold: Duration,
}

/// Takes connections.
async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, service: Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, service) = (acceptor.clone(), service.clone());
        tokio::spawn(async move {
            // A connection ends when its process does, however that looks from here.
            drop(converse(stream, acceptor, service).await);
        });
    }
}

async fn converse(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    service: Service,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    match acceptor {
        Some(acceptor) => service.serve(acceptor.accept(stream).await?).await,
        None => service.serve(stream).await,
    }
}

impl Service {
    /// Answers the requests of one connection.
    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut stream = BufReader::new(stream);
        while let Some(request) = Message::read(&mut stream).await? {
            let begin = Instant::now();
            let (body, write_units) =
                self.execute(&request).inspect_err(|error| eprintln!("DynamoDB: {error}"))?;
            if !self.hold.is_zero() {
                tokio::time::sleep(self.hold).await;
            }
            let seen = Seen { begin, end: Instant::now(), write_units };
            self.log.lock().map_err(|_| "a connection failed")?.push(seen);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n".to_owned();
            Message { head, body }.write(&mut stream).await?;
        }
        Ok(())
    }

    /// Does what a request says, and asks what it costs.
    fn execute(&self, request: &Message) -> Result<(Vec<u8>, f64), Box<dyn Error + Send + Sync>> {
        let total = || Some("TOTAL".to_owned());
        match request.header("x-amz-target").and_then(|target| target.split('.').next_back()) {
            Some("Query") => {
                let response = self.database.query(serde_json::from_slice(&request.body)?)?;
                Ok((serde_json::to_vec(&response)?, 0.0))
            }
            Some("GetItem") => {
                let response = self.database.get_item(serde_json::from_slice(&request.body)?)?;
                Ok((serde_json::to_vec(&response)?, 0.0))
            }
            Some("PutItem") => {
                let mut put: PutItemRequest = serde_json::from_slice(&request.body)?;
                put.return_consumed_capacity = total();
                let mut response = self.database.put_item(put)?;
                let price = response.consumed_capacity.take();
                Ok((serde_json::to_vec(&response)?, price.map_or(0.0, |price| price.capacity_units)))
            }
            Some("BatchExecuteStatement") => {
                let mut batch: BatchExecuteStatementRequest = serde_json::from_slice(&request.body)?;
                batch.return_consumed_capacity = total();
                let mut response = self.database.batch_execute_statement(batch)?;
                let prices = response.consumed_capacity.take();
                let write_units = prices.iter().flatten().map(|price| price.capacity_units).sum();
                Ok((serde_json::to_vec(&response)?, write_units))
            }
            operation => Err(format!("expected an operation that webhook uses, found {operation:?}").into()),
        }
    }
}
