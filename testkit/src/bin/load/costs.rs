//! What one event costs in groups of three sizes.

use std::error::Error;
use std::time::{Duration, Instant};

use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::database;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::meter::{Meter, Metered};
use chat_groups_testkit::queue::Queue;
use chat_groups_testkit::redriver::Redriver;
use chat_groups_testkit::samples::Signer;
use serde_json::{Value, json};

use super::{accounts, borrowed, community, message, now};

/// How many members the groups have.
pub const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// The number of accounts that join at once.
const MANY: usize = 300;

/// The first account that is no member.
const OUTSIDE: usize = 200_000;

/// How old an event is when `redrive` gets it, in milliseconds: the retry queue holds each message back for 5 s.
const QUEUED: u64 = 10_000;

const OWNER: &str = "user-000000";

/// The costs of one event, or of the sweep that follows the last.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub requests: f64,
    pub read_units: f64,
    pub write_units: f64,
    pub ms: f64,
    pub megabytes: f64,
}

/// The costs of one event by the sizes of groups.
pub struct Row {
    pub function: &'static str,
    pub event: &'static str,
    pub costs: Vec<Cost>,
    /// Whether they may not follow the size of the group.
    pub is_limited: bool,
}

/// A function, and the way in which events reach it.
enum Target {
    Webhook(Function),
    Redrive(Redriver),
}

impl Target {
    fn function(&self) -> &Function {
        match self {
            Self::Webhook(function) => function,
            Self::Redrive(redriver) => redriver.function(),
        }
    }

    /// Hands over an event; an error where it is not finished.
    async fn play(&self, body: &Value) -> Result<(), Box<dyn Error>> {
        let signer = Signer::default();
        match self {
            Self::Webhook(function) => {
                let answer = function.invoke(signer.event(body)).await?;
                if answer["statusCode"] != 200 {
                    return Err(format!("expected status 200, found {answer}").into());
                }
            }
            Self::Redrive(redriver) => {
                // A sweep that takes longer than the invocation comes again, and is not played again here.
                let failed = redriver.hand_over(&[message(&signer, body, now()?)]).await?;
                let may_fail = body["CallbackCommand"] == "Group.CallbackAfterGroupDestroyed";
                if !failed.is_empty() && !may_fail {
                    return Err(format!("redrive did not finish {body}").into());
                }
            }
        }
        Ok(())
    }
}

/// Plays every event by both functions in groups of all sizes.
pub async fn measure() -> Result<Vec<Row>, Box<dyn Error>> {
    let (database, table_url) = database::start().await?;
    let meter = Meter::start(&table_url).await?;
    let queue = Queue::start().await?;
    let mut rows = Vec::<Row>::new();
    for name in ["webhook", "redrive"] {
        for (size, members) in SIZES.into_iter().enumerate() {
            eprintln!("{name}, {members} members");
            let group = community(format!("@TGS#_{name}{members}"));
            let created_at = now()? - 60_000;
            database::fill(&database, &group.joined(created_at + 1, &borrowed(&accounts(0..members))))?;
            let function = Function::start_with(name, &meter.url, &queue.url).await?;
            let target = match name {
                "webhook" => Target::Webhook(function),
                _ => Target::Redrive(Redriver::new(function)),
            };
            // The first event of a process connects.
            target
                .play(&community(format!("@TGS#_first{members}")).created(created_at, OWNER, &[OWNER]))
                .await?;
            let age = if name == "redrive" { QUEUED } else { 0 };
            for (event, body) in events(&group, created_at, now()? - age) {
                let (own, sweep) = cost(&target, &meter, &body).await?;
                if queue.take().iter().any(|message| !message.contains(r#""pending":"sweep""#)) {
                    return Err(format!("{name}: {event} was queued, as the machine is too slow").into());
                }
                let costs = [(event, Some(own), true), ("its sweep", sweep, false)];
                for (event, cost, is_limited) in costs {
                    let Some(cost) = cost else { continue };
                    if size == 0 {
                        rows.push(Row { function: name, event, costs: Vec::new(), is_limited });
                    }
                    let row = rows.iter_mut().find(|row| row.function == name && row.event == event);
                    row.ok_or("expected the same events in all groups")?.costs.push(cost);
                }
            }
        }
    }
    Ok(rows)
}

/// One of each command that is kept. The creation comes late, as any event may.
fn events(group: &Group, created_at: u64, now: u64) -> Vec<(&'static str, Value)> {
    let many = accounts(OUTSIDE..OUTSIDE + MANY);
    vec![
        ("creation of 2", group.created(created_at, OWNER, &["ana", "ben"])),
        ("join of 1", group.joined(now, &["cleo"])),
        ("join of 300", group.joined(now + 1, &borrowed(&many))),
        ("exit of 1", group.left(now + 2, &["user-000001"])),
        ("info", group.changed(now + 3, json!({ "Name": "Renamed", "Introduction": "Hello" }))),
        ("owner", group.handed_over(now + 4, OWNER, "user-000002")),
        ("role", group.member_changed(now + 5, "user-000003", json!({ "Role": "Admin" }))),
        ("destroyed", group.destroyed(now + 6, &[OWNER, "user-000002"])),
    ]
}

/// Plays an event; returns its costs, and those of the sweep if one followed at once.
async fn cost(target: &Target, meter: &Meter, body: &Value) -> Result<(Cost, Option<Cost>), Box<dyn Error>> {
    target.function().reset_peak_memory()?;
    meter.take();
    let start = Instant::now();
    target.play(body).await?;
    let (took, megabytes) = (start.elapsed(), megabytes(target.function())?);
    let requests = meter.take();
    // A sweep reads the group and then its members.
    let own = requests.iter().position(|request| request.operation == "Query");
    let (own, sweep) = requests.split_at(own.map_or(requests.len(), |query| query.saturating_sub(1)));
    let Some(swept_from) = own.last().map(|request| request.end).filter(|_| !sweep.is_empty()) else {
        return Ok((sum(own, took, megabytes), None));
    };
    let sweep = sum(sweep, took.saturating_sub(swept_from - start), megabytes);
    Ok((sum(own, swept_from - start, megabytes), Some(sweep)))
}

#[expect(clippy::cast_precision_loss)]
fn sum(requests: &[Metered], took: Duration, megabytes: f64) -> Cost {
    Cost {
        requests: requests.len() as f64,
        read_units: requests.iter().map(|request| request.read_units).sum(),
        write_units: requests.iter().map(|request| request.write_units).sum(),
        ms: took.as_secs_f64() * 1e3,
        megabytes,
    }
}

fn megabytes(function: &Function) -> Result<f64, Box<dyn Error>> {
    let peak = function.peak_memory().ok_or("expected VmHWM")?;
    Ok(peak.trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}
