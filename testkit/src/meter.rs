//! A proxy before DynamoDB that counts requests and capacity units, throttles as one partition does, and refuses rivals.

mod contention;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use self::contention::Contention;
use crate::wire::Message;

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Metered {
    /// As DynamoDB names it: `PutItem`.
    pub operation: String,
    pub read_units: f64,
    /// Those of the index included.
    pub write_units: f64,
    /// Whether the meter itself refused it.
    pub is_throttled: bool,
    /// When its answer went out.
    pub end: Instant,
}

/// A meter before one DynamoDB.
#[derive(Debug, Clone)]
pub struct Meter {
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Metered>,
    bucket: Option<Bucket>,
    contention: Option<Contention>,
}

/// Write units that are left, as they come in at a steady rate.
#[derive(Debug)]
struct Bucket {
    units_per_second: f64,
    /// At most those of a second; below 0 after a write of more units than were left.
    units: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self) {
        let new = self.at.elapsed().as_secs_f64() * self.units_per_second;
        self.units = (self.units + new).min(self.units_per_second);
        self.at = Instant::now();
    }
}

impl Meter {
    /// Starts a meter before `upstream`, `http://host:port`.
    pub async fn start(upstream: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let meter = Self { url: format!("http://{}", listener.local_addr()?), state: Arc::default() };
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let server = meter.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, upstream) = (server.clone(), upstream.clone());
                // A connection ends when its process does, however that looks from here.
                tokio::spawn(async move { server.serve(client, &upstream).await.ok() });
            }
        });
        Ok(meter)
    }

    /// Refuses writes from now on while more than so many units a second are asked for; none for no limit.
    pub fn throttle(&self, units_per_second: Option<f64>) {
        self.state().bucket = units_per_second.map(|units_per_second| Bucket {
            units_per_second,
            units: units_per_second,
            at: Instant::now(),
        });
    }

    /// Refuses each write of an item from now on while another one of it is under way.
    pub fn refuse_rivals(&self) {
        self.state().contention = Some(Contention::default());
    }

    /// Takes out the requests that were answered since the last call.
    pub fn take(&self) -> Vec<Metered> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, client: TcpStream, upstream: &str) -> io::Result<()> {
        let server = TcpStream::connect(upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
        while let Some(mut request) = Message::read(&mut client).await? {
            let target = request.header("x-amz-target").unwrap_or_default();
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let is_write = !matches!(operation.as_str(), "GetItem" | "BatchGetItem" | "Query" | "Scan");
            let is_throttled = is_write && self.is_exhausted();
            let contention = self.state().contention.clone().filter(|_| is_write);
            let mut body: Value = serde_json::from_slice(&request.body)?;
            let admitted = contention.map(|contention| contention.admit(&body));
            let answer = if is_throttled {
                error("ProvisionedThroughputExceededException")
            } else if let Some(Err(refusal)) = admitted.as_ref().map(|admitted| admitted.reduce(&mut body)) {
                refusal
            } else {
                body["ReturnConsumedCapacity"] = json!("INDEXES");
                request.body = serde_json::to_vec(&body)?;
                request.write(&mut server).await?;
                let answer = Message::read(&mut server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                match &admitted {
                    Some(admitted) => admitted.merge(answer)?,
                    None => answer,
                }
            };
            drop(admitted);
            let (units, table_units) = if is_throttled { (0.0, 0.0) } else { units(&answer.body) };
            let (read_units, write_units) = if is_write { (0.0, units) } else { (units, 0.0) };
            {
                let mut state = self.state();
                if let Some(bucket) = state.bucket.as_mut().filter(|_| is_write) {
                    bucket.units -= table_units;
                }
                let end = Instant::now();
                state.requests.push(Metered { operation, read_units, write_units, is_throttled, end });
            }
            answer.write(&mut client).await?;
        }
        Ok(())
    }

    fn is_exhausted(&self) -> bool {
        self.state().bucket.as_mut().is_some_and(|bucket| {
            bucket.refill();
            bucket.units <= 0.0
        })
    }
}

/// The units of an answer: all of them, and those of the table without its index.
fn units(body: &[u8]) -> (f64, f64) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    // A write whose condition fails is charged for the stored item, and the answer does not say so.
    if body["__type"].as_str().is_some_and(|code| code.ends_with("ConditionalCheckFailedException")) {
        return (1.0, 1.0);
    }
    let results = body["Responses"].as_array().into_iter().flatten();
    let refused = results.filter(|result| result["Error"]["Code"] == "DuplicateItem").map(|_| 1.0).sum();
    let capacity = &body["ConsumedCapacity"];
    let capacities = capacity.as_array().map_or(std::slice::from_ref(capacity), Vec::as_slice);
    capacities.iter().fold((refused, refused), |(all, of_table), capacity| {
        let units = capacity["CapacityUnits"].as_f64().unwrap_or_default();
        (all + units, of_table + capacity["Table"]["CapacityUnits"].as_f64().unwrap_or(units))
    })
}

/// An error answer with this code.
fn error(code: &str) -> Message {
    answer(
        400,
        &json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "made up" }),
    )
}

fn answer(status: u16, body: &Value) -> Message {
    let head = format!("HTTP/1.1 {status} Made Up\r\ncontent-type: application/x-amz-json-1.0\r\n");
    Message { head, body: body.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_all_tables_with_and_without_their_indexes() {
        let capacity = json!({ "CapacityUnits": 3.0, "Table": { "CapacityUnits": 2.0 } });
        let one = json!({ "ConsumedCapacity": capacity }).to_string();
        assert_eq!(units(one.as_bytes()), (3.0, 2.0));
        let two = json!({ "ConsumedCapacity": [capacity, capacity] }).to_string();
        assert_eq!(units(two.as_bytes()), (6.0, 4.0));
        let refused = br#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}"#;
        assert_eq!(units(refused), (1.0, 1.0));
        let duplicate = json!({ "Responses": [{}, { "Error": { "Code": "DuplicateItem" } }], "ConsumedCapacity": [capacity] });
        assert_eq!(units(duplicate.to_string().as_bytes()), (4.0, 3.0));
    }

    #[test]
    fn a_bucket_holds_at_most_the_units_of_a_second() {
        let long_ago = Instant::now().checked_sub(std::time::Duration::from_secs(60));
        let at = long_ago.unwrap_or_else(Instant::now);
        let mut bucket = Bucket { units_per_second: 10.0, units: -5.0, at };
        bucket.refill();
        assert!((bucket.units - 10.0).abs() < f64::EPSILON, "{}", bucket.units);
    }
}
