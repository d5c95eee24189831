//! What is sent at the start: the vendor's sample as it is, and a short life of another group.

use std::error::Error;
use std::time::SystemTime;

use aws_sdk_dynamodb::Client as Table;
use aws_sdk_dynamodb::types::AttributeValue;
use chat_groups::callback::RosterCommand;
use chat_groups::event::{Attributes, GroupKey};
use chat_groups::store::{GROUP_SK, Group, Reader, partition_key, text_of};
use chat_groups::time::to_millis;
use chat_groups_testkit::life::{Step, life};
use chat_groups_testkit::model::{seen, view};
use chat_groups_testkit::samples::{SAMPLE, Signer};
use chat_groups_testkit::table as database;
use serde_json::Value;

use crate::post::{Answer, Poster};
use crate::show;

const SAMPLE_GROUP: &str = "@TGS#2J4SZEAEL";
const SAMPLE_OWNER: &str = "leckie";
const SAMPLE_MEMBERS: [&str; 2] = ["bob", "peter"];
const SAMPLE_EVENT_TIME: u64 = 1_670_574_414_123;

/// The same at each run: a new creation begins a new life.
const LIFE_GROUP: &str = "a short life";
const NEWCOMER: &str = "carol";

/// A receiver, the table behind it, and who sends to it.
pub struct Stage {
    pub poster: Poster,
    pub sdk_app_id: u64,
    pub token: String,
    pub table: Table,
    pub reader: Reader,
}

/// Whether the answer is the one that Chat expects.
fn is_ok(answer: &Answer) -> bool {
    answer.status == 200 && answer.text == r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#
}

impl Stage {
    /// Posts the vendor's sample as Chat would sign it, and shows and checks what comes of it.
    pub async fn sample(&self) -> Result<(), Box<dyn Error>> {
        let key = self.key(SAMPLE_GROUP);
        let was_there = self.has(&key).await?;
        let query = self.query(RosterCommand::AfterCreateGroup.name());
        let target = self.poster.target(&query);
        println!("\nThe vendor's sample, signed as Chat would sign it:\n\nPOST {target}\n\n{SAMPLE}");
        let answer = self.poster.post(&query, SAMPLE).await?;
        println!("\nThe answer:\n\n{}\n{}\n\nThe items in the table:", answer.status, answer.text);

        let group = self.reader.group(&key).await?;
        let groups = self.reader.groups_of(self.sdk_app_id, SAMPLE_OWNER).await?;
        if let Some(group) = &group {
            show::group(group);
        }
        show::groups_of(SAMPLE_OWNER, &groups);
        let is_sample = |group: &Attributes| text_of(group, "group_id") == Some(SAMPLE_GROUP);
        // An earlier run's table may hold what is newer than the sample.
        let is_stored = group.is_some_and(|group| is_sample_group(&group)) && groups.iter().any(is_sample);
        let promised = is_ok(&answer) && (was_there || is_stored);
        if promised { Ok(()) } else { Err("the answer or the items are not as promised".into()) }
    }

    /// Plays a short life, and shows and checks the roster after each step.
    pub async fn life(&self) -> Result<(), Box<dyn Error>> {
        let mut created: Value = serde_json::from_str(SAMPLE)?;
        created["GroupId"] = LIFE_GROUP.into();
        created["EventTime"] = to_millis(SystemTime::now()).into();
        println!("\nA short life of another group, {LIFE_GROUP:?}: each callback, and the roster after it.");
        let steps = life(created, NEWCOMER);
        for count in 1..=steps.len() {
            self.step(steps.get(..count).unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Plays the last of these steps.
    async fn step(&self, steps: &[Step]) -> Result<(), Box<dyn Error>> {
        let Some(Step { name, body }) = steps.last() else {
            return Ok(());
        };
        let command = body["CallbackCommand"].as_str().unwrap_or_default();
        println!("\n{}. {name}: {command}\n", steps.len());
        let answer = self.poster.post(&self.query(command), &body.to_string()).await?;
        let roster = seen(self.reader.group(&self.key(LIFE_GROUP)).await?.as_ref());
        show::roster(&roster);
        let expected = view(steps.iter().map(|step| &step.body));
        if !is_ok(&answer) {
            return Err(format!("{name}: expected OK, got {} {}", answer.status, answer.text).into());
        }
        if roster != expected {
            return Err(format!("{name}: expected {expected:#}, found {roster:#}").into());
        }
        Ok(())
    }

    fn key(&self, group_id: &str) -> GroupKey {
        GroupKey { sdk_app_id: self.sdk_app_id, group_id: group_id.to_owned() }
    }

    /// The query string of a genuine callback that is sent now.
    fn query(&self, command: &str) -> String {
        let request_time = to_millis(SystemTime::now()) / 1000;
        let signer = Signer {
            token: self.token.clone(),
            sdk_app_id: self.sdk_app_id.to_string(),
            request_time: request_time.to_string(),
        };
        signer.query(command)
    }

    /// Whether there is an item of this group, be it the mark of a destroyed one.
    async fn has(&self, key: &GroupKey) -> Result<bool, Box<dyn Error>> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let request = self.table.get_item().table_name(database::TABLE_NAME).consistent_read(true);
        let request = request.key("pk", text(&partition_key(key))).key("sk", text(GROUP_SK));
        Ok(request.send().await?.item.is_some())
    }
}

fn is_sample_group(group: &Group) -> bool {
    let accounts = group.members.iter().filter_map(|member| text_of(member, "account"));
    text_of(&group.group, "owner_account") == Some(SAMPLE_OWNER)
        && group.group.get("event_time").and_then(|value| value.as_n().ok())
            == Some(&SAMPLE_EVENT_TIME.to_string())
        && accounts.eq(SAMPLE_MEMBERS)
}
