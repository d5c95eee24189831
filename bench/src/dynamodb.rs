//! The embedded DynamoDB behind a TLS end point with a certificate authority of its own.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dynoxide::Database;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::wire::Message;

/// The table's name, as the function is told.
pub const TABLE_NAME: &str = "groups";

/// One request that came in.
#[derive(Debug)]
pub struct Seen {
    pub begin: Instant,
    pub end: Instant,
    pub write_units: f64,
}

/// What the DynamoDB saw, in the order of the answers.
pub type Log = Arc<Mutex<Vec<Seen>>>;

/// A DynamoDB with an empty table.
pub struct DynamoDb {
    pub url: String,
    /// The same without TLS.
    pub plain_url: String,
    pub log: Log,
    serving: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.serving.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Certificate and key of the end point; the authority's certificate is in a file.
pub struct Identity {
    tls: Arc<ServerConfig>,
    /// The authority's certificate, for SSL_CERT_FILE.
    pub authority: PathBuf,
}

impl Identity {
    /// Makes both anew and writes the authority's certificate into `folder`.
    pub fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let path = folder.join("authority.pem");
        std::fs::write(&path, authority.pem())?;
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )?;
        Ok(Self { tls: Arc::new(tls), authority: path })
    }
}

impl DynamoDb {
    /// Starts one on ports of its own.
    pub async fn start(identity: &Identity) -> Result<Self, Box<dyn Error>> {
        let database = Database::memory()?;
        database.create_table(serde_json::from_value(table()?)?)?;
        let inner = TcpListener::bind("127.0.0.1:0").await?;
        let inner_address = inner.local_addr()?;
        let plain_url = format!("http://{inner_address}");
        let outer = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}", outer.local_addr()?.port());
        let log = Log::default();
        let (acceptor, seen) = (TlsAcceptor::from(Arc::clone(&identity.tls)), Arc::clone(&log));
        let front = async move {
            while let Ok((stream, _)) = outer.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    // A connection ends when its process does, however that looks from here.
                    drop(pass(stream, acceptor, inner_address, seen).await);
                });
            }
        };
        let serving = vec![tokio::spawn(dynoxide::server::serve_on(inner, database)), tokio::spawn(front)];
        Ok(Self { url, plain_url, log, serving })
    }
}

/// Passes the requests of one connection on, asking for their price.
async fn pass(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    inner: std::net::SocketAddr,
    log: Log,
) -> Result<(), std::io::Error> {
    stream.set_nodelay(true)?;
    let mut client = BufReader::new(acceptor.accept(stream).await?);
    let server = TcpStream::connect(inner).await?;
    server.set_nodelay(true)?;
    let mut server = BufReader::new(server);
    while let Some(mut request) = Message::read(&mut client).await? {
        let begin = Instant::now();
        if request.header("x-amz-target").is_some_and(|target| target.ends_with("TransactWriteItems")) {
            request.body.splice(0..1, *b"{\"ReturnConsumedCapacity\":\"TOTAL\",");
        }
        request.write(&mut server).await?;
        let Some(response) = Message::read(&mut server).await? else {
            break;
        };
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let prices = answer["ConsumedCapacity"].as_array().into_iter().flatten();
        let write_units = prices.filter_map(|price| price["CapacityUnits"].as_f64()).sum();
        let seen = Seen { begin, end: Instant::now(), write_units };
        log.lock().map_err(|_| std::io::ErrorKind::Other)?.push(seen);
        response.write(&mut client).await?;
    }
    Ok(())
}

/// CreateTable for the table that `template.yaml` defines.
fn table() -> Result<Value, Box<dyn Error>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Template {
        resources: HashMap<String, Value>,
    }
    let template: Template = serde_saphyr::from_str(include_str!("../../template.yaml"))?;
    let table = template.resources.into_values().find(|resource| resource["Type"] == "AWS::DynamoDB::Table");
    let mut properties = table.ok_or("template.yaml: expected a table")?["Properties"].take();
    properties["TableName"] = TABLE_NAME.into();
    properties["SSESpecification"] = json!({ "Enabled": true });
    Ok(properties)
}
