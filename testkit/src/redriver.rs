//! What SQS and Lambda do with the retry queue: hand its messages to `redrive`, and those that fail again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::function::Function;
use crate::queue::Queue;

/// How many messages SQS hands over at once.
pub const BATCH: usize = 10;
/// How often it hands out one that fails.
const MAX_RECEIVES: usize = 10;

/// The function, and how much it has done.
pub struct Redriver {
    redrive: Function,
    finished: AtomicUsize,
}

impl Redriver {
    pub fn new(redrive: Function) -> Self {
        Self { redrive, finished: AtomicUsize::new(0) }
    }

    /// The function.
    pub fn function(&self) -> &Function {
        &self.redrive
    }

    /// How many messages are finished.
    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }

    /// Hands over what is queued until all is delivered; returns what is not finished by then.
    pub async fn follow(&self, queue: &Queue, is_delivered: &AtomicBool) -> Result<Vec<String>, String> {
        let mut waiting = Vec::new();
        while !is_delivered.load(Ordering::Relaxed) {
            waiting.extend(queue.take());
            let rest = waiting.split_off(waiting.len().min(BATCH));
            let failed = self.hand_over(&waiting).await?;
            if rest.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            waiting = [rest, failed].concat();
        }
        waiting.extend(queue.take());
        Ok(waiting)
    }

    /// Finishes all of these messages.
    pub async fn drain(&self, mut waiting: Vec<String>) -> Result<(), String> {
        for _ in 0..MAX_RECEIVES {
            let mut failed = Vec::new();
            for batch in waiting.chunks(BATCH) {
                failed.extend(self.hand_over(batch).await?);
            }
            waiting = failed;
        }
        match waiting.is_empty() {
            true => Ok(()),
            false => Err(format!("{} messages are left for the dead-letter queue", waiting.len())),
        }
    }

    /// Hands over a batch; returns what failed of it.
    pub async fn hand_over(&self, batch: &[String]) -> Result<Vec<String>, String> {
        if batch.is_empty() {
            return Ok(vec![]);
        }
        let record = |(n, body): (usize, &String)| json!({ "messageId": n.to_string(), "body": body });
        let records: Vec<Value> = batch.iter().enumerate().map(record).collect();
        let answer = self.redrive.invoke(json!({ "Records": records })).await?;
        let failures = answer["batchItemFailures"].as_array().into_iter().flatten();
        let number = |failure: &Value| failure["itemIdentifier"].as_str()?.parse::<usize>().ok();
        let failed: Vec<String> =
            failures.filter_map(number).filter_map(|number| batch.get(number).cloned()).collect();
        self.finished.fetch_add(batch.len() - failed.len(), Ordering::Relaxed);
        Ok(failed)
    }
}
