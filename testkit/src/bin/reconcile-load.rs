//! `make reconcile-load`: the function `reconcile` over many groups, with its calls, seconds and memory.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_groups_testkit::chat::{Application, Chat, Fault, Group, Member, Model, Script};
use chat_groups_testkit::function::Function;
use chat_groups_testkit::{samples, table as database};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const ADMIN: &str = "admin";
const SECRET_KEY: &str = "a key for this run alone";
const MEMBERS: usize = 5;
const COMMUNITY: &str = "@TGS#_community";

/// The time that Chat takes for an answer, and between two changes of the Community.
const LATENCY: Duration = Duration::from_millis(150);
/// The time limit of a call, as in AWS.
const TIME_LIMIT: Duration = Duration::from_secs(900);
const CHANGE_EVERY: Duration = Duration::from_secs(10);

const COMMANDS: [&str; 4] =
    ["get_appid_group_list", "get_group_info", "get_group_member_info", "get_role_in_group"];
const COUNTS: [&str; 7] = [
    "groups_checked",
    "groups_added",
    "groups_changed",
    "groups_destroyed",
    "members_added",
    "members_removed",
    "members_changed",
];

/// Runs the function reconcile over many groups and counts its calls, seconds and memory
#[derive(Parser)]
struct Args {
    /// How many groups there are, of five members each
    #[arg(long, env = "GROUP_COUNT", default_value_t = 100_000)]
    group_count: usize,
    /// How many members the Community has that changes all the time
    #[arg(long, env = "COMMUNITY_MEMBERS", default_value_t = 100_000)]
    community_members: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    chat_groups_testkit::exit(run(Args::parse()).await)
}

async fn run(Args { group_count: groups, community_members }: Args) -> Result<(), Box<dyn Error>> {
    let chat = chat().await?;
    let create_time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 3600;
    chat.groups(|model| (0..groups).for_each(|number| add(model, number, create_time)));
    let database = dynoxide::Database::memory()?;
    database::create_table(&database, database::Stream::Off)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let table_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    // As fast as it can: the calls are counted, and at a real rate they take calls / rate seconds.
    let function = start(&table_url, &chat.url, "1000000").await?;

    println!("{groups} groups of {MEMBERS} members");
    let added = [groups, groups, 0, 0, groups * MEMBERS, 0, 0];
    pass("an empty table", json!({ "now": true }), &chat, &function).await?.is(added)?;
    let none = [groups, 0, 0, 0, 0, 0, 0];
    pass("nothing differs", json!({ "now": true }), &chat, &function).await?.is(none)?;
    let lost = chat.groups(|model| lose(model, groups, create_time));
    pass("lost callbacks, all members", json!({ "members": "all" }), &chat, &function).await?.is(lost)?;

    // Chat is on the other side of the world.
    COMMANDS.iter().for_each(|command| chat.script(command, Script::always(Fault::Slow(LATENCY))));
    let function = start(&table_url, &chat.url, "20").await?;
    pass("nothing differs, at 20 calls a second", json!({ "now": true }), &chat, &function).await?;
    community(community_members, create_time, &chat, &function).await
}

