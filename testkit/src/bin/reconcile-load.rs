//! `make reconcile-load`: the function `reconcile` over many groups, with its calls, seconds and memory.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_groups::aws::{Aws, Timeouts};
use chat_groups::config::aws_settings;
use chat_groups::event::GroupKey;
use chat_groups::store::{Reader, text_of};
use chat_groups_testkit::chat::{Application, Chat, Fault, Group, Member, Model, Script};
use chat_groups_testkit::function::Function;
use chat_groups_testkit::{local, samples, table as database};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const ADMIN: &str = "admin";
const SECRET_KEY: &str = "a key for this run alone";
const MEMBERS: usize = 5;
const COMMUNITY: &str = "@TGS#_community";
const LARGE: &str = "@TGS#large";

/// The time that Chat takes for an answer, and between two changes of the Community.
const LATENCY: Duration = Duration::from_millis(150);
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

/// Runs the function reconcile over many groups, and over large ones, and counts its calls, seconds and memory
#[derive(Parser)]
struct Args {
    /// How many groups there are, of five members each; 0 leaves their passes out
    #[arg(long, env = "GROUP_COUNT", default_value_t = 100_000)]
    group_count: usize,
    /// How many members the Community has that changes all the time; 0 leaves it out
    #[arg(long, env = "COMMUNITY_MEMBERS", default_value_t = 100_000)]
    community_members: usize,
    /// How many members the group has that does not change; 0 leaves it out
    #[arg(long, env = "LARGE_MEMBERS", default_value_t = 200_000)]
    large_members: usize,
    /// How many times a second Chat is asked where that counts
    #[arg(long, env = "CALLS_PER_SECOND", default_value_t = 20)]
    calls_per_second: u32,
    /// The time limit of one invocation, in seconds
    #[arg(long, env = "TIME_LIMIT_SECONDS", default_value_t = 900)]
    time_limit_seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    chat_groups_testkit::exit(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let chat = chat().await?;
    let create_time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 3600;
    let database = dynoxide::Database::memory()?;
    database::create_table(&database, database::Stream::Off)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let stage = Stage {
        table_url: format!("http://{}", listener.local_addr()?),
        time_limit: Duration::from_secs(args.time_limit_seconds),
        chat,
        create_time,
    };
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let rate = args.calls_per_second.to_string();
    if args.group_count > 0 {
        small_groups(&stage, args.group_count, &rate).await?;
    }
    // Chat is on the other side of the world.
    stage.slow_down();
    if args.community_members > 0 {
        community(&stage, args.community_members, &rate).await?;
    }
    if args.large_members > 0 {
        large_group(&stage, args.large_members, &rate).await?;
    }
    Ok(())
}

/// Chat and the table, between which the function works.
struct Stage {
    chat: Chat,
    table_url: String,
    create_time: u64,
    time_limit: Duration,
}

impl Stage {
    async fn start(&self, calls_per_second: &str) -> Result<Function, Box<dyn Error>> {
        let env = [
            ("TABLE_NAME", database::TABLE_NAME),
            ("SDK_APP_ID", samples::SDK_APP_ID),
            ("CHAT_API_URL", &self.chat.url),
            ("CHAT_ADMIN_ACCOUNT", ADMIN),
            ("CHAT_SECRET_KEY", SECRET_KEY),
            ("CHAT_REQUESTS_PER_SECOND", calls_per_second),
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.table_url),
        ];
        Function::start_release("reconcile", &env).await
    }

    fn slow_down(&self) {
        for command in COMMANDS {
            self.chat.script(command, Script::always(Fault::Slow(LATENCY)));
        }
    }

    fn add_large(&self, id: &str, group_type: &str, members: usize) {
        let accounts: Vec<String> = (0..members).map(account).collect();
        let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
        let group = Group::public("large", self.create_time, &accounts);
        let group = Group { group_type: group_type.to_owned(), ..group };
        self.chat.groups(|model| model.groups.insert(id.to_owned(), group));
    }

