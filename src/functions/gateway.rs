//! The events of the HTTP gateways, and their responses.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::callback::{Fields, JsonName};
use crate::forward::LOOP_HEADER;

/// A request, as far as a callback needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method, as sent.
    pub method: String,
    /// The query string, raw.
    pub query: String,
    /// The body as received.
    pub body: Vec<u8>,
    /// Whether this service itself has forwarded it.
    pub has_loop_header: bool,
    /// The gateway that sent it.
    pub gateway: Gateway,
}

/// A kind of gateway, which has its own forms of events and responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// An HTTP API or a Function URL: payload format 2.0.
    HttpApi,
    /// A REST API: payload format 1.0.
    RestApi,
    /// An Application Load Balancer.
    Alb,
}

impl Request {
    /// A POST, as an HTTP API would hand it over.
    pub fn post(query: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let (method, query, body) = ("POST".to_owned(), query.into(), body.into());
        Self { method, query, body, has_loop_header: false, gateway: Gateway::HttpApi }
    }

    /// Reads a gateway's event; `None` for any other payload, which names no HTTP method. Nothing else in it can be so wrong
    /// that the callback is lost.
    pub fn read(event: &RawValue) -> Option<Self> {
        let mut event = Fields::parse(event.get()).ok()?;
        let mut context = object(event.take("requestContext"));
        let (method, gateway) = match object(context.take("http")).take("method") {
            Some(method) => (method, Gateway::HttpApi),
            None if context.take("elb").is_some() => (event.take("httpMethod")?, Gateway::Alb),
            None => (event.take("httpMethod")?, Gateway::RestApi),
        };
        Some(Self {
            method: text(method)?.into_owned(),
            query: query(&mut event, gateway),
            body: body(&mut event),
            has_loop_header: ["headers", "multiValueHeaders"].into_iter().any(|headers| {
                object(event.take(headers)).rest().any(|(name, _)| name.eq_ignore_ascii_case(LOOP_HEADER))
            }),
            gateway,
        })
    }
}

/// The query string as it came. A REST API hands over decoded parameters alone, a load balancer raw ones.
fn query(event: &mut Fields<'_>, gateway: Gateway) -> String {
    if let Some(query) = event.take("rawQueryString").and_then(text) {
        return query.into_owned();
    }
    let mut parameters = object(event.take("multiValueQueryStringParameters"));
    if !parameters.has_rest() {
        parameters = object(event.take("queryStringParameters"));
    }
    let encode = |text: &str| match gateway {
        Gateway::Alb => text.to_owned(),
        Gateway::HttpApi | Gateway::RestApi => form_urlencoded::byte_serialize(text.as_bytes()).collect(),
    };
    let pairs = parameters.rest().flat_map(|(name, values)| {
        let values = serde_json::from_str(values.get()).unwrap_or_else(|_| vec![values]);
        let values = values.into_iter().map(|value| text(value).unwrap_or_default());
        values.map(|value| format!("{}={}", encode(&name), encode(&value))).collect::<Vec<_>>()
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The body's bytes. One that is said to be base64 and is not is taken as it is.
fn body(event: &mut Fields<'_>) -> Vec<u8> {
    let Some(body) = event.take("body") else { return Vec::new() };
    let body = text(body).unwrap_or(body.get().into());
    let is_base64 = event.take("isBase64Encoded").is_some_and(|raw| raw.get() == "true");
    let decoded = is_base64.then(|| BASE64_STANDARD.decode(&*body).ok()).flatten();
    decoded.unwrap_or_else(|| body.into_owned().into_bytes())
}

/// The fields of an object; none of anything else.
fn object(raw: Option<&RawValue>) -> Fields<'_> {
    raw.and_then(|raw| Fields::parse(raw.get()).ok()).unwrap_or_default()
}

/// A string; a lone surrogate in it becomes U+FFFD.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let is_string = raw.get().starts_with('"');
    if is_string { JsonName::deserialize(raw).ok().map(|text| text.0) } else { None }
}

/// A response in the form of the gateway that sent the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayResponse {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    headers: BTreeMap<String, String>,
    multi_value_headers: BTreeMap<String, [String; 1]>,
    body: String,
    is_base64_encoded: bool,
}

