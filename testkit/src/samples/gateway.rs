//! One callback in the forms of the four gateways.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::query_string;

fn headers(host: &str) -> Value {
    json!({
        "accept": "*/*", "content-type": "application/json", "host": host, "x-forwarded-for": "203.0.113.80",
        "x-forwarded-port": "443", "x-forwarded-proto": "https",
    })
}

pub fn base64(mut event: Value) -> Value {
    let body = event["body"].as_str().unwrap_or_default();
    event["body"] = BASE64_STANDARD.encode(body).into();
    event["isBase64Encoded"] = true.into();
    event
}

/// HTTP API, payload format 2.0.
pub fn http_api(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    payload_2("example.execute-api.eu-west-1.amazonaws.com", "POST /", parameters, body)
}

pub fn function_url(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    payload_2("example.lambda-url.eu-west-1.on.aws", "$default", parameters, body)
}

fn payload_2(host: &str, route: &str, parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": route,
        "rawPath": "/",
        "rawQueryString": query_string(parameters),
        "headers": headers(host),
        "queryStringParameters": parameters,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": host,
            "domainPrefix": "example",
            "http": {
                "method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.80",
                "userAgent": "example",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": route,
            "stage": "$default",
            "time": "01/Dec/2022:05:21:52 +0000",
            "timeEpoch": 1_669_872_112_000_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// REST API, payload format 1.0.
pub fn rest_api(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    let host = "example.execute-api.eu-west-1.amazonaws.com";
    let several = |values: &Value| -> Value {
        let entries = values.as_object().into_iter().flatten();
        entries.map(|(name, value)| (name.clone(), json!([value]))).collect::<serde_json::Map<_, _>>().into()
    };
    json!({
        "resource": "/",
        "path": "/",
        "httpMethod": "POST",
        "headers": headers(host),
        "multiValueHeaders": several(&headers(host)),
        "queryStringParameters": parameters,
        "multiValueQueryStringParameters": several(&json!(parameters)),
        "pathParameters": null,
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": host,
            "domainPrefix": "example",
            "extendedRequestId": "JKJaXmPLvHcESHA=",
            "httpMethod": "POST",
            "identity": { "sourceIp": "203.0.113.80", "userAgent": "example" },
            "path": "/prod/",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "requestTime": "01/Dec/2022:05:21:52 +0000",
            "requestTimeEpoch": 1_669_872_112_000_u64,
            "resourceId": "abcdef",
            "resourcePath": "/",
            "stage": "prod",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// Application Load Balancer: its parameters stay percent-encoded.
pub fn alb(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    let encoded: BTreeMap<&str, String> = parameters
        .iter()
        .map(|(name, value)| (*name, form_urlencoded::byte_serialize(value.as_bytes()).collect()))
        .collect();
    json!({
        "requestContext": {
            "elb": {
                "targetGroupArn":
                    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/example/49e9d65c45c6791a",
            },
        },
        "httpMethod": "POST",
        "path": "/",
        "queryStringParameters": encoded,
        "headers": headers("callbacks.example.com"),
        "body": body,
        "isBase64Encoded": false,
    })
}
