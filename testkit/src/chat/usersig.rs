//! Whether a call is the admin's: its URL parameters, and the UserSig among them.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use miniz_oxide::inflate::decompress_to_vec_zlib;
use serde_json::Value;
use sha2::Sha256;

use super::{Application, Refusal};

/// Checks the parameters of a call, in the order in which the vendor's codes go deeper.
pub(super) fn check(query: &str, application: &Application) -> Result<(), Refusal> {
    let parameters: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let parameter = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    if parameter("contenttype") != "json" || parameter("random").parse::<u32>().is_err() {
        return Err((60002, "HTTP request URL is malformed"));
    }
    if parameter("sdkappid") != application.sdk_app_id.to_string() {
        return Err((60006, "SDKAppID is invalid"));
    }
    let claims = claims(parameter("usersig")).ok_or((70003, "UserSig can't be decoded"))?;
    if claims["TLS.identifier"] != parameter("identifier") {
        return Err((70013, "identifier is not the one of the UserSig"));
    }
    if claims["TLS.sdkappid"] != application.sdk_app_id {
        return Err((70014, "SDKAppID is not the one of the UserSig"));
    }
    if !is_genuine(&claims, &application.secret_key) {
        return Err((70009, "UserSig can't be verified"));
    }
    if is_expired(&claims) {
        return Err((70001, "UserSig is expired"));
    }
    match parameter("identifier") == application.admin_account {
        true => Ok(()),
        false => Err((60010, "request requires the App admin's permission")),
    }
}

fn claims(user_sig: &str) -> Option<Value> {
    let base64 = user_sig.replace('*', "+").replace('-', "/").replace('_', "=");
    let json = decompress_to_vec_zlib(&STANDARD.decode(base64).ok()?).ok()?;
    let claims: Value = serde_json::from_slice(&json).ok()?;
    (claims["TLS.ver"] == "2.0").then_some(claims)
}

fn is_genuine(claims: &Value, secret_key: &str) -> bool {
    let text = format!(
        "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
        claims["TLS.identifier"].as_str().unwrap_or_default(),
        claims["TLS.sdkappid"],
        claims["TLS.time"],
        claims["TLS.expire"],
    );
    let sig = claims["TLS.sig"].as_str().and_then(|sig| STANDARD.decode(sig).ok()).unwrap_or_default();
    Hmac::<Sha256>::new_from_slice(secret_key.as_bytes())
        .is_ok_and(|mac| mac.chain_update(text).verify_slice(&sig).is_ok())
}

fn is_expired(claims: &Value) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let number = |name: &str| claims[name].as_u64().unwrap_or_default();
    number("TLS.time").saturating_add(number("TLS.expire")) <= now
}
