//! The client for Chat's REST API against the stand-in for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::chat::{
    ChatApi, ChatError, ChatSettings, Class, Command, GROUPS_MAX, GroupInfo, Limits, Paging, SecretKey,
};
use chat_groups::http::{HttpClient, Trust};
use chat_groups::log::error_chain;
use serde_json::json;
use tokio::time::Instant;

use crate::chat_api::{Application, Chat, Fault, Group, Member, Script};

const SDK_APP_ID: u64 = 1_400_000_001;
const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const CREATE_TIME: u64 = 1_700_000_000;

/// Long enough for every answer.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn server() -> Chat {
    let application = Application {
        sdk_app_id: SDK_APP_ID,
        admin_account: "the admin".to_owned(),
        secret_key: KEY.to_owned(),
    };
    let chat = Chat::start(application).await.unwrap();
    // No test but that of the limit has to wait for it.
    chat.behave(|behavior| behavior.list_interval = Duration::ZERO);
    chat
}

fn settings(url: &str) -> ChatSettings {
    ChatSettings {
        api_url: url.to_owned(),
        sdk_app_id: SDK_APP_ID,
        admin_account: "the admin".to_owned(),
        limits: Limits {
            list_interval: Duration::ZERO,
            call_interval: Duration::ZERO,
            attempt_timeout: Duration::from_secs(10),
            request_budget: Duration::from_secs(20),
        },
    }
}

fn client(settings: ChatSettings) -> ChatApi {
    client_with(KEY, settings)
}

fn client_with(key: &str, settings: ChatSettings) -> ChatApi {
    let http = HttpClient::new(Trust::none(), Duration::from_secs(5));
    ChatApi::new(settings, SecretKey::new(key).unwrap(), http)
}

fn api(chat: &Chat) -> ChatApi {
    client(settings(&chat.url))
}

/// A client that gives a request up early.
fn impatient(chat: &Chat) -> ChatApi {
    let mut settings = settings(&chat.url);
    settings.limits.attempt_timeout = Duration::from_millis(300);
    client(settings)
}

fn add(chat: &Chat, id: &str, group: Group) {
    chat.groups(|model| model.groups.insert(id.to_owned(), group));
}

/// Accounts whose order is that of their numbers.
fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("account-{number:05}")).collect()
}

fn crowd(group_type: &str, count: usize) -> Group {
    let accounts = accounts(count);
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    Group { group_type: group_type.to_owned(), ..Group::public("crowd", CREATE_TIME, &accounts) }
}

/// The code of the first group's own result.
async fn class_of(api: &ChatApi, id: &str) -> Option<Class> {
    let infos = api.until(soon()).group_infos(&[id], None).await.unwrap();
    infos.value[id].as_ref().err().map(ChatError::class)
}

#[tokio::test]
async fn all_groups_are_listed_page_by_page() {
    let chat = server().await;
    for number in 0..25 {
        add(&chat, &format!("group {number:02}"), Group::public("g", CREATE_TIME, &[]));
    }
    let (api, mut ids, mut next) = (api(&chat), Vec::new(), 0);
    loop {
        let list = api.until(soon()).groups(next, 10).await.unwrap().value;
        assert_eq!(list.total, Some(25));
        ids.extend(list.ids);
        next = list.next;
        if next == 0 {
            break;
        }
        assert!(next > i64::MAX as u64, "a mark takes all of its 64 bits");
    }
    assert_eq!(ids, (0..25).map(|number| format!("group {number:02}")).collect::<Vec<_>>());
    assert_eq!((api.calls(Command::GroupList), chat.calls("get_appid_group_list")), (3, 3));
}

