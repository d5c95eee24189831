use super::*;
use crate::time::from_millis;

#[test]
fn a_url_is_https_or_http_nearby() {
    for url in [
        "https://example.com",
        "https://example.com:8443/hook?tenant=a",
        "http://127.0.0.1:8080/",
        "http://[::1]:8080/",
        "http://localhost/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://[fd00::1]/",
    ] {
        assert!(ForwardUrl::new(url).is_some(), "{url}");
    }
    for url in [
        "",
        "example.com",
        "http://example.com/",
        "http://8.8.8.8/",
        "http://169.254.169.254/",
        "ftp://localhost/",
        "https://user:password@example.com/",
        "https://example.com/#part",
        "https:///path",
        "https://example.com:99999/",
        "https://example.com:/",
        "https://[::1/",
        "https://exa mple.com/",
        "/path",
    ] {
        assert!(ForwardUrl::new(url).is_none(), "{url}");
    }
}

#[test]
fn the_callbacks_query_is_added_to_the_urls_own() {
    for (url, expected) in [
        ("https://a.b", "https://a.b?x=1"),
        ("https://a.b/?", "https://a.b/?x=1"),
        ("https://a.b/c?d=e", "https://a.b/c?d=e&x=1"),
    ] {
        assert_eq!(ForwardUrl::new(url).map(|url| url.with_query("x=1")).as_deref(), Some(expected));
    }
}

#[test]
fn a_query_that_no_url_can_hold_is_escaped_and_any_other_is_not() {
    assert_eq!(escape("a=%20+&&b={|}'^`\\"), "a=%20+&&b={|}'^`\\");
    let escaped = escape("team=red team&q=\"<é>\"#\n");
    assert_eq!(escaped, "team=red%20team&q=%22%3C%C3%A9%3E%22%23%0A");
    assert!(http::parse(&format!("https://example.com/?{escaped}")).is_some());
}

#[test]
fn a_late_callback_is_signed_anew() {
    let query = Query::parse("CallbackCommand=a&RequestTime=5&SdkAppid=1&Sign=old");
    let now = from_millis(1_669_872_112_999);
    let sign = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";
    assert_eq!(
        late_query(&query, Token::new("xxxxyyyy").as_ref(), now),
        format!("CallbackCommand=a&SdkAppid=1&RequestTime=1669872112&Sign={sign}")
    );
    assert_eq!(late_query(&query, None, now), "CallbackCommand=a&SdkAppid=1");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_the_whole_interval_is_not_followed_by_the_next() {
    let breaker = Breaker::default();
    for _ in 0..MAX_TIMEOUTS + 2 {
        assert!(breaker.enter().is_ok());
        tokio::time::advance(PROBE_INTERVAL).await;
        breaker.leave(true);
        if breaker.lock().timeouts >= MAX_TIMEOUTS {
            assert!(matches!(breaker.enter(), Err(ForwardError::Skipped)));
            tokio::time::advance(PROBE_INTERVAL).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_three_timeouts_one_callback_a_second_gets_through_until_one_is_answered() {
    let breaker = Breaker::default();
    for _ in 0..MAX_TIMEOUTS {
        assert!(breaker.enter().is_ok());
        breaker.leave(true);
    }
    for _ in 0..3 {
        assert!(matches!(breaker.enter(), Err(ForwardError::Skipped)));
        tokio::time::advance(PROBE_INTERVAL).await;
        assert!(breaker.enter().is_ok());
        assert!(matches!(breaker.enter(), Err(ForwardError::Skipped)));
        breaker.leave(true);
    }
    tokio::time::advance(PROBE_INTERVAL).await;
    assert!(breaker.enter().is_ok());
    breaker.leave(false);
    for _ in 0..MAX_TIMEOUTS {
        assert!(breaker.enter().is_ok());
    }
}