/// Brings in a Community that somebody joins or leaves every ten seconds.
async fn community(
    members: usize,
    create_time: u64,
    chat: &Chat,
    function: &Function,
) -> Result<(), Box<dyn Error>> {
    let accounts: Vec<String> = (0..members).map(|member| format!("user-{member:07}")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let group =
        Group { group_type: "Community".to_owned(), ..Group::public("large", create_time, &accounts) };
    chat.groups(|model| model.groups.insert(COMMUNITY.to_owned(), group));
    let (mut last, mut changes) = (Instant::now(), 0);
    chat.before_each(move |_, model| {
        let Some(group) = model.groups.get_mut(COMMUNITY).filter(|_| last.elapsed() >= CHANGE_EVERY) else {
            return;
        };
        (last, changes) = (Instant::now(), changes + 1);
        match changes % 2 {
            0 => drop(group.members.remove(&format!("user-{:07}", changes * 997 % members))),
            _ => drop(group.members.insert(format!("user-{changes:07} joined"), Member::joined(create_time))),
        }
    });
    let event = json!({ "group_ids": [COMMUNITY] });
    pass(&format!("a Community of {members} that changes every ten seconds"), event, chat, function)
        .await
        .map(drop)
}

async fn chat() -> Result<Chat, Box<dyn Error>> {
    let application = Application {
        sdk_app_id: samples::SDK_APP_ID.parse()?,
        admin_account: ADMIN.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
    };
    let chat = Chat::start(application).await?;
    chat.behave(|behavior| behavior.calls_per_second = usize::MAX);
    Ok(chat)
}

async fn start(table_url: &str, chat_url: &str, calls_per_second: &str) -> Result<Function, Box<dyn Error>> {
    let env = [
        ("TABLE_NAME", database::TABLE_NAME),
        ("SDK_APP_ID", samples::SDK_APP_ID),
        ("CHAT_API_URL", chat_url),
        ("CHAT_ADMIN_ACCOUNT", ADMIN),
        ("CHAT_SECRET_KEY", SECRET_KEY),
        ("CHAT_REQUESTS_PER_SECOND", calls_per_second),
        ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
    ];
    Function::start_release("reconcile", &env).await
}

fn id(number: usize) -> String {
    format!("@TGS#{number:08}")
}

fn add(model: &mut Model, number: usize, create_time: u64) {
    let accounts: Vec<String> = (0..MEMBERS).map(|member| format!("user-{}", number * 3 + member)).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    model.groups.insert(id(number), Group::public(&format!("group {number}"), create_time, &accounts));
}

/// Changes a tenth of the groups without a callback; what a pass should find.
fn lose(model: &mut Model, groups: usize, create_time: u64) -> [usize; COUNTS.len()] {
    let mut expected = [groups, 0, 0, 0, 0, 0, 0];
    for number in (0..groups).step_by(10) {
        let Some(group) = model.groups.get_mut(&id(number)) else { continue };
        let Some(account) = group.members.keys().next_back().cloned() else { continue };
        match number / 10 % 5 {
            0 => group.name = "renamed".to_owned(),
            1 => drop(group.members.remove(&account)),
            2 => drop(group.members.insert("joined".to_owned(), Member::joined(create_time))),
            3 => group.members.values_mut().take(1).for_each(|member| member.name_card = "card".to_owned()),
            _ => drop(model.groups.remove(&id(number))),
        }
        if let Some(count) = expected.get_mut([2, 5, 4, 6, 3][number / 10 % 5]) {
            *count += 1;
        }
    }
    for number in groups..groups + groups / 100 {
        add(model, number, create_time);
        expected = [
            expected[0] + 1,
            expected[1] + 1,
            expected[2],
            expected[3],
            expected[4] + MEMBERS,
            expected[5],
            expected[6],
        ];
    }
    expected
}

/// The sums of all calls of a pass.
struct Found([usize; COUNTS.len()]);

impl Found {
    /// Groups that a call had begun when its time was over are compared again by the next one.
    fn is(&self, expected: [usize; COUNTS.len()]) -> Result<(), String> {
        let ([checked, found @ ..], [groups, expected_rest @ ..]) = (&self.0, &expected);
        match checked >= groups && found == expected_rest {
            true => Ok(()),
            false => Err(format!("expected {expected:?}, found {:?} ({COUNTS:?})", self.0)),
        }
    }
}

/// Invokes the function until the pass is finished, and prints what that took.
async fn pass(name: &str, event: Value, chat: &Chat, function: &Function) -> Result<Found, Box<dyn Error>> {
    let calls = || COMMANDS.map(|command| chat.calls(command));
    let (before, start) = (calls(), Instant::now());
    let (mut sums, mut invocations) = ([0; COUNTS.len()], 0);
    loop {
        let answer = function.invoke_within(event.clone(), TIME_LIMIT).await?;
        invocations += 1;
        for (sum, count) in sums.iter_mut().zip(COUNTS) {
            *sum += usize::try_from(answer[count].as_u64().unwrap_or_default())?;
        }
        if answer["finished"] == true {
            break;
        }
    }
    println!("\n{name}: {:.0} s in {invocations} invocations", start.elapsed().as_secs_f64());
    for ((command, before), after) in COMMANDS.iter().zip(before).zip(calls()) {
        println!("  {command:<22} {} calls", after - before);
    }
    for (count, sum) in COUNTS.iter().zip(sums) {
        println!("  {count:<22} {sum}");
    }
    println!("  peak memory            {}", function.peak_memory().unwrap_or_else(|| "unknown".to_owned()));
    Ok(Found(sums))
}