#[tokio::test]
async fn each_group_has_its_info_or_its_own_error() {
    let chat = server().await;
    let full = Group {
        introduction: "what it is".to_owned(),
        notification: "\u{1f980}".to_owned(),
        face_url: "https://example.com/face".to_owned(),
        app_defined: [("level", "7"), ("other", "x")].map(|(key, value)| (key.into(), value.into())).into(),
        ..Group::public("full", CREATE_TIME, &["owner", "b"])
    };
    add(&chat, "full", full);
    add(&chat, "empty", Group { group_type: "Work".to_owned(), ..Group::public("", 5, &[]) });
    add(&chat, "broken", Group::public("broken", CREATE_TIME, &[]));
    chat.groups(|model| model.errors.extend([("broken".to_owned(), 10015), ("busy".to_owned(), 10002)]));
    let api = api(&chat);
    let ids = ["full", "empty", "broken", "busy", "gone"];
    let infos = api.until(soon()).group_infos(&ids, Some(&["level".to_owned()].into())).await.unwrap().value;

    let values = [
        ("type", "Public"),
        ("name", "full"),
        ("introduction", "what it is"),
        ("notification", "\u{1f980}"),
        ("face_url", "https://example.com/face"),
        ("owner_account", "owner"),
        ("user_defined.level", "7"),
    ];
    let expected = GroupInfo {
        values: values.map(|(name, value)| (name.into(), value.to_owned())).into(),
        create_time: Some(CREATE_TIME),
        member_num: Some(2),
    };
    assert_eq!(infos["full"].as_ref().unwrap(), &expected);
    let empty = infos["empty"].as_ref().unwrap();
    assert_eq!((empty.values["name"].as_str(), empty.values["owner_account"].as_str()), ("", ""));
    let classes: Vec<_> = ids.map(|id| infos[id].as_ref().err().map(ChatError::class)).into();
    assert_eq!(classes, [None, None, Some(Class::Permanent), Some(Class::Transient), Some(Class::NotFound)]);
    assert_eq!(api.calls(Command::GroupInfo), 1);
    let all = api.until(soon()).group_infos(&["full"], None).await.unwrap().value;
    assert_eq!(all["full"].as_ref().unwrap().values["user_defined.other"], "x");
}

#[tokio::test]
async fn a_custom_field_that_chat_refuses_does_not_hold_up_the_others() {
    let chat = server().await;
    add(&chat, "g", Group::public("g", CREATE_TIME, &[]));
    chat.script("get_group_info", Script::first([Fault::Code(10004)]));
    let infos = api(&chat)
        .until(soon())
        .group_infos(&["g"], Some(&["taken away".to_owned()].into()))
        .await
        .unwrap()
        .value;
    assert!(infos["g"].is_ok());
    assert_eq!(chat.calls("get_group_info"), 2);
}

