//! DNS lookups, with one prefetch.
//!
//! A lookup takes a thread, as getaddrinfo blocks, and on Lambda a question to a name server. The prefetch runs beside
//! all that comes before the first connection.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

/// A prefetched answer expires after this: the time to live of DynamoDB's addresses.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Looks names up by the system's rules. Needs a Tokio runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver {
    prefetch: Arc<Mutex<Option<Prefetch>>>,
}

/// A lookup that nobody asked for yet. It is used once: if it fails, the next attempt makes one of its own.
#[derive(Debug)]
struct Prefetch {
    host: String,
    started_at: Instant,
    lookup: Lookup,
}

type Lookup = JoinHandle<io::Result<Vec<IpAddr>>>;

impl Resolver {
    /// Starts to look up the host of a URL, if that is a name.
    pub(crate) fn prefetch(&self, host: &str) {
        if !host.is_empty() && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err() {
            let prefetch =
                Prefetch { host: host.to_owned(), started_at: Instant::now(), lookup: look_up(host) };
            *self.lock() = Some(prefetch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Prefetch>> {
        self.prefetch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        let lookup = match self.lock().take_if(|prefetch| prefetch.host == name) {
            Some(prefetch) if prefetch.started_at.elapsed() < TIME_TO_LIVE => prefetch.lookup,
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
    fn prefetched() -> Resolver {
        let lookup = tokio::spawn(async { Ok(vec![ELSEWHERE]) });
        let prefetch = Prefetch { host: "localhost".to_owned(), started_at: Instant::now(), lookup };
        Resolver { prefetch: Arc::new(Mutex::new(Some(prefetch))) }
    }

    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_prefetched_answer_is_used_once() {
        let resolver = prefetched();
        assert_eq!(resolver.clone().resolve_dns("localhost").await.unwrap(), [ELSEWHERE]);
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
    }

    #[tokio::test]
    async fn a_prefetched_answer_is_for_that_name_alone() {
        let resolver = prefetched();
        assert_eq!(resolver.resolve_dns("127.0.0.1").await.unwrap(), [HERE]);
        assert_eq!(resolver.resolve_dns("localhost").await.unwrap(), [ELSEWHERE]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefetched_answer_expires() {
        let resolver = prefetched();
        tokio::time::advance(TIME_TO_LIVE).await;
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_an_address_is_not() {
        let resolver = Resolver::default();
        for address in ["127.0.0.1", "[::1]", ""] {
            resolver.prefetch(address);
            assert!(resolver.lock().is_none(), "{address:?}");
        }
        resolver.prefetch("localhost");
        assert!(resolver.lock().is_some());
        assert!(resolver.resolve_dns("localhost").await.unwrap().contains(&HERE));
        assert!(resolver.lock().is_none());
    }
}
