//! Many queued events of many groups, drained by `redrive`.

use std::error::Error;
use std::time::Instant;

use chat_groups_testkit::database;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::redriver::Redriver;
use chat_groups_testkit::samples::Signer;
use serde_json::json;

use super::{accounts, borrowed, community, message, now, outcomes};

/// How many `redrive` processes drain the queue side by side.
const PROCESSES: usize = 4;

/// How many events each group has.
const EVENTS: usize = 10;

/// Drains the queue, and prints the events per second.
pub async fn run(events: usize) -> Result<(), Box<dyn Error>> {
    let (_, table_url) = database::start().await?;
    let messages = messages(events.div_ceil(EVENTS))?;
    let count = messages.len();
    let mut redrivers = Vec::new();
    for _ in 0..PROCESSES {
        redrivers.push(Redriver::new(Function::start_with("redrive", &table_url, "").await?));
    }
    let begin = Instant::now();
    let parts = messages.chunks(count.div_ceil(PROCESSES).max(1)).map(<[_]>::to_vec);
    let draining = redrivers
        .into_iter()
        .zip(parts)
        .map(|(redriver, part)| tokio::spawn(async move { redriver.drain(part).await.map(|()| redriver) }));
    let mut redrivers = Vec::new();
    for draining in draining.collect::<Vec<_>>() {
        redrivers.push(draining.await??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss)]
    let rate = count as f64 / seconds;
    println!("\nA backlog of {count} events of {} groups, by {PROCESSES} processes:\n", count / EVENTS);
    println!("| s | events a second | redrive | peak memory |");
    println!("| ---: | ---: | --- | ---: |");
    println!(
        "| {seconds:.0} | {rate:.0} | {} | {} |",
        outcomes(redrivers.iter().map(Redriver::function)),
        redrivers.iter().filter_map(|redriver| redriver.function().peak_memory()).max().unwrap_or_default(),
    );
    Ok(())
}

/// A creation of two, six joins, an exit, another name and an admin for each group; those of one group far apart.
fn messages(groups: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let (signer, now) = (Signer::default(), now()?);
    let start = now - 60_000;
    let mut messages = Vec::with_capacity(groups * EVENTS);
    for event in 0..EVENTS {
        for number in 0..groups {
            let group = community(format!("@TGS#_{number:06}"));
            let accounts = accounts(number..number + EVENTS);
            let accounts = borrowed(&accounts);
            let time = start + u64::try_from(event)?;
            let body = match event {
                0 => group.created(time, accounts[0], &accounts[..2]),
                7 => group.left(time, &accounts[1..2]),
                8 => group.changed(time, json!({ "Name": "Renamed" })),
                9 => group.member_changed(time, accounts[0], json!({ "Role": "Admin" })),
                _ => group.joined(time, &accounts[event + 1..event + 2]),
            };
            messages.push(message(&signer, &body, now));
        }
    }
    Ok(messages)
}
