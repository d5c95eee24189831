//! What readers have to see, worked out from the contract's text alone: of each fact, what the newest event said.

use std::collections::{BTreeMap, BTreeSet};

use chat_groups::event::Attributes;
use chat_groups::feed::RosterGroup;
use chat_groups::store::Group;
use serde_json::{Map, Value, json};

/// A fact: of which account (`""` is the group itself), and its name.
type Fact = (String, String);

/// Equal times are settled by the greater value, and gone beats there: so these two stand for a life or a membership.
const THERE: &str = "1 there";
const GONE: &str = "2 gone";
const LIFE: &str = "life";

/// Chat's name of a group's field, and the table's.
const FIELDS: [(&str, &str); 5] = [
    ("Type", "type"),
    ("Name", "name"),
    ("Introduction", "introduction"),
    ("Notification", "notification"),
    ("FaceUrl", "face_url"),
];

/// What readers see of one group once all of these callbacks came, in whatever order: null if it is not there.
pub fn view<'a>(bodies: impl IntoIterator<Item = &'a Value>) -> Value {
    let mut known = BTreeMap::<Fact, (u64, Option<String>)>::new();
    for body in bodies {
        for (fact, value) in said(body) {
            let newest = known.entry(fact).or_default();
            *newest = newest.clone().max((event_time(body), value));
        }
    }
    let life = |of: &str| {
        let (time, value) = known.get(&(of.to_owned(), LIFE.to_owned()))?;
        (value.as_deref() == Some(THERE)).then_some(*time)
    };
    let Some(created) = life("") else {
        return Value::Null;
    };
    let mut group = json!({ "event_time": created, "members": {} });
    for ((of, name), (time, value)) in &known {
        let Some(value) = value else { continue };
        if name == LIFE {
            continue;
        }
        if of.is_empty() {
            // What was said of an earlier life counts no more.
            if *time >= created {
                group[name] = json!(value);
            }
        } else if let Some(joined) = life(of).filter(|joined| *joined >= created) {
            group["members"][of]["event_time"] = json!(joined);
            group["members"][of][name] = json!(value);
        }
    }
    group
}

/// What a callback says: the contract's table of commands, line by line.
fn said(body: &Value) -> Vec<(Fact, Option<String>)> {
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    let of_group = |name: &str, value: Option<String>| ((String::new(), name.to_owned()), value);
    let of = |account: &str, name: &str, value: Option<&str>| {
        ((account.to_owned(), name.to_owned()), value.map(str::to_owned))
    };
    let fields = || FIELDS.into_iter().filter_map(|(field, name)| Some(of_group(name, Some(text(field)?))));
    let custom = || {
        list(body, "UserDefinedDataList", "Key").filter_map(|(key, entry)| {
            Some(of_group(&format!("user_defined.{key}"), Some(entry["Value"].as_str()?.to_owned())))
        })
    };
    let moved = |field: &str, life: &'static str, role: Option<&'static str>| -> Vec<_> {
        let says = |account| {
            [of(account, LIFE, Some(life)), of(account, "role", role), of(account, "name_card", None)]
        };
        list(body, field, "Member_Account").flat_map(|(account, _)| says(account)).collect()
    };
    let account = |field: &str| text(field).filter(|account| !account.is_empty());
    let command = body["CallbackCommand"].as_str().unwrap_or_default();
    let mut said = match command.trim_start_matches("Group.Callback") {
        _ if account("TopicId").is_some() => vec![],
        "AfterCreateGroup" => [of_group(LIFE, Some(THERE.to_owned()))]
            .into_iter()
            .chain(fields())
            .chain(custom())
            .chain([of_group("owner_account", account("Owner_Account"))])
            .chain(moved("MemberList", THERE, Some("Member")))
            .collect(),
        "AfterNewMemberJoin" => moved("NewMemberList", THERE, Some("Member")),
        "AfterMemberExit" => moved("ExitMemberList", GONE, None),
        "AfterGroupDestroyed" => vec![of_group(LIFE, Some(GONE.to_owned()))],
        "AfterGroupInfoChanged" => fields().filter(|((_, name), _)| name != "type").chain(custom()).collect(),
        "AfterChangeGroupOwner" => {
            let accounts = [account("OldOwner_Account"), account("NewOwner_Account")];
            let owner =
                text("NewOwner_Account").map(|_| of_group("owner_account", account("NewOwner_Account")));
            let roles = accounts.into_iter().flatten().map(|account| of(&account, "role", Some("Member")));
            roles.chain(owner).collect()
        }
        "AfterMemberFieldChanged" => {
            let who = account("Modified_Account").or(account("Member_Account")).unwrap_or_default();
            let role = text("Role").map(|role| if role == "Owner" { "Member".to_owned() } else { role });
            let changes = [("role", role), ("name_card", text("NameCard"))];
            changes
                .into_iter()
                .filter(|(_, value)| value.is_some())
                .map(|(name, value)| of(&who, name, value.as_deref()))
                .collect()
        }
        _ => vec![],
    };
    if body["Type"] == "AVChatRoom" {
        said.retain(|((of, _), _)| of.is_empty());
    }
    said
}

/// The entries of a list, each with the text that it is known by.
fn list<'a>(body: &'a Value, field: &str, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let entries = body[field].as_array().into_iter().flatten();
    let key = key.to_owned();
    entries.filter_map(move |entry| Some((entry[&key].as_str()?, entry)))
}

/// A number, or a string of its digits.
fn event_time(body: &Value) -> u64 {
    let time = &body["EventTime"];
    time.as_u64().or_else(|| time.as_str()?.parse().ok()).unwrap_or_default()
}

/// What readers see of a group, in the form of [`view`].
pub fn seen(group: Option<&Group>) -> Value {
    let Some(group) = group else {
        return Value::Null;
    };
    let mut seen =
        plain(&group.group, &["type", "name", "introduction", "notification", "face_url", "owner_account"]);
    if let Some(Ok(custom)) = group.group.get("user_defined").map(|custom| custom.as_m()) {
        for (key, value) in custom {
            seen.insert(format!("user_defined.{key}"), json!(value.as_s().ok()));
        }
    }
    let member = |item: &Attributes| {
        let account = chat_groups::store::text_of(item, "account").unwrap_or_default().to_owned();
        (account, plain(item, &["role", "name_card"]).into())
    };
    seen.insert("members".to_owned(), group.members.iter().map(member).collect::<Map<_, _>>().into());
    seen.into()
}

/// A group that events give, in the form of [`view`].
pub fn folded(group: Option<&RosterGroup>) -> Value {
    let Some(group) = group else {
        return Value::Null;
    };
    let item = |event_time: u64, fields: &BTreeMap<String, String>, omitted: &BTreeSet<String>| {
        let mut item = json!(fields);
        item["event_time"] = event_time.into();
        for name in omitted {
            item[name] = "omitted".into();
        }
        item
    };
    let members = group
        .members
        .iter()
        .map(|(account, member)| (account.clone(), item(member.event_time, &member.fields, &member.omitted)));
    let members: Map<_, _> = members.collect();
    let mut view = item(group.event_time, &group.fields, &group.omitted);
    view["members"] = members.into();
    view
}

fn plain(item: &Attributes, names: &[&str]) -> Map<String, Value> {
    let time = item.get("event_time").and_then(|time| time.as_n().ok()?.parse::<u64>().ok());
    let texts = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), json!(chat_groups::store::text_of(item, name)?))));
    texts.chain([("event_time".to_owned(), json!(time))]).collect()
}
