//! UserSig (TLSSigAPIv2): the signature of a request to Chat's REST API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::json;
use sha2::Sha256;

/// zlib's own default.
const COMPRESSION_LEVEL: u8 = 6;

/// The application's secret key, ready to sign. Its `Debug` does not show it: that of [`Hmac`] doesn't.
#[derive(Debug, Clone)]
pub struct SecretKey(Hmac<Sha256>);

impl SecretKey {
    /// Takes the key's characters as they stand in the console; `None` if there are none.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        Hmac::new_from_slice(text.as_bytes()).ok().map(Self)
    }

    /// Signs as this account. `time` is in seconds since the Unix epoch, `expire` the validity in seconds.
    pub(super) fn user_sig(&self, sdk_app_id: u64, identifier: &str, time: u64, expire: u64) -> String {
        let text = format!(
            "TLS.identifier:{identifier}\nTLS.sdkappid:{sdk_app_id}\nTLS.time:{time}\nTLS.expire:{expire}\n"
        );
        let claims = json!({
            "TLS.ver": "2.0", "TLS.identifier": identifier, "TLS.sdkappid": sdk_app_id,
            "TLS.expire": expire, "TLS.time": time,
            "TLS.sig": STANDARD.encode(self.0.clone().chain_update(text).finalize().into_bytes()),
        });
        let zlib = compress_to_vec_zlib(claims.to_string().as_bytes(), COMPRESSION_LEVEL);
        // With characters that need no escape in a URL, but others than those of the standard's URL alphabet.
        STANDARD.encode(zlib).replace('+', "*").replace('/', "-").replace('=', "_")
    }
}

/// The claims of a UserSig.
#[cfg(test)]
#[expect(clippy::unwrap_used)]
pub(super) fn inflated(user_sig: &str) -> serde_json::Value {
    let base64 = user_sig.replace('*', "+").replace('-', "/").replace('_', "=");
    let zlib = STANDARD.decode(base64).unwrap();
    serde_json::from_slice(&miniz_oxide::inflate::decompress_to_vec_zlib(&zlib).unwrap()).unwrap()
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

    fn user_sig(identifier: &str) -> String {
        let key = SecretKey::new(KEY).unwrap();
        key.user_sig(1_400_000_000, identifier, 1_700_000_000, 15_552_000)
    }

    #[test]
    fn the_vendors_vector_is_met() {
        assert_eq!(
            inflated(&user_sig("xiaojun")),
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
            let user_sig = user_sig(&format!("account \"{account}\""));
            let plain = |c: char| c.is_ascii_alphanumeric() || "*-_".contains(c);
            assert!(user_sig.chars().all(plain), "{user_sig}");
            assert_eq!(inflated(&user_sig)["TLS.identifier"], format!("account \"{account}\""));
        }
    }

    #[test]
    fn no_debug_shows_the_key() {
        let (key, other) = (SecretKey::new(KEY).unwrap(), SecretKey::new("another").unwrap());
        // Neither the text nor anything that depends on it.
        assert_eq!(format!("{key:?}"), format!("{other:?}"));
        assert!(!format!("{key:?}").contains(KEY));
    }

    #[test]
    fn an_empty_key_is_none() {
        assert!(SecretKey::new("").is_none());
    }
}
