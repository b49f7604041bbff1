//! What the process does about memory that it needs no longer.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::sleep;

const EVERY: Duration = Duration::from_secs(1);
/// More than the allocator takes from what it has cut into pieces.
const LARGE: usize = 1 << 20;

/// Lets the allocator give back what has been free for a while. It looks for that when a large
/// piece is freed, and at no other time: did nobody ask, what many connections needed for a moment
/// would stay ours until the next rush.
pub(super) async fn give_back_memory() {
    loop {
        sleep(EVERY).await;
        // Nobody writes to it, so it takes none.
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
