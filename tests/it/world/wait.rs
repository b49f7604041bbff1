//! Waiting for something to become true: never longer than a limit, never just for a while.

use std::time::{Duration, Instant};

/// Long enough for a busy machine, short enough that a hang is told.
pub const LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds something; fails with `what` after the limit.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The same for a plain condition.
pub async fn holds(what: &str, condition: impl Fn() -> bool) {
    until(what, async || condition().then_some(())).await;
}

/// The outcome of `future`, which has to come within the limit.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
