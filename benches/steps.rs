//! The steps of a callback that take CPU of ours: read the event, verify, parse, build the items.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use group_created::callback::{Delivery, Query};
use group_created::gateway;
use group_created::group::GroupCreated;
use group_created::item;
use group_created::signature::{Token, Unsigned, Verifier};
use serde_json::json;
use serde_json::value::RawValue;

const SIZES: [usize; 4] = [2, 20, 99, 500];
const NOW: u64 = 1_669_872_112;

fn body(members: usize) -> Vec<u8> {
    let member = |number| json!({ "Member_Account": format!("user-{number:04}") });
    let body = json!({
        "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": "@TGS#2J4SZEAEL", "Type": "Public",
        "Name": "MyFirstGroup", "Operator_Account": "group_root", "Owner_Account": "user-0000",
        "UserDefinedDataList": [{ "Key": "UserDefined1", "Value": "hello" }], "EventTime": "1670574414123",
        "MemberList": (0..members).map(member).collect::<Vec<_>>(),
    });
    body.to_string().into_bytes()
}

fn delivery() -> Delivery {
    Delivery {
        sdk_app_id: 1_400_000_001,
        client_ip: Some("203.0.113.7".to_owned()),
        opt_platform: Some("RESTAPI".to_owned()),
        request_id: Some("3847361294-144115212345678901-0".to_owned()),
        request_time: Some(NOW),
        received_at: NOW * 1000,
    }
}

fn steps(criterion: &mut Criterion) {
    let event: Box<RawValue> =
        serde_json::from_str(include_str!("../events/http-api.json")).unwrap_or_default();
    criterion.bench_function("gateway event", |bencher| bencher.iter(|| gateway::request(black_box(&event))));

    let verifier = Verifier {
        tokens: ["xxxxyyyy", "another"].into_iter().filter_map(Token::new).collect(),
        unsigned: Unsigned::Refused,
        max_age_seconds: 60,
    };
    let query = "CallbackCommand=Group.CallbackAfterCreateGroup&ClientIP=203.0.113.7&OptPlatform=RESTAPI\
                 &RequestTime=1669872112&SdkAppid=1400000001&contenttype=json\
                 &Sign=17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";
    criterion.bench_function("verify", |bencher| {
        bencher.iter(|| {
            let query = Query::parse(black_box(query));
            verifier.verify(query.sign().ok()?, query.request_time().ok()?, NOW).ok()
        });
    });

    for members in SIZES {
        let body = body(members);
        criterion.bench_function(&format!("parse, {members} members"), |bencher| {
            bencher.iter_with_setup(delivery, |delivery| GroupCreated::parse(black_box(&body), delivery));
        });
        let Ok(event) = GroupCreated::parse(&body, delivery()) else {
            continue;
        };
        criterion.bench_function(&format!("items, {members} members"), |bencher| {
            bencher.iter(|| {
                let members = event.members.keys().map(|account| item::member(&event, account));
                (item::group(&event), members.collect::<Vec<_>>())
            });
        });
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