    /// Fails unless the table shows everybody who is a member from the beginning to the end.
    async fn is_whole(&self, id: &str, members: usize) -> Result<(), Box<dyn Error>> {
        let settings = aws_settings(&|name| local::variable(name, &self.table_url))?;
        let timeouts = Timeouts { connect: Duration::from_secs(1), attempt: Some(Duration::from_secs(60)) };
        let reader = Reader::new(Aws::new(settings).dynamodb(timeouts), database::TABLE_NAME.to_owned());
        let key = GroupKey { sdk_app_id: samples::SDK_APP_ID.parse()?, group_id: id.to_owned() };
        let group = reader.group(&key).await?.ok_or("the group is not there")?;
        let shown: BTreeSet<&str> =
            group.members.iter().filter_map(|item| text_of(item, "account")).collect();
        let stayed: BTreeSet<String> = self.chat.groups(|model| {
            let present = model.groups.get(id).into_iter().flat_map(|group| group.members.keys().cloned());
            let first: BTreeSet<String> = (0..members).map(account).collect();
            present.filter(|account| first.contains(account)).collect()
        });
        let missing = stayed.iter().filter(|account| !shown.contains(account.as_str())).count();
        println!(
            "  shown                  {} members; {missing} of {} who stayed are missing",
            shown.len(),
            stayed.len()
        );
        if missing == 0 { Ok(()) } else { Err("the group is not whole".into()) }
    }
}

fn account(number: usize) -> String {
    format!("user-{number:07}")
}

/// Passes over many groups: an empty table, no difference, lost callbacks, and the pace of the quota.
async fn small_groups(stage: &Stage, groups: usize, rate: &str) -> Result<(), Box<dyn Error>> {
    stage.chat.groups(|model| (0..groups).for_each(|number| add(model, number, stage.create_time)));
    // As fast as it can: the calls are counted, and at a real rate they take calls / rate seconds.
    let function = stage.start("1000000").await?;
    println!("{groups} groups of {MEMBERS} members");
    let added = [groups, groups, 0, 0, groups * MEMBERS, 0, 0];
    pass("an empty table", json!({ "now": true }), stage, &function).await?.is(added)?;
    let none = [groups, 0, 0, 0, 0, 0, 0];
    pass("nothing differs", json!({ "now": true }), stage, &function).await?.is(none)?;
    let lost = stage.chat.groups(|model| lose(model, groups, stage.create_time));
    pass("lost callbacks, all members", json!({ "members": "all" }), stage, &function).await?.is(lost)?;
    stage.slow_down();
    let function = stage.start(rate).await?;
    let name = format!("nothing differs, at {rate} calls a second");
    pass(&name, json!({ "now": true }), stage, &function).await.map(drop)
}

/// Brings in a Community that somebody joins or leaves every ten seconds.
async fn community(stage: &Stage, members: usize, rate: &str) -> Result<(), Box<dyn Error>> {
    stage.add_large(COMMUNITY, "Community", members);
    let (mut last, mut changes, create_time) = (Instant::now(), 0, stage.create_time);
    stage.chat.before_each(move |_, model| {
        let Some(group) = model.groups.get_mut(COMMUNITY).filter(|_| last.elapsed() >= CHANGE_EVERY) else {
            return;
        };
        (last, changes) = (Instant::now(), changes + 1);
        match changes % 2 {
            0 => drop(group.members.remove(&account(changes * 997 % members))),
            _ => drop(group.members.insert(format!("user-{changes:07} joined"), Member::joined(create_time))),
        }
    });
    let function = stage.start(rate).await?;
    let name = format!("a Community of {members} that changes every ten seconds, at {rate} calls a second");
    pass(&name, json!({ "group_ids": [COMMUNITY] }), stage, &function).await?;
    stage.chat.before_each(|_, _| {});
    stage.is_whole(COMMUNITY, members).await
}

/// Brings in a group that does not change, and compares it once more.
async fn large_group(stage: &Stage, members: usize, rate: &str) -> Result<(), Box<dyn Error>> {
    stage.add_large(LARGE, "Public", members);
    let function = stage.start(rate).await?;
    for name in ["brought in", "compared"] {
        let name = format!("a group of {members}, {name}, at {rate} calls a second");
        pass(&name, json!({ "group_ids": [LARGE] }), stage, &function).await?;
    }
    stage.is_whole(LARGE, members).await
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
async fn pass(name: &str, event: Value, stage: &Stage, function: &Function) -> Result<Found, Box<dyn Error>> {
    let calls = || COMMANDS.map(|command| stage.chat.calls(command));
    let (before, start) = (calls(), Instant::now());
    let (mut sums, mut invocations) = ([0; COUNTS.len()], 0);
    loop {
        let answer = function.invoke_within(event.clone(), stage.time_limit).await?;
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
