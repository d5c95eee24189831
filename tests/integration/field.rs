//! Callbacks as they occur in the field, right and wrong: each line of `field-cases.jsonl` through every gateway's form.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chat_groups::callback::Token;
use chat_groups::gateway::Request;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::harness::{TOKEN, Table, send_at};

/// After every EventTime of the cases.
const NOW: u64 = 1_720_061_900;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    /// `{SIGN}` stands for Sign and RequestTime.
    query: String,
    body: Option<String>,
    body_base64: Option<String>,
    expect_status: u16,
    expect_code: u64,
    /// The key of an item and attributes that it has.
    expect_item: Option<Map<String, Value>>,
    /// No item has this `pk`.
    absent_pk: Option<String>,
    #[serde(rename = "why")]
    _why: String,
}

impl Case {
    fn query(&self) -> String {
        let sign = Token::new(TOKEN).unwrap().sign(&NOW.to_string());
        self.query.replace("{SIGN}", &format!("Sign={sign}&RequestTime={NOW}"))
    }

    fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(base64)) => BASE64_STANDARD.decode(base64).unwrap(),
            _ => panic!("{}: expected one body", self.id),
        }
    }

    /// The request as each gateway hands it over: in base64 where the body is no text, as gateways do.
    fn events(&self) -> Vec<(&'static str, Value)> {
        let query = self.query();
        let mut decoded = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            add(&mut decoded, &name, &value);
        }
        let mut raw = Map::new();
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            add(&mut raw, name, value);
        }
        let context = json!({ "http": { "method": "POST", "path": "/" }, "stage": "$default" });
        let alb = json!({ "elb": { "targetGroupArn": "arn" } });
        let mut events = vec![
            (
                "HTTP API",
                json!({ "version": "2.0", "rawQueryString": query, "requestContext": context, "headers": { "host": "example.com" } }),
            ),
            ("Function URL", json!({ "rawQueryString": query, "requestContext": context, "headers": null })),
            (
                "REST API",
                json!({ "httpMethod": "POST", "multiValueQueryStringParameters": decoded, "requestContext": {}, "headers": {} }),
            ),
            (
                "load balancer",
                json!({ "httpMethod": "POST", "queryStringParameters": last(&raw), "requestContext": alb, "headers": { "host": null } }),
            ),
            (
                "load balancer, several values",
                json!({ "httpMethod": "POST", "multiValueQueryStringParameters": raw, "requestContext": alb, "multiValueHeaders": {} }),
            ),
        ];
        let body = self.body();
        for (_, event) in &mut events {
            let text = String::from_utf8(body.clone());
            event["isBase64Encoded"] = text.is_err().into();
            event["body"] = text.unwrap_or_else(|_| BASE64_STANDARD.encode(&body)).into();
        }
        events
    }
}

fn add(parameters: &mut Map<String, Value>, name: &str, value: &str) {
    let values = parameters.entry(name).or_insert_with(|| json!([]));
    values.as_array_mut().unwrap().push(value.into());
}

/// The last value of each parameter, which is all that a load balancer hands over by default.
fn last(parameters: &Map<String, Value>) -> Map<String, Value> {
    let last = |(name, values): (&String, &Value)| {
        (name.clone(), values.as_array().unwrap().last().unwrap().clone())
    };
    parameters.iter().map(last).collect()
}

#[tokio::test]
async fn each_case_of_the_field_is_answered_and_stored_as_it_must_be() {
    let cases = include_str!("../field-cases.jsonl").lines().map(serde_json::from_str::<Case>);
    let cases: Vec<Case> = cases.collect::<Result<_, _>>().unwrap();
    assert_eq!(cases.len(), 27);
    for case in cases {
        for (form, event) in case.events() {
            let table = Table::start().await;
            let webhook = table.webhook_with(&[("KEEP_CLIENT_IP", "true")]);
            let request = Request::read(&serde_json::value::to_raw_value(&event).unwrap()).unwrap();
            assert_eq!(request.body, case.body());
            let answered = send_at(&webhook, &request, UNIX_EPOCH + Duration::from_secs(NOW)).await;
            let named = format!("{}, {form}: {answered:?}", case.id);
            assert_eq!(answered.codes(), (case.expect_status, case.expect_code), "{named}");
            let items = table.items().await;
            if let Some(expected) = &case.expect_item {
                let key = ["pk", "sk"].map(|name| expected[name].as_str().unwrap().to_owned());
                let item = items.get(&key.into()).unwrap_or_else(|| panic!("{named}"));
                for (name, value) in expected {
                    assert_eq!(item.get(name), Some(value), "{name}, {named}");
                }
            }
            let is_absent = |absent: &String| items.keys().all(|(pk, _)| pk != absent);
            assert!(case.absent_pk.as_ref().is_none_or(is_absent), "{named}");
            assert!(items.values().all(|item| item["account"] != "@TLS#NOT_FOUND"), "{named}");
        }
    }
}
