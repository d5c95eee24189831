//! Looking up names, the first of them before it is asked for.
//!
//! It takes a thread, as getaddrinfo waits, and on Lambda a question to a name server. Begun at the start, it runs
//! beside all that comes before the first connection.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

/// What was found before it was asked for is not used after this: the time to live of DynamoDB's addresses.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Looks names up by the system's rules. Needs a Tokio runtime to run in.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    begun: Arc<Mutex<Option<Begun>>>,
}

/// A lookup that nobody asked for yet. It is used once: should it fail, the next attempt looks anew.
#[derive(Debug)]
struct Begun {
    host: String,
    at: Instant,
    lookup: Lookup,
}

type Lookup = JoinHandle<io::Result<Vec<IpAddr>>>;

impl Resolver {
    /// Begins to look up the host of a URL, where that is a name.
    pub fn begin(&self, host: &str) {
        if !host.is_empty() && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err() {
            *self.begun() = Some(Begun { host: host.to_owned(), at: Instant::now(), lookup: look_up(host) });
        }
    }

    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        let lookup = match self.begun().take_if(|begun| begun.host == name) {
            Some(begun) if begun.at.elapsed() < TIME_TO_LIVE => begun.lookup,
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
    fn begun() -> Resolver {
        let lookup = tokio::spawn(async { Ok(vec![ELSEWHERE]) });
        let begun = Begun { host: "localhost".to_owned(), at: Instant::now(), lookup };
        Resolver { begun: Arc::new(Mutex::new(Some(begun))) }
    }

    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn what_was_begun_is_used_once() {
        let resolver = begun();
        assert_eq!(resolver.clone().resolve_dns("localhost").await.unwrap(), [ELSEWHERE]);
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
    }

    #[tokio::test]
    async fn it_is_for_that_name_alone() {
        let resolver = begun();
        assert_eq!(resolver.resolve_dns("127.0.0.1").await.unwrap(), [HERE]);
        assert_eq!(resolver.resolve_dns("localhost").await.unwrap(), [ELSEWHERE]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_used_when_it_is_old() {
        let resolver = begun();
        tokio::time::advance(TIME_TO_LIVE).await;
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_an_address_is_not() {
        let resolver = Resolver::default();
        for address in ["127.0.0.1", "[::1]", ""] {
            resolver.begin(address);
            assert!(resolver.begun().is_none(), "{address:?}");
        }
        resolver.begin("localhost");
        assert!(resolver.begun().is_some());
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
        assert!(resolver.begun().is_none());
    }
}
