//! Items that take one writer at a time: a fault that no emulator makes.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::wire::Message;

/// The items that are being written.
#[derive(Debug, Clone, Default)]
pub(super) struct Contention(Arc<Mutex<HashSet<String>>>);

/// A request with its part that may pass.
pub(super) struct Admitted {
    contention: Contention,
    /// The free items, which it holds until it is dropped.
    held: Vec<String>,
    /// For each item, in order, whether it may pass.
    is_free: Vec<bool>,
}

impl Contention {
    /// Takes the free items of a write.
    pub(super) fn admit(&self, body: &Value) -> Admitted {
        let (mut busy, mut held) = (self.lock(), Vec::new());
        let mut take = |key: String| {
            let is_free = busy.insert(key.clone());
            held.extend(is_free.then_some(key));
            is_free
        };
        let is_free = keys(body).into_iter().map(&mut take).collect();
        Admitted { contention: self.clone(), held, is_free }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Leaves out the statements whose items are busy. An error is the answer to a request of which nothing is left.
    pub(super) fn reduce(&self, body: &mut Value) -> Result<(), Message> {
        if let Some(statements) = body["Statements"].as_array_mut() {
            let mut is_free = self.is_free.iter();
            statements.retain(|_| is_free.next() == Some(&true));
            let is_empty = statements.is_empty();
            return if is_empty { Err(self.complete(&json!({ "Responses": [] }))) } else { Ok(()) };
        }
        if self.is_free.contains(&false) { Err(super::error("TransactionConflictException")) } else { Ok(()) }
    }

    /// Adds the results of the statements that were left out.
    pub(super) fn merge(&self, answer: Message) -> io::Result<Message> {
        if self.is_free.contains(&false) {
            return Ok(self.complete(&serde_json::from_slice(&answer.body)?));
        }
        Ok(answer)
    }

    fn complete(&self, answer: &Value) -> Message {
        let mut results = answer["Responses"].as_array().into_iter().flatten();
        let conflict = json!({ "Error": { "Code": "TransactionConflict", "Message": "made up" } });
        let result = |is_free: &bool| if *is_free { results.next() } else { None };
        let results: Vec<Value> =
            self.is_free.iter().map(result).map(|result| result.unwrap_or(&conflict).clone()).collect();
        let mut answer = answer.clone();
        answer["Responses"] = results.into();
        super::answer(200, &answer)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut busy = self.contention.lock();
        busy.retain(|key| !self.held.contains(key));
    }
}

/// The keys of the items that a PutItem or a BatchExecuteStatement of INSERTs writes.
fn keys(body: &Value) -> Vec<String> {
    let of_statement = |statement: &Value| {
        let text = statement["Statement"].as_str().unwrap_or_default();
        let names = text.split_once('{').map_or("", |(_, names)| names).split(',');
        let values = statement["Parameters"].as_array().into_iter().flatten();
        let attributes: Vec<_> = names.zip(values).collect();
        let value = |wanted: &str| {
            let found = attributes.iter().find(|(name, _)| name.starts_with(wanted));
            found.and_then(|(_, value)| value["S"].as_str()).unwrap_or_default()
        };
        format!("{} {}", value("'pk'"), value("'sk'"))
    };
    match body["Statements"].as_array() {
        Some(statements) => statements.iter().map(of_statement).collect(),
        None => vec![format!("{} {}", body["Item"]["pk"]["S"], body["Item"]["sk"]["S"])],
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_item_takes_one_writer_at_a_time() {
        let text = "INSERT INTO \"t\" VALUE {'pk':?,'sk':?}";
        let statement = |sk: &str| json!({ "Statement": text, "Parameters": [{ "S": "1#g" }, { "S": sk }] });
        let (one, other) = (statement("MEMBER#a"), statement("MEMBER#b"));
        let contention = Contention::default();
        let first = contention.admit(&json!({ "Statements": [one] }));
        let mut both = json!({ "Statements": [one, other] });
        let second = contention.admit(&both);
        assert!(second.reduce(&mut both).is_ok());
        assert_eq!(both, json!({ "Statements": [other] }));
        let answer = super::super::answer(200, &json!({ "Responses": [{ "TableName": "t" }] }));
        let merged: Value = serde_json::from_slice(&second.merge(answer).unwrap().body).unwrap();
        assert_eq!(merged["Responses"][0]["Error"]["Code"], "TransactionConflict");
        assert_eq!(merged["Responses"][1], json!({ "TableName": "t" }));
        drop(first);
        assert!(contention.admit(&json!({ "Statements": [one] })).is_free[0]);
    }
}
