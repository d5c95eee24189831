//! UserSig (TLSSigAPIv2): what a request to Chat's REST API is signed with.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde::Serialize;
use sha2::Sha256;

/// How long a UserSig is valid: the vendor's advice.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// How long before its end a UserSig is replaced, so that none expires on its way.
const MARGIN: Duration = Duration::from_secs(600);

/// zlib's own default.
const COMPRESSION_LEVEL: u8 = 6;

/// The application's secret key, ready to sign. Its `Debug` does not show it.
#[derive(Clone)]
pub struct SecretKey(Hmac<Sha256>);

impl SecretKey {
    /// Takes the key's characters as they stand in the console; `None` if there are none.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        Hmac::new_from_slice(text.as_bytes()).ok().map(Self)
    }

    fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.0.clone().chain_update(text).finalize().into_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

/// Signs for one account, and keeps the UserSig until shortly before it expires.
#[derive(Debug)]
pub struct Signer {
    sdk_app_id: u64,
    identifier: String,
    secret_key: SecretKey,
    current: Mutex<Option<UserSig>>,
}

impl Signer {
    /// Signs as this account of the application.
    pub fn new(sdk_app_id: u64, identifier: String, secret_key: SecretKey) -> Self {
        Self { sdk_app_id, identifier, secret_key, current: Mutex::default() }
    }

    /// The application.
    pub fn sdk_app_id(&self) -> u64 {
        self.sdk_app_id
    }

    /// The account.
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The UserSig to use at this time.
    pub fn user_sig(&self, now: SystemTime) -> String {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(user_sig) if user_sig.is_fresh(now) => user_sig.text.clone(),
            _ => current.insert(self.sign(now)).text.clone(),
        }
    }

    fn sign(&self, now: SystemTime) -> UserSig {
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        UserSig { text: encode(&self.claims(time, VALIDITY.as_secs())), signed_at: now }
    }

    fn claims(&self, time: u64, expire: u64) -> Claims<'_> {
        let Self { sdk_app_id, identifier, .. } = self;
        let text = format!(
            "TLS.identifier:{identifier}\nTLS.sdkappid:{sdk_app_id}\nTLS.time:{time}\nTLS.expire:{expire}\n"
        );
        Claims {
            ver: "2.0",
            identifier,
            sdkappid: *sdk_app_id,
            expire,
            time,
            sig: self.secret_key.sign(&text),
        }
    }
}

/// A UserSig as it stands in a URL. Its `Debug` does not show it.
struct UserSig {
    text: String,
    signed_at: SystemTime,
}

impl UserSig {
    /// Not if the clock was set back: Chat may refuse a time that lies ahead.
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.signed_at).is_ok_and(|age| age < VALIDITY - MARGIN)
    }
}

impl fmt::Debug for UserSig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSig").field("signed_at", &self.signed_at).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "TLS.ver")]
    ver: &'static str,
    #[serde(rename = "TLS.identifier")]
    identifier: &'a str,
    #[serde(rename = "TLS.sdkappid")]
    sdkappid: u64,
    #[serde(rename = "TLS.expire")]
    expire: u64,
    #[serde(rename = "TLS.time")]
    time: u64,
    #[serde(rename = "TLS.sig")]
    sig: String,
}

/// Base64 with characters that need no escape in a URL, but others than those of the standard's URL alphabet.
fn encode(claims: &Claims<'_>) -> String {
    // A struct of strings and numbers can't fail to serialize.
    let json = serde_json::to_vec(claims).unwrap_or_default();
    let base64 = STANDARD.encode(compress_to_vec_zlib(&json, COMPRESSION_LEVEL));
    base64.replace('+', "*").replace('/', "-").replace('=', "_")
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use miniz_oxide::inflate::decompress_to_vec_zlib;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

    fn signer(identifier: &str) -> Signer {
        Signer::new(1_400_000_000, identifier.to_owned(), SecretKey::new(KEY).unwrap())
    }

    fn inflated(user_sig: &str) -> Value {
        let base64 = user_sig.replace('*', "+").replace('-', "/").replace('_', "=");
        serde_json::from_slice(&decompress_to_vec_zlib(&STANDARD.decode(base64).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn the_vendors_vector_is_met() {
        let signer = signer("xiaojun");
        assert_eq!(
            inflated(&encode(&signer.claims(1_700_000_000, 15_552_000))),
            json!({
                "TLS.ver": "2.0", "TLS.identifier": "xiaojun", "TLS.sdkappid": 1_400_000_000,
                "TLS.expire": 15_552_000, "TLS.time": 1_700_000_000,
                "TLS.sig": "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4=",
            })
        );
    }

    #[test]
    fn a_user_sig_needs_no_escape_in_a_url() {
        for account in 0..100 {
            let user_sig = signer(&format!("account \"{account}\"")).user_sig(SystemTime::now());
            let plain = |c: char| c.is_ascii_alphanumeric() || "*-_".contains(c);
            assert!(user_sig.chars().all(plain), "{user_sig}");
            assert_eq!(inflated(&user_sig)["TLS.identifier"], format!("account \"{account}\""));
        }
    }

    #[test]
    fn a_user_sig_is_used_until_shortly_before_it_expires() {
        let signer = signer("admin");
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let signed_at = |after: Duration| {
            let claims = inflated(&signer.user_sig(start + after));
            assert_eq!(claims["TLS.expire"], 86_400);
            claims["TLS.time"].as_u64().unwrap() - 1_700_000_000
        };
        assert_eq!(signed_at(Duration::ZERO), 0);
        assert_eq!(signed_at(Duration::from_secs(85_799)), 0);
        assert_eq!(signed_at(Duration::from_secs(85_800)), 85_800);
        // The clock was set back.
        assert_eq!(signed_at(Duration::from_secs(100)), 100);
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let signer = signer("admin");
        let user_sig = signer.user_sig(SystemTime::now());
        let text = format!("{signer:?} {:?}", signer.secret_key);
        assert!(!text.contains(KEY) && !text.contains(&user_sig) && !text.contains("eJ"), "{text}");
    }

    #[test]
    fn an_empty_key_is_none() {
        assert!(SecretKey::new("").is_none());
    }
}
