//! The exchanges of one connection that have not come to their end.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cord::Cord;

/// Below this many, those that have ended are not looked for.
const FEW: usize = 16;

/// Costs a short exchange no more than a place in a list, which it need not give back itself.
#[derive(Debug, Default)]
pub(super) struct OpenExchanges {
    list: RefCell<Vec<Weak<Cord>>>,
    /// There is one for whose sake the time has to be watched.
    timed: Notify,
    time_is_watched: Cell<bool>,
}

impl OpenExchanges {
    /// `timed`: it may have to end although no rule changes.
    pub(super) fn add(&self, cord: &Rc<Cord>, timed: bool) {
        let mut list = self.list.borrow_mut();
        // One after the other, they share one place.
        while list.last().is_some_and(|last| last.strong_count() == 0) {
            list.pop();
        }
        if list.len() >= FEW && list.len() == list.capacity() {
            list.retain(|cord| cord.strong_count() > 0);
        }
        list.push(Rc::downgrade(cord));
        if timed && !self.time_is_watched.get() {
            self.timed.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().iter().all(|cord| cord.strong_count() == 0)
    }

    /// Those that have been open for at least this long.
    pub(super) fn for_at_least(&self, time: Duration) -> Vec<Rc<Cord>> {
        let now = Instant::now();
        let is_old = |cord: &Rc<Cord>| {
            cord.admission().is_some_and(|it| now.saturating_duration_since(it.began) >= time)
        };
        self.list.borrow().iter().filter_map(Weak::upgrade).filter(is_old).collect()
    }

    /// By whoever waits for [`Self::timed`]: then nobody has to be told.
    pub(super) fn time_is_watched(&self, is_watched: bool) {
        self.time_is_watched.set(is_watched);
    }

    /// Resolves when one was added that depends on the time.
    pub(super) async fn timed(&self) {
        self.timed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(open: &OpenExchanges) -> usize {
        open.list.borrow().len()
    }

    #[test]
    fn exchanges_one_after_the_other_share_a_place() {
        let open = OpenExchanges::default();
        for _ in 0..100 {
            let cord = Cord::new();
            open.add(&cord, false);
            assert!(!open.is_empty());
            drop(cord);
            assert!(open.is_empty());
        }
        assert_eq!(kept(&open), 1);
    }

    #[test]
    fn the_list_grows_with_what_is_open_and_not_with_what_was() {
        let open = OpenExchanges::default();
        let lasting = Cord::new();
        for number in 0..10_000 {
            let cord = Cord::new();
            open.add(&cord, false);
            // In the way of taking the last place.
            if number % 100 == 0 {
                open.add(&lasting, false);
            }
        }
        assert!(kept(&open) < 400, "{}", kept(&open));
        assert!(!open.is_empty());
    }
}