impl GatewayResponse {
    /// Takes over the response to a request of this gateway.
    pub fn new(gateway: Gateway, response: Response<String>) -> Self {
        let (parts, body) = response.into_parts();
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers: BTreeMap<_, _> = parts.headers.iter().filter_map(header).collect();
        // A setting of its target group decides which of the two a load balancer reads.
        let multi_value_headers = headers.clone().into_iter().filter(|_| gateway == Gateway::Alb);
        Self {
            status_code: parts.status.as_u16(),
            status_description: (gateway == Gateway::Alb).then(|| parts.status.to_string()),
            multi_value_headers: multi_value_headers.map(|(name, value)| (name, [value])).collect(),
            headers,
            body,
            is_base64_encoded: false,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn read(event: &Value) -> Option<Request> {
        Request::read(&to_raw_value(event).unwrap())
    }

    /// An event of each gateway with nothing in it that can be left out, and these fields.
    fn minimal(gateway: Gateway, fields: &Value) -> Request {
        let mut event = match gateway {
            Gateway::HttpApi => json!({ "requestContext": { "http": { "method": "POST" } } }),
            Gateway::RestApi => json!({ "httpMethod": "POST" }),
            Gateway::Alb => json!({ "httpMethod": "POST", "requestContext": { "elb": {} } }),
        };
        for (name, value) in fields.as_object().unwrap() {
            event[name] = value.clone();
        }
        let request = read(&event).unwrap();
        assert_eq!((request.method.as_str(), request.gateway), ("POST", gateway), "{event}");
        request
    }

    const ALL: [Gateway; 3] = [Gateway::HttpApi, Gateway::RestApi, Gateway::Alb];

    #[test]
    fn a_payload_that_is_no_gateway_event_is_none() {
        for payload in [
            json!(null),
            json!("ping"),
            json!([]),
            json!({}),
            json!({ "key1": "value1" }),
            json!({ "httpMethod": null }),
            json!({ "httpMethod": 7, "requestContext": { "elb": {} } }),
            json!({ "requestContext": "POST", "body": "{}" }),
            json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} }),
            json!({ "Records": [{ "body": "{}" }] }),
        ] {
            assert_eq!(read(&payload), None, "{payload}");
        }
    }

    #[test]
    fn a_part_that_is_missing_null_or_of_another_type_costs_nothing() {
        let names = [
            "rawQueryString",
            "body",
            "isBase64Encoded",
            "headers",
            "multiValueHeaders",
            "cookies",
            "rawPath",
        ];
        let names = names.into_iter().chain(["queryStringParameters", "multiValueQueryStringParameters"]);
        for gateway in ALL {
            let empty = minimal(gateway, &json!({}));
            assert_eq!(
                (empty.query.as_str(), empty.body.as_slice(), empty.has_loop_header),
                ("", &b""[..], false)
            );
            for name in names.clone() {
                assert_eq!(minimal(gateway, &json!({ name: null })), empty, "{name}");
                minimal(gateway, &json!({ name: [1, { "a": null }] }));
            }
            let headers = json!({ "headers": { "host": null, "a\n": "\u{0}", "": [] } });
            assert_eq!(minimal(gateway, &headers), empty);
        }
    }

    #[test]
    fn a_raw_query_string_is_taken_as_it_came() {
        for query in ["", "a=1&b", "team=red team&q=\"<é\u{0}>&%zz&&#x?=", " "] {
            let fields = json!({ "rawQueryString": query, "queryStringParameters": { "a": "other" } });
            assert_eq!(minimal(Gateway::HttpApi, &fields).query, query);
        }
    }

    #[test]
    fn a_query_string_is_put_together_again_from_its_parameters() {
        let fields = json!({
            "queryStringParameters": { "b": "last", "a b": "+/" },
            "multiValueQueryStringParameters": { "b": ["first & é", "last"], "a b": ["+/"], "empty": [""], "null": [null] },
        });
        let (several, single) = ("a+b=%2B%2F&b=first+%26+%C3%A9&b=last&empty=&null=", "a+b=%2B%2F&b=last");
        assert_eq!(minimal(Gateway::RestApi, &fields).query, several);
        for none in [json!(null), json!({})] {
            let mut fields = fields.clone();
            fields["multiValueQueryStringParameters"] = none;
            assert_eq!(minimal(Gateway::RestApi, &fields).query, single);
        }
        // A load balancer decodes nothing.
        let fields = json!({ "queryStringParameters": { "b": "first%20%26", "a%20b": "red team", "c": "" } });
        assert_eq!(minimal(Gateway::Alb, &fields).query, "a%20b=red team&b=first%20%26&c=");
        let fields = json!({ "multiValueQueryStringParameters": { "b": ["%2B", "+"] } });
        assert_eq!(minimal(Gateway::Alb, &fields).query, "b=%2B&b=+");
    }

    #[test]
    fn a_body_is_decoded_if_it_is_base64_and_said_to_be() {
        for gateway in ALL {
            for (body, is_base64, expected) in [
                (json!("eyJhIjoxfQ=="), json!(true), &b"{\"a\":1}"[..]),
                (json!("eyJhIjoxfQ=="), json!(false), b"eyJhIjoxfQ=="),
                (json!("eyJhIjoxfQ=="), json!(null), b"eyJhIjoxfQ=="),
                (json!("{\"a\":1}"), json!(true), b"{\"a\":1}"),
                (json!("eyJhIjoxfQ"), json!(true), b"eyJhIjoxfQ"),
                (json!("/wA="), json!(true), b"\xff\0"),
                (json!("é\u{0}\n"), json!(false), "é\u{0}\n".as_bytes()),
                (json!({ "a": 1 }), json!(false), b"{\"a\":1}"),
            ] {
                let request = minimal(gateway, &json!({ "body": body, "isBase64Encoded": is_base64 }));
                assert_eq!(request.body, expected, "{body}");
            }
        }
    }

    #[test]
    fn the_loop_header_is_found_in_any_case_and_form() {
        for gateway in ALL {
            for headers in [
                json!({ "headers": { "host": "h", "X-Chat-Groups-Forwarded": "1" } }),
                json!({ "headers": null, "multiValueHeaders": { "x-chat-groups-forwarded": ["1"] } }),
            ] {
                assert!(minimal(gateway, &headers).has_loop_header, "{headers}");
            }
            assert!(!minimal(gateway, &json!({ "headers": { "x-chat-groups": "1" } })).has_loop_header);
        }
    }
}
