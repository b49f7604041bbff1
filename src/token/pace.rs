//! When to ask again: ahead of time while all is well, ever later while it is not, and never all
//! sidecars in the same second.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
/// A server that names a longer time is asked again after this.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(300);

const FRESH_LEAST: Duration = Duration::from_secs(60);
const FRESH_MOST: Duration = Duration::from_secs(3600);
const FRESH_UNTOLD: Duration = Duration::from_secs(300);

/// Nothing that succeeds is asked for again sooner.
const PAUSE: Duration = Duration::from_secs(1);
/// So long before its end a token is given up: it must still hold when it arrives.
pub(super) const MARGIN: Duration = Duration::from_secs(5);

/// The wall clock may jump, and timers do not: it is looked at this often.
const GLANCE: Duration = Duration::from_secs(30);

/// A number in `0.0..1.0`, by which delays differ.
pub(super) type Random = fn() -> f64;

/// Doubles from a second to a minute while nothing succeeds.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// Up to a quarter is taken off the step at random. What the server asked for is the least.
    pub(crate) fn delay(&mut self, random: f64, retry_after: Option<Duration>) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(MOST);
        let drawn = step.mul_f64(1.0 - 0.25 * unit(random));
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
        drawn.max(asked.mul_f64(1.0 + 0.1 * unit(random)))
    }

    /// After success.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// How long an answer may be used before it is asked for anew.
pub(super) fn fresh_for(max_age: Option<Duration>) -> Duration {
    max_age.unwrap_or(FRESH_UNTOLD).clamp(FRESH_LEAST, FRESH_MOST)
}

/// How long nobody else may have us ask again.
pub(super) fn quiet_for(least: Duration, retry_after: Option<Duration>) -> Duration {
    least.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MOST))
}

/// When to refresh what is good for `fresh`: between 70 % and 80 % of it.
pub(super) fn refresh_in(fresh: Duration, random: f64) -> Duration {
    fresh.mul_f64(0.8 - 0.1 * unit(random)).max(PAUSE)
}

/// When to renew a token that lives for `life`: between 60 % and two thirds of it, and at least five
/// seconds before we would give it up if it lives long enough for that.
pub(super) fn renew_in(life: Duration, random: f64) -> Duration {
    let share = life.mul_f64(2.0 / 3.0 - unit(random) / 15.0);
    share.min(life.saturating_sub(MARGIN * 2)).max(PAUSE)
}

/// When to try again after a failure, so that `left` of the token in hand is enough for another
/// attempt.
pub(super) fn retry_in(delay: Duration, left: Option<Duration>) -> Duration {
    left.map_or(delay, |left| delay.min((left / 2).max(PAUSE)))
}

fn unit(random: f64) -> f64 {
    random.clamp(0.0, 1.0)
}

/// Without a time it never is. Cancel safe.
pub(super) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Resolves when it should be looked at again what is left; never where there is no end. Cancel safe.
pub(super) async fn glance(left: Option<Duration>) {
    match left {
        Some(left) => sleep(left.min(GLANCE)).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_double_from_a_second_to_a_minute_and_start_over_after_success() {
        let mut backoff = Backoff::new();
        let delays: Vec<_> = (0..8).map(|_| backoff.delay(0.0, None).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.delay(0.0, None), s(1));
    }

    #[test]
    fn a_server_that_names_a_time_is_heeded_within_reason() {
        assert_eq!(Backoff::new().delay(0.0, Some(s(30))), s(30));
        assert_eq!(Backoff::new().delay(0.0, Some(s(3600))), RETRY_AFTER_MOST);
        assert_eq!(Backoff::new().delay(0.0, Some(s(0))), s(1));
        assert_eq!(quiet_for(s(10), Some(s(30))), s(30));
        assert_eq!(quiet_for(s(10), None), s(10));
    }

    #[test]
    fn answers_are_fresh_for_as_long_as_they_say_between_a_minute_and_an_hour() {
        assert_eq!(fresh_for(None), s(300));
        assert_eq!(fresh_for(Some(s(0))), s(60));
        assert_eq!(fresh_for(Some(s(1800))), s(1800));
        assert_eq!(fresh_for(Some(s(86400))), s(3600));
    }

    #[test]
    fn a_token_is_renewed_at_two_thirds_of_its_life_or_well_before_its_end() {
        assert_eq!(renew_in(s(3600), 0.0).as_secs(), 2400);
        assert_eq!(renew_in(s(15), 0.0), s(5));
        assert_eq!(renew_in(s(3), 0.0), s(1));
    }

    #[test]
    fn no_sleep_goes_past_half_of_what_is_left() {
        assert_eq!(retry_in(s(60), Some(s(20))), s(10));
        assert_eq!(retry_in(s(4), Some(s(20))), s(4));
        assert_eq!(retry_in(s(60), Some(s(0))), s(1));
        assert_eq!(retry_in(s(60), None), s(60));
    }

    proptest! {
        #[test]
        fn everything_is_asked_for_ahead_of_its_end_and_never_without_a_pause(
            seconds in 60_u64..100_000, random in 0.0..1.0_f64,
        ) {
            let whole = s(seconds);
            let refresh = refresh_in(whole, random);
            prop_assert!(refresh >= whole.mul_f64(0.69) && refresh <= whole.mul_f64(0.801));
            let renew = renew_in(whole, random);
            prop_assert!(renew >= PAUSE && renew <= whole.mul_f64(0.667));
        }

        #[test]
        fn a_delay_stays_between_three_quarters_of_its_step_and_the_step(
            randoms in proptest::collection::vec(0.0..1.0_f64, 1..20),
        ) {
            let mut backoff = Backoff::new();
            let mut step = FIRST;
            for random in randoms {
                let delay = backoff.delay(random, None);
                prop_assert!(delay <= step && delay >= step.mul_f64(0.749));
                step = (step * 2).min(MOST);
            }
        }
    }
}
