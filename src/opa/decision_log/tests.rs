//! What is counted of events that cannot be made.

use super::*;

#[tokio::test]
async fn whoever_dies_over_a_line_has_lost_it_and_those_after_it() {
    let all = settled(3, |count| count.store(3, Ordering::Relaxed)).await;
    assert_eq!(all, 0);
    let some = settled(3, |count| {
        count.fetch_add(1, Ordering::Relaxed);
        panic!("over the second line");
    });
    assert_eq!(some.await, 2);
}
