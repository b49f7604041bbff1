//! How long to wait before the next attempt to reach the agent.

use std::time::Duration;

/// Doubles from `first` up to `most`, each time taking a random part off the delay: the sidecars
/// of a node must not come back to a restarted agent all at once.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// `random` is in `0.0..1.0`. The delay lies between half of the step and the whole of it,
    /// and never below the first step.
    pub(super) fn delay(&mut self, random: f64) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        step.mul_f64(random.clamp(0.0, 1.0).mul_add(0.5, 0.5)).max(self.first)
    }

    /// After success.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const FIRST: Duration = Duration::from_millis(200);
    const MOST: Duration = Duration::from_secs(10);

    #[test]
    fn delays_double_up_to_the_most_and_start_over_after_success() {
        let mut backoff = Backoff::new(FIRST, MOST);
        let delays: Vec<_> = (0..8).map(|_| backoff.delay(1.0).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
        backoff.reset();
        assert_eq!(backoff.delay(1.0), FIRST);
    }

    proptest! {
        #[test]
        fn a_delay_is_never_shorter_than_the_first_nor_longer_than_the_most(
            randoms in proptest::collection::vec(0.0..1.0_f64, 1..40),
        ) {
            let mut backoff = Backoff::new(FIRST, MOST);
            for random in randoms {
                let delay = backoff.delay(random);
                prop_assert!((FIRST..=MOST).contains(&delay));
            }
        }
    }
}
