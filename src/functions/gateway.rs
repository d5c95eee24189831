//! The events of the HTTP gateways, and their responses.

use std::panic::catch_unwind;

use lambda_http::aws_lambda_events::alb::AlbTargetGroupResponse;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::http::{Method, Response};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};
use serde::Serialize;
use serde_json::value::RawValue;

/// Reads the event of an HTTP API, a Function URL, a REST API or a load balancer.
///
/// lambda_http panics on an invalid URL (a bare `"` in the query, an odd Host). Anybody can send one, and nobody should
/// be able to make the function fail: it becomes a POST without any parameters, which is refused.
pub fn request(event: &RawValue) -> Result<Request, serde_json::Error> {
    let text = event.get();
    catch_unwind(|| lambda_http::request::from_str(text)).unwrap_or_else(|_| {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::POST;
        Ok(request)
    })
}

/// A response in the form of the gateway that sent the request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum GatewayResponse {
    /// For an HTTP API, a Function URL or a REST API.
    Api(ApiGatewayProxyResponse),
    /// For a load balancer.
    Alb(AlbTargetGroupResponse),
}

impl GatewayResponse {
    /// Takes over the response to `request`.
    pub fn new(request: &Request, response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let status_code = i64::from(parts.status.as_u16());
        if let Some(RequestContext::Alb(_)) = request.request_context_ref() {
            let mut answer = AlbTargetGroupResponse::default();
            answer.status_code = status_code;
            answer.status_description = Some(parts.status.to_string());
            // Which of the two it reads is a setting of its target group.
            answer.headers = parts.headers.clone();
            answer.multi_value_headers = parts.headers;
            answer.body = Some(body);
            Self::Alb(answer)
        } else {
            let mut answer = ApiGatewayProxyResponse::default();
            answer.status_code = status_code;
            answer.headers = parts.headers;
            answer.body = Some(body);
            Self::Api(answer)
        }
    }
}
