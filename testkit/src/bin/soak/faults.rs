//! What breaks, at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_groups_testkit::proxy::{Fault, Proxy, Script};
use fastrand::Rng;

/// Breaks table, queue and bus for a while, heals them for a while, until it is aborted.
pub async fn break_at_random([table, queue, bus]: [Proxy; 3], mut rng: Rng, faults: Arc<AtomicUsize>) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..1500))).await;
        table.set(script(&mut rng));
        for other in [&queue, &bus] {
            if rng.u32(..4) == 0 {
                other.set(script(&mut rng));
            }
        }
        faults.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.u64(50..1000))).await;
        for proxy in [&table, &queue, &bus] {
            proxy.set(Script::always(Fault::None));
        }
    }
}

fn script(rng: &mut Rng) -> Script {
    let fault = match rng.u32(..12) {
        0 => Fault::Delay(Duration::from_millis(rng.u64(50..500))),
        1 => Fault::Delay(Duration::from_millis(rng.u64(500..2500))),
        2 => Fault::Hang,
        3 => Fault::ResetBefore,
        4 => Fault::ResetAfter,
        5 | 6 => Fault::LoseAnswer,
        7 => Fault::CloseAfter,
        8 => Fault::error("ProvisionedThroughputExceededException"),
        9 => Fault::Answer(500, "InternalServerError"),
        10 => Fault::Answer(503, "<html>"),
        _ => Fault::Answer(200, "<html>"),
    };
    // For every request, or only for some of them.
    match rng.bool() {
        true => Script::always(fault),
        false => Script {
            first: (0..200).map(|_| if rng.bool() { fault } else { Fault::None }).collect(),
            then: Fault::None,
        },
    }
}