#[tokio::test]
async fn many_groups_take_several_questions_and_none_takes_none() {
    let chat = server().await;
    let ids: Vec<String> = (0..101).map(|number| format!("group {number}")).collect();
    for id in &ids {
        add(&chat, id, Group::public(id, CREATE_TIME, &[]));
    }
    let (api, ids) = (api(&chat), ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(api.until(soon()).group_infos(&[], None).await.unwrap().value.is_empty());
    let infos = api.until(soon()).group_infos(&ids, None).await.unwrap().value;
    assert_eq!(infos.len(), 101);
    assert!(infos.iter().all(|(id, info)| info.as_ref().unwrap().values["name"] == *id));
    assert_eq!(chat.calls("get_group_info"), 3);
}

#[tokio::test]
async fn members_are_listed_by_offset_and_by_mark() {
    let chat = server().await;
    let api = api(&chat);
    for (group_type, count, calls) in [
        ("Public", 450, 3),
        ("Public", 400, 3),
        ("Public", 0, 1),
        ("Community", 450, 3),
        ("Community", 400, 2),
    ] {
        let mut group = crowd(group_type, count);
        if let Some(member) = group.members.get_mut("account-00001") {
            *member = Member {
                role: "Admin".to_owned(),
                name_card: "card".to_owned(),
                ..Member::joined(CREATE_TIME)
            };
        }
        add(&chat, "g", group);
        let before = chat.calls("get_group_member_info");
        let roster = api.until(soon()).members("g", Paging::of(group_type)).await.unwrap().value;
        assert_eq!(chat.calls("get_group_member_info") - before, calls, "{group_type} {count}");
        assert!(roster.members.keys().eq(&accounts(count)), "{group_type} {count}");
        assert!(roster.missing() == 0 && roster.is_snapshot == (calls == 1));
        let role = |account: &str| roster.members.get(account).and_then(|member| member.role.as_deref());
        if count > 0 {
            assert_eq!(role("account-00000"), Some("Owner"));
            assert_eq!(role("account-00001"), Some("Admin"));
            assert_eq!(role("account-00002"), Some("Member"));
            assert_eq!(roster.members["account-00001"].name_card, "card");
        }
    }
}

#[tokio::test]
async fn roles_tell_members_from_others() {
    let chat = server().await;
    let api = api(&chat);
    add(&chat, "g", crowd("Public", 700));
    let accounts = accounts(1001);
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let roles = api.until(soon()).roles("g", &accounts).await.unwrap().value;
    assert_eq!(roles.len(), 1001);
    let count = |role: &str| roles.values().filter(|other| other.as_ref().unwrap() == role).count();
    assert_eq!((count("Owner"), count("Member"), count("NotMember")), (1, 699, 301));
    assert_eq!(roles["account-00700"].as_ref().unwrap(), "NotMember");
    assert_eq!(chat.calls("get_role_in_group"), 3);
}

#[tokio::test]
async fn numbers_may_come_as_strings() {
    let chat = server().await;
    chat.behave(|behavior| behavior.numbers_as_text = true);
    add(&chat, "g", crowd("Public", 201));
    let api = api(&chat);
    assert_eq!(api.until(soon()).groups(0, GROUPS_MAX).await.unwrap().value.total, Some(1));
    let infos = api.until(soon()).group_infos(&["g"], None).await.unwrap().value;
    assert_eq!(infos["g"].as_ref().unwrap().create_time, Some(CREATE_TIME));
    assert_eq!(api.until(soon()).members("g", Paging::Offset).await.unwrap().value.member_num, Some(201));
    assert_eq!(class_of(&api, "gone").await, Some(Class::NotFound));
}

#[tokio::test]
async fn a_transient_failure_is_repeated() {
    let chat = server().await;
    add(&chat, "g", Group::public("g", CREATE_TIME, &["a"]));
    let answer = |status, body: &str| Fault::Answer(status, body.to_owned());
    for fault in [
        Fault::Code(10002),
        Fault::Code(60008),
        Fault::Hang,
        answer(500, ""),
        answer(429, ""),
        answer(200, ""),
        answer(200, "{}"),
        answer(200, r#"{"ActionStatus":"OK","ErrorCode":0,"GroupInfo":[{"GroupId":"g","#),
        answer(200, "<html>busy</html>"),
    ] {
        let before = chat.calls("get_group_info");
        chat.script("get_group_info", Script::first(vec![fault.clone(); 2]));
        let infos = impatient(&chat).until(soon()).group_infos(&["g"], None).await.unwrap().value;
        assert!(infos["g"].is_ok(), "{fault:?}");
        assert_eq!(chat.calls("get_group_info") - before, 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_lost_server_is_tried_until_the_deadline_and_found_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let start = Instant::now();
    let api = client(settings(&url));
    let error = api.until(start + Duration::from_millis(1500)).groups(0, 10).await.unwrap_err();
    assert_eq!(error.class(), Class::OutOfTime, "{error:?}");
    assert!(start.elapsed() < Duration::from_millis(1600));
    assert!((3..10).contains(&api.calls(Command::GroupList)), "{}", api.calls(Command::GroupList));
}

#[tokio::test]
async fn a_hanging_server_costs_no_more_than_the_deadline() {
    let chat = server().await;
    chat.script("get_group_member_info", Script::always(Fault::Hang));
    let start = Instant::now();
    let deadline = start + Duration::from_millis(500);
    let error = api(&chat).until(deadline).members("g", Paging::Offset).await.unwrap_err();
    assert!(matches!(error, ChatError::OutOfTime), "{error:?}");
    assert!((500..700).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(api(&chat).until(start).groups(0, 10).await.unwrap_err().class(), Class::OutOfTime);
    assert_eq!(chat.calls("get_appid_group_list"), 0, "nothing is asked after the deadline");
}

#[tokio::test]
async fn too_frequent_calls_wait_and_succeed() {
    let chat = server().await;
    chat.behave(|behavior| behavior.list_interval = Duration::from_secs(1));
    let api = api(&chat);
    add(&chat, "g", Group::public("g", CREATE_TIME, &["a"]));
    chat.script("get_role_in_group", Script::first([Fault::Code(60011)]));
    let start = Instant::now();
    assert_eq!(api.until(soon()).roles("g", &["a"]).await.unwrap().value["a"].as_ref().unwrap(), "Owner");
    assert_eq!(chat.calls("get_role_in_group"), 2);
    assert!(start.elapsed() >= Duration::from_millis(500));
    for _ in 0..2 {
        api.until(soon()).groups(0, 10).await.unwrap();
    }
    assert!(chat.calls("get_appid_group_list") > 2, "the second was too early at first");
}

#[tokio::test]
async fn the_clients_own_limits_keep_it_below_those_of_chat() {
    let chat = server().await;
    chat.behave(|behavior| {
        behavior.list_interval = Duration::from_secs(1);
        behavior.calls_per_second = 25;
    });
    let mut settings = settings(&chat.url);
    settings.limits = Limits::new(20.try_into().unwrap());
    let (api, start) = (client(settings), Instant::now());
    add(&chat, "g", Group::public("g", CREATE_TIME, &["a"]));
    for _ in 0..3 {
        api.until(soon()).groups(0, 10).await.unwrap();
    }
    assert!((4000..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    let start = Instant::now();
    let ask = async || api.until(soon()).roles("g", &["a"]).await.unwrap();
    futures_util::future::join_all((0..31).map(|_| ask())).await;
    assert!((1500..2300).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!((api.calls(Command::GroupList), api.calls(Command::Role)), (3, 31), "none was refused");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_asked_for_in_smaller_pages() {
    let chat = server().await;
    let ids: Vec<String> = (0..200).map(|number| format!("group {number:03}")).collect();
    for id in &ids {
        add(&chat, id, crowd("Public", 3));
    }
    add(&chat, "group 000", crowd("Public", 300));
    add(&chat, "group 001", crowd("Community", 300));
    chat.behave(|behavior| behavior.answer_max_bytes = 3000);
    let api = api(&chat);

    let (mut listed, mut next) = (Vec::new(), 0);
    loop {
        let list = api.until(soon()).groups(next, GROUPS_MAX).await.unwrap().value;
        listed.extend(list.ids);
        next = list.next;
        if next == 0 {
            break;
        }
    }
    assert_eq!(listed, ids);
    let before = api.calls(Command::GroupList);
    api.until(soon()).groups(0, GROUPS_MAX).await.unwrap();
    assert_eq!(api.calls(Command::GroupList) - before, 1, "what was learned is not learned again");
    for (id, paging) in [("group 000", Paging::Offset), ("group 001", Paging::Next)] {
        let roster = api.until(soon()).members(id, paging).await.unwrap().value;
        assert!(roster.missing() == 0 && roster.members.len() == 300);
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(api.until(soon()).group_infos(&ids, None).await.unwrap().value.len(), 200);
    let everybody = accounts(300);
    let everybody: Vec<&str> = everybody.iter().map(String::as_str).collect();
    assert_eq!(api.until(soon()).roles("group 000", &everybody).await.unwrap().value.len(), 300);

    chat.behave(|behavior| behavior.answer_max_bytes = 10);
    assert_eq!(class_of(&api, "group 000").await, Some(Class::TooLarge));
}

#[tokio::test]
async fn wrong_settings_stop_at_once_and_say_what_to_check() {
    let chat = server().await;
    let is_final = |class| matches!(class, Class::Misconfigured | Class::Unauthorized);
    let right = || settings(&chat.url);
    let wrong = [
        (right(), "ErrorCode 70009", "CHAT_SECRET_KEY"),
        (ChatSettings { admin_account: "user".into(), ..right() }, "ErrorCode 60010", "CHAT_ADMIN_ACCOUNT"),
        (ChatSettings { sdk_app_id: 1, ..right() }, "ErrorCode 60006", "SDK_APP_ID"),
        (ChatSettings { api_url: format!("{}/v5", chat.url), ..right() }, "HTTP status 404", "CHAT_API_URL"),
        (ChatSettings { api_url: "console.tim.qq.com".into(), ..right() }, "URL: ", "http or https"),
    ];
    for (settings, code, check) in wrong {
        let api = client_with(if code.ends_with("70009") { "other" } else { KEY }, settings);
        let error = api.until(soon()).groups(0, 10).await.unwrap_err();
        let text = error_chain(&error);
        assert!(is_final(error.class()), "{text}");
        assert!(text.starts_with("Chat's REST API"), "{text}");
        assert!(text.contains(code) && text.contains(check), "{text}");
        assert_eq!(api.calls(Command::GroupList), 1);
    }
    for code in [60021, 70001, 70014] {
        chat.script("get_role_in_group", Script::always(Fault::Code(code)));
        let error = api(&chat).until(soon()).roles("g", &["a"]).await.unwrap_err();
        assert!(is_final(error.class()), "{code}");
        assert!(error_chain(&error).contains("; check "));
    }
    let moved = Script::always(Fault::Answer(302, String::new()));
    chat.script("get_role_in_group", moved);
    assert_eq!(api(&chat).until(soon()).roles("g", &["a"]).await.unwrap_err().class(), Class::Misconfigured);
}

#[tokio::test]
async fn other_refusals_are_not_repeated() {
    let chat = server().await;
    let api = api(&chat);
    add(&chat, "room", Group { group_type: "AVChatRoom".to_owned(), ..crowd("Public", 2) });
    let room = api.until(soon()).members("room", Paging::Offset).await.unwrap_err();
    assert!(matches!(room, ChatError::Refused { code: 10007, .. }));
    let gone = api.until(soon()).members("gone", Paging::Offset).await.unwrap_err();
    assert_eq!(gone.class(), Class::NotFound);
    assert_eq!(api.until(soon()).roles("gone", &["a"]).await.unwrap_err().class(), Class::NotFound);
    let odd = json!({ "ErrorCode": 0, "UserIdList": "none" }).to_string();
    for fault in [Fault::Code(80001), Fault::Answer(200, odd), Fault::Empty] {
        chat.script("get_role_in_group", Script::always(fault));
        let roles = api.until(soon()).roles("room", &["a"]).await.unwrap().value;
        assert_eq!(roles["a"].as_ref().unwrap_err().class(), Class::Permanent);
    }
    assert_eq!((api.calls(Command::MemberInfo), api.calls(Command::Role)), (2, 4));
}

#[tokio::test]
async fn a_group_that_the_answer_leaves_out_has_an_error_and_not_a_guess() {
    let chat = server().await;
    let api = api(&chat);
    for fault in [Fault::Truncate, Fault::Empty] {
        add(&chat, "a", Group::public("a", CREATE_TIME, &[]));
        chat.script("get_group_info", Script::first([fault]));
        let infos = api.until(soon()).group_infos(&["a", "b"], None).await.unwrap().value;
        assert_eq!(infos["b"].as_ref().unwrap_err().class(), Class::Permanent, "and not gone");
        assert_eq!(infos.len(), 2);
    }
    // What nobody asked about is no answer.
    let other = json!({ "ErrorCode": 0, "GroupInfo": [{ "GroupId": "c" }, { "Name": "nameless" }] });
    chat.script("get_group_info", Script::first([Fault::Answer(200, other.to_string())]));
    let infos = api.until(soon()).group_infos(&["a"], None).await.unwrap().value;
    assert!(infos.len() == 1 && infos["a"].is_err());
}

#[tokio::test]
async fn waiting_for_its_turn_costs_a_request_nothing() {
    let chat = server().await;
    add(&chat, "g", Group::public("g", CREATE_TIME, &["a"]));
    let mut settings = settings(&chat.url);
    settings.limits.call_interval = Duration::from_millis(100);
    settings.limits.request_budget = Duration::from_secs(1);
    let api = client(settings);
    // Each of them fails at first, and waits for its turn twice.
    chat.script("get_role_in_group", Script::first(vec![Fault::Code(10002); 15]));
    let start = Instant::now();
    let ask = async || api.until(soon()).roles("g", &["a"]).await.unwrap().value["a"].is_ok();
    let answers = futures_util::future::join_all((0..15).map(|_| ask())).await;
    assert!(answers.into_iter().all(|is_answered| is_answered));
    assert!(start.elapsed() >= Duration::from_millis(2_900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_request_is_given_up_once_its_budget_is_used_up() {
    let chat = server().await;
    for code in [10002, 60011] {
        chat.script("get_role_in_group", Script::always(Fault::Code(code)));
        let mut settings = settings(&chat.url);
        settings.limits.request_budget = Duration::from_millis(700);
        let start = Instant::now();
        let error = client(settings).until(soon()).roles("g", &["a"]).await.unwrap_err();
        assert!(error.is_transient() && error_chain(&error).contains(&code.to_string()), "{error:?}");
        assert!((600..1_500).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_list_that_lacks_members_is_not_complete() {
    let chat = server().await;
    let api = api(&chat);
    let list = async |group: Group, paging| {
        add(&chat, "g", group);
        api.until(soon()).members("g", paging).await.unwrap().value
    };
    for paging in [Paging::Offset, Paging::Next] {
        let group_type = if paging == Paging::Next { "Community" } else { "Public" };
        chat.script("get_group_member_info", Script::always(Fault::Empty));
        let roster = list(crowd(group_type, 3), paging).await;
        assert!(roster.members.is_empty() && roster.missing() > 0);
        chat.script("get_group_member_info", Script::first([Fault::Truncate]));
        let roster = list(crowd(group_type, 3), paging).await;
        assert_eq!(
            (roster.members.len() == 3, roster.missing() == 0),
            match paging {
                // What a page lacks is asked for with the next.
                Paging::Offset => (true, true),
                Paging::Next => (false, false),
            }
        );
    }
}

#[tokio::test]
async fn pages_that_shift_may_miss_a_member_unnoticed() {
    let chat = server().await;
    add(&chat, "g", crowd("Public", 401));
    let mut page = 0;
    chat.before_each(move |command, model| {
        page += usize::from(command == "get_group_member_info");
        if let Some(group) = model.groups.get_mut("g").filter(|_| page == 2) {
            // One that was listed leaves, so that the one after the page moves into it; and another joins.
            group.members.remove("account-00003");
            group.members.insert("zoe".to_owned(), Member::joined(CREATE_TIME));
        }
    });
    let roster = api(&chat).until(soon()).members("g", Paging::Offset).await.unwrap().value;
    assert!(!roster.members.contains_key("account-00200") && roster.members.contains_key("zoe"));
    // The one who left makes up for the one who was missed: that is why a removal takes a second question, and a creation
    // a second list.
    assert!(!roster.is_snapshot);
    assert_eq!((roster.members.len(), roster.member_num), (401, Some(401)));
}

#[tokio::test]
async fn a_group_that_vanishes_between_two_pages_is_gone() {
    let chat = server().await;
    for (group_type, paging) in [("Public", Paging::Offset), ("Community", Paging::Next)] {
        add(&chat, "g", crowd(group_type, 300));
        let mut page = 0;
        chat.before_each(move |_, model| {
            page += 1;
            if page == 2 {
                model.groups.remove("g");
            }
        });
        let error = api(&chat).until(soon()).members("g", paging).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
    }
}

#[tokio::test]
async fn a_mark_that_does_not_move_is_an_error() {
    let chat = server().await;
    let members = json!({ "ErrorCode": 0, "MemberList": [], "Next": "same" }).to_string();
    chat.script("get_group_member_info", Script::always(Fault::Answer(200, members)));
    let error = api(&chat).until(soon()).members("g", Paging::Next).await.unwrap_err();
    assert!(error_chain(&error).contains("Next: expected"), "{error:?}");
    let list = json!({ "ErrorCode": 0, "GroupIdList": [], "Next": 7 }).to_string();
    chat.script("get_appid_group_list", Script::always(Fault::Answer(200, list)));
    assert_eq!(api(&chat).until(soon()).groups(6, 10).await.unwrap().value.next, 7);
    assert!(api(&chat).until(soon()).groups(7, 10).await.is_err());
}

#[tokio::test]
async fn the_moment_of_a_question_is_never_after_it_whosever_clock_is_wrong() {
    let chat = server().await;
    add(&chat, "g", crowd("Public", 300));
    let api = api(&chat);
    for skew in [0, -3600, 3600] {
        chat.behave(|behavior| behavior.clock_skew_seconds = skew);
        // Longer than what the Date header rounds off.
        let late = Fault::Late(Duration::from_millis(if skew < 0 { 1500 } else { 0 }));
        chat.script("get_role_in_group", Script::first([late]));
        let before = SystemTime::now();
        let asked_at = api.until(soon()).roles("g", &["a"]).await.unwrap().asked_at;
        // By the clock that is downstream.
        let expected = if skew < 0 { before - Duration::from_secs(3600) } else { before };
        let early = expected.duration_since(asked_at).unwrap_or_default();
        assert!(asked_at <= expected + Duration::from_millis(100), "{skew}: {asked_at:?} {expected:?}");
        assert!(early < Duration::from_millis(1300), "{skew}: {early:?}");
    }
}

#[tokio::test]
async fn the_moment_of_several_questions_is_that_of_the_first() {
    let chat = server().await;
    add(&chat, "g", crowd("Public", 300));
    chat.script(
        "get_group_member_info",
        Script::first([Fault::None, Fault::Slow(Duration::from_millis(1500))]),
    );
    let before = SystemTime::now();
    let roster = api(&chat).until(soon()).members("g", Paging::Offset).await.unwrap();
    assert!(before.elapsed().unwrap() >= Duration::from_millis(1500));
    assert!(roster.asked_at <= before + Duration::from_millis(500));
    assert!(roster.asked_at > UNIX_EPOCH + Duration::from_secs(CREATE_TIME));
}

#[tokio::test]
async fn a_question_that_was_repeated_was_asked_when_it_was_answered() {
    let chat = server().await;
    add(&chat, "g", crowd("Public", 3));
    let before = SystemTime::now();
    chat.script("get_role_in_group", Script::first(vec![Fault::Code(10002); 4]));
    let asked_at = api(&chat).until(soon()).roles("g", &["a"]).await.unwrap().asked_at;
    // Four waits of at least 100, 200, 400 and 800 ms, less the second that a Date header rounds off.
    assert!(asked_at >= before + Duration::from_millis(400), "{:?}", asked_at.duration_since(before));
}

#[tokio::test]
async fn no_error_shows_the_user_sig_or_the_key() {
    let chat = server().await;
    let answers =
        [(302, ""), (404, "no"), (500, "no"), (200, "<html>"), (200, r#"{"ErrorCode":0,"Next":{}}"#)];
    let answers = answers.map(|(status, body)| Fault::Answer(status, body.to_owned()));
    for fault in answers.into_iter().chain([Fault::Hang, Fault::Code(70003), Fault::Code(1)]) {
        chat.script("get_appid_group_list", Script::always(fault.clone()));
        let api = impatient(&chat);
        let error = api.until(Instant::now() + Duration::from_millis(400)).groups(0, 10).await.unwrap_err();
        let text = format!("{error} {error:?} {}", error_chain(&error));
        // Each UserSig is zlib in base64: it begins with what the header of zlib encodes to.
        for secret in ["usersig=", "eJ", "eNo", "eAE", KEY, "random="] {
            assert!(!text.contains(secret), "{fault:?}: {secret} in {text}");
        }
    }
}
