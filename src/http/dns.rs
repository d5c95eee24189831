//! DNS lookups, with one prefetch.
//!
//! A lookup takes a thread, as getaddrinfo blocks, and on Lambda a question to a name server. The prefetch runs beside
//! all that comes before the first connection.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tower_service::Service;

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

type Lookup = JoinHandle<io::Result<vec::IntoIter<SocketAddr>>>;

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

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = match self.lock().take_if(|prefetch| prefetch.host == name.as_str()) {
            Some(prefetch) if prefetch.started_at.elapsed() < TIME_TO_LIVE => prefetch.lookup,
            _ => look_up(name.as_str()),
        };
        Box::pin(async { lookup.await? })
    }
}

fn look_up(name: &str) -> Lookup {
    let name = name.to_owned();
    spawn_blocking(move || (name.as_str(), 0).to_socket_addrs())
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// One that has found an address for "localhost" that no other lookup would.
    fn prefetched() -> Resolver {
        let lookup = tokio::spawn(async { Ok(vec![SocketAddr::new(ELSEWHERE, 0)].into_iter()) });
        let prefetch = Prefetch { host: "localhost".to_owned(), started_at: Instant::now(), lookup };
        Resolver { prefetch: Arc::new(Mutex::new(Some(prefetch))) }
    }

    /// The addresses that a name is resolved to.
    async fn resolve(resolver: &Resolver, name: &str) -> Vec<IpAddr> {
        let addresses = resolver.clone().call(name.parse().unwrap()).await.unwrap();
        addresses.map(|address| address.ip()).collect()
    }

    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_prefetched_answer_is_used_once() {
        let resolver = prefetched();
        assert_eq!(resolve(&resolver, "localhost").await, [ELSEWHERE]);
        assert!(resolve(&resolver, "localhost").await.contains(&HERE));
    }

    #[tokio::test]
    async fn a_prefetched_answer_is_for_that_name_alone() {
        let resolver = prefetched();
        assert_eq!(resolve(&resolver, "127.0.0.1").await, [HERE]);
        assert_eq!(resolve(&resolver, "localhost").await, [ELSEWHERE]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefetched_answer_expires() {
        let resolver = prefetched();
        tokio::time::advance(TIME_TO_LIVE).await;
        assert!(resolve(&resolver, "localhost").await.contains(&HERE));
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
        assert!(resolve(&resolver, "localhost").await.contains(&HERE));
        assert!(resolver.lock().is_none());
    }
}
