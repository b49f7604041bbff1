//! Where questions are answered that take too long for a worker: on threads beside, few at once, so
//! that whoever asks them waits and nobody else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::budget::Budget;

/// Evaluations at once, of all workers together.
const AT_ONCE: usize = 2;
/// Questions that wait for their turn. At the limit of time for each, that is under two seconds.
const WAITING: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// Cheap to clone; all clones share their bounds.
#[derive(Debug, Clone)]
pub struct Aside {
    shared: Arc<Shared>,
    /// How long room is waited for.
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    /// Whose threads for blocking work are used; `None`: those of whoever asks.
    threads: Option<Handle>,
    /// Room for those that run and those that wait.
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    asked: AtomicU64,
    refused: AtomicU64,
}

/// Why a question was not even asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the policy is too slow: too many questions wait for it already")]
pub struct Busy;

impl Aside {
    /// On the threads of `runtime`, which has to outlive those who ask.
    pub fn new(runtime: Handle) -> Self {
        Self::on(Some(runtime))
    }

    fn on(threads: Option<Handle>) -> Self {
        let shared = Shared {
            threads,
            room: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            asked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), patience: Duration::ZERO }
    }

    /// For those who can wait for a while before there is room: what is open already goes on
    /// meanwhile, and is not to be ended because much has to be judged again at once.
    pub fn patiently(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), patience: PATIENCE }
    }

    /// What `question` comes to, given a budget that begins with its turn. It is refused at once where
    /// too many wait, and never asked if whoever asks goes away before.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Budget) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let shared = &*self.shared;
        let room = match Arc::clone(&shared.room).try_acquire_owned() {
            Err(_) if !self.patience.is_zero() => {
                let room = Arc::clone(&shared.room).acquire_owned();
                timeout(self.patience, room).await.ok().and_then(Result::ok)
            }
            room => room.ok(),
        };
        let Some(room) = room else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Busy);
        };
        // Nobody closes the semaphore; if it were closed, nothing more could be asked.
        let turn = Arc::clone(&shared.turns).acquire_owned().await.or(Err(Busy))?;
        shared.asked.fetch_add(1, Ordering::Relaxed);
        let places: [OwnedSemaphorePermit; 2] = [room, turn];
        // The places are given up when the answer is there, whether or not anybody still waits.
        let answer = move || {
            let answer = question(Budget::whole());
            drop(places);
            answer
        };
        let answered = match &shared.threads {
            Some(threads) => threads.spawn_blocking(answer),
            None => tokio::task::spawn_blocking(answer),
        };
        // A panic on the way, or the end of the program: there is no answer to rely on.
        answered.await.or(Err(Busy))
    }

    /// Questions asked so far, and those that were refused for want of room.
    pub fn counts(&self) -> (u64, u64) {
        let Shared { asked, refused, .. } = &*self.shared;
        (asked.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }
}

impl Default for Aside {
    /// On the threads of the runtime that asks.
    fn default() -> Self {
        Self::on(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn few_run_at_once_some_wait_and_more_are_refused() {
        let aside = Aside::default();
        let (started, starts) = mpsc::channel();
        let mut ends = Vec::new();
        let mut asked = Vec::new();
        for number in 0..AT_ONCE + WAITING {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let (aside, started) = (aside.clone(), started.clone());
            asked.push(tokio::spawn(async move {
                let question = move |_| {
                    started.send(number).unwrap();
                    ended.recv().ok();
                    number
                };
                aside.ask(question).await
            }));
            tokio::task::yield_now().await;
        }
        assert_eq!(aside.ask(|_| 0).await, Err(Busy));
        let mut patient = Box::pin({
            let aside = aside.patiently();
            async move { aside.ask(|_| 1).await }
        });
        assert!(waits(&mut patient).await);
        let mut running: Vec<_> = (0..AT_ONCE).map(|_| starts.recv().unwrap()).collect();
        running.sort_unstable();
        assert_eq!(running, [0, 1], "in the order in which they came");
        assert!(starts.try_recv().is_err(), "no more than that at once");
        drop(ends);
        for (number, asked) in asked.into_iter().enumerate() {
            assert_eq!(asked.await.unwrap(), Ok(number));
        }
        assert_eq!(patient.await, Ok(1));
        assert_eq!(aside.ask(|_| 7).await, Ok(7));
        assert_eq!(aside.counts(), (AT_ONCE as u64 + WAITING as u64 + 2, 1));
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_leaves_room_and_is_not_answered() {
        let aside = Aside::default();
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        let mut running = Vec::new();
        for _ in 0..AT_ONCE {
            let (aside, ended) = (aside.clone(), Arc::clone(&ended));
            let question = move |_| ended.lock().unwrap().recv().is_ok();
            running.push(tokio::spawn(async move { aside.ask(question).await }));
            tokio::task::yield_now().await;
        }
        for _ in 0..10 * WAITING {
            let mut waiting = Box::pin(aside.ask(|_| panic!("it has gone away")));
            assert!(waits(&mut waiting).await, "it has to wait");
        }
        drop(end);
        for running in running {
            assert_eq!(running.await.unwrap(), Ok(false));
        }
    }

    /// Polls once; whether it waits.
    async fn waits<T>(future: &mut (impl Future<Output = Result<T, Busy>> + Unpin)) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }
}
