//! Looking up names, the first of them before it is asked for.
//!
//! It takes a thread, as getaddrinfo waits, and on Lambda a question to a name server. Begun at the start, it runs
//! beside all that comes before the first connection.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

/// What was found ahead is not used after this: the time to live of DynamoDB's addresses.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Looks names up by the system's rules.
#[derive(Debug, Clone)]
pub struct Resolver {
    ahead: Arc<Mutex<Option<Ahead>>>,
}

/// A lookup that was begun before it was asked for. It is used once: should it fail, the next attempt looks anew.
#[derive(Debug)]
struct Ahead {
    host: String,
    begun: Instant,
    lookup: Lookup,
}

type Lookup = JoinHandle<io::Result<Vec<IpAddr>>>;

impl Resolver {
    /// Begins to look up the host of a URL, where that is a name. Needs a Tokio runtime to run in.
    pub fn ahead(host: &str) -> Self {
        let is_name = !host.is_empty() && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
        let ahead =
            is_name.then(|| Ahead { host: host.to_owned(), begun: Instant::now(), lookup: look_up(host) });
        Self { ahead: Arc::new(Mutex::new(ahead)) }
    }
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let lookup = match ahead.take_if(|ahead| ahead.host == name) {
            Some(ahead) if ahead.begun.elapsed() < TIME_TO_LIVE => ahead.lookup,
            _ => look_up(name),
        };
        DnsFuture::new(async { lookup.await.map_err(ResolveDnsError::new)?.map_err(ResolveDnsError::new) })
    }
}

fn look_up(name: &str) -> Lookup {
    let name = name.to_owned();
    spawn_blocking(move || Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// One that has found an address for "localhost" that no other lookup would.
    fn with_ahead() -> Resolver {
        let lookup = tokio::spawn(async { Ok(vec![ELSEWHERE]) });
        let ahead = Ahead { host: "localhost".to_owned(), begun: Instant::now(), lookup };
        Resolver { ahead: Arc::new(Mutex::new(Some(ahead))) }
    }

    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn what_was_looked_up_ahead_is_used_once() {
        let resolver = with_ahead();
        assert_eq!(resolver.clone().resolve_dns("localhost").await.unwrap(), [ELSEWHERE]);
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
    }

    #[tokio::test]
    async fn it_is_for_that_name_alone() {
        let resolver = with_ahead();
        assert_eq!(resolver.resolve_dns("127.0.0.1").await.unwrap(), [HERE]);
        assert_eq!(resolver.resolve_dns("localhost").await.unwrap(), [ELSEWHERE]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_used_when_it_is_old() {
        let resolver = with_ahead();
        tokio::time::advance(TIME_TO_LIVE).await;
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
    }

    #[tokio::test]
    async fn a_name_is_looked_up_ahead_and_an_address_is_not() {
        let resolver = Resolver::ahead("localhost");
        assert!(resolver.ahead.lock().unwrap().is_some());
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
        for address in ["127.0.0.1", "[::1]", ""] {
            assert!(Resolver::ahead(address).ahead.lock().unwrap().is_none(), "{address:?}");
        }
    }
}
