//! Lambda between the table's stream and a function: batches in order, partial answers, halves after an error, a filter.

use dynoxide::Database;
use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::GetRecordsRequest;
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use dynoxide::storage::Storage;
use serde_json::{Value, json};

/// The most records of a batch.
const BATCH_SIZE: usize = 100;

/// How often a batch may fail before the feeder gives up; Lambda goes on for a day.
const MAX_FAILURES: usize = 50;

/// Reads the stream of the embedded DynamoDB, from its first record on.
pub struct Feeder {
    database: Database,
    /// The data file, from which records are removed that were taken; `None` of a database in memory, which keeps them.
    file: Option<Storage>,
    iterator: String,
    /// Read and not taken yet, in order.
    pending: Vec<Value>,
    /// The most records of the next batch.
    size: usize,
    /// How often in a row no record was taken.
    failures: usize,
}

impl Feeder {
    /// Begins at the first record of the only stream, which has one shard.
    pub fn new(database: Database) -> Result<Self, String> {
        let streams =
            database.list_streams(ListStreamsRequest::default()).map_err(|error| error.to_string())?;
        let stream_arn = streams.streams.into_iter().next().ok_or("the table has no stream")?.stream_arn;
        let request = DescribeStreamRequest { stream_arn: stream_arn.clone(), ..Default::default() };
        let stream = database.describe_stream(request).map_err(|error| error.to_string())?;
        let shard = stream.stream_description.shards.into_iter().next().ok_or("the stream has no shard")?;
        let request = GetShardIteratorRequest {
            stream_arn,
            shard_id: shard.shard_id,
            shard_iterator_type: "TRIM_HORIZON".to_owned(),
            sequence_number: None,
        };
        let answer = database.get_shard_iterator(request).map_err(|error| error.to_string())?;
        let iterator = answer.shard_iterator.ok_or("the shard can't be read")?;
        let path = database.db_path().map_err(|error| error.to_string())?;
        let file = path.map(|path| Storage::new(&path)).transpose().map_err(|error| error.to_string())?;
        if let Some(file) = &file {
            // A record that comes back after a crash is told again.
            file.conn().execute_batch("PRAGMA synchronous = OFF").map_err(|error| error.to_string())?;
        }
        Ok(Self { database, file, iterator, pending: Vec::new(), size: BATCH_SIZE, failures: 0 })
    }

    /// Reads whatever is new, and returns all records that are not taken yet.
    pub fn read(&mut self) -> Result<&[Value], String> {
        loop {
            let request = GetRecordsRequest { shard_iterator: self.iterator.clone(), limit: None };
            let answer = self.database.get_records(request).map_err(|error| error.to_string())?;
            let count = answer.records.len();
            for record in answer.records {
                let record = serde_json::to_value(record).map_err(|error| error.to_string())?;
                self.pending.extend(Some(record).filter(passes));
            }
            self.iterator = answer.next_shard_iterator.ok_or("the stream has ended")?;
            if count == 0 {
                return Ok(&self.pending);
            }
        }
    }

    /// The next batch, as a function's payload; `None` if all records are taken.
    pub fn batch(&mut self) -> Result<Option<Value>, String> {
        self.read()?;
        let batch = &self.pending[..self.size.min(self.pending.len())];
        Ok((!batch.is_empty()).then(|| json!({ "Records": batch })))
    }

    /// Takes the function's answer to the last batch. An invocation that failed is tried again with half of the records.
    pub fn answered(&mut self, answer: Result<Value, String>) -> Result<(), String> {
        let batch = &self.pending[..self.size.min(self.pending.len())];
        let taken = match answer {
            Ok(answer) => taken(batch, &answer),
            Err(_) => {
                self.size = (batch.len() / 2).max(1);
                0
            }
        };
        if taken > 0 {
            (self.size, self.failures) = (BATCH_SIZE, 0);
            let last = self.pending.drain(..taken).next_back();
            return last.map_or(Ok(()), |last| self.trim(&last));
        }
        self.failures += 1;
        if self.failures > MAX_FAILURES { Err("the function makes no headway".to_owned()) } else { Ok(()) }
    }

    /// Removes the records up to this one from the data file. The embedded DynamoDB keeps all of them, and each slows down
    /// the writes that follow.
    fn trim(&self, last: &Value) -> Result<(), String> {
        const TRIM: &str = "DELETE FROM _stream_records \
            WHERE id <= (SELECT id FROM _stream_records WHERE event_id = ?1)";
        let Some(file) = &self.file else { return Ok(()) };
        let event_id = last["eventID"].as_str().unwrap_or_default();
        file.conn().execute(TRIM, (event_id,)).map(drop).map_err(|error| error.to_string())
    }

    /// Hands all records to a function, again as often as it takes.
    pub async fn feed(&mut self, invoke: impl AsyncFn(Value) -> Result<Value, String>) -> Result<(), String> {
        while let Some(batch) = self.batch()? {
            self.answered(invoke(batch).await)?;
        }
        Ok(())
    }
}

/// The filter of the template: items of groups and members that are there after the write.
fn passes(record: &Value) -> bool {
    let sk = record["dynamodb"]["Keys"]["sk"]["S"].as_str().unwrap_or_default();
    record["dynamodb"]["NewImage"].is_object() && (sk == "GROUP" || sk.starts_with("MEMBER#"))
}

/// How many records of a batch a function has taken: all before the lowest number that it returns, none if it returns
/// one that is not in the batch.
fn taken(batch: &[Value], answer: &Value) -> usize {
    let failures = answer["batchItemFailures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let position = |failure: &Value| {
        let number = &failure["itemIdentifier"];
        batch.iter().position(|record| record["dynamodb"]["SequenceNumber"] == *number).unwrap_or(0)
    };
    failures.iter().map(position).min().unwrap_or(batch.len())
}
