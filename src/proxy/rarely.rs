//! A wait that stands beside something busy, and is only looked at when it has been woken itself.
//!
//! A connection is polled several times for each request. What may end it, some timers and news of
//! our identity, would be asked each time, and each time have nothing to say.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls `future` first, and then after each time that it was woken.
#[derive(Debug)]
pub(super) struct Rarely<F> {
    future: F,
    bell: Arc<Bell>,
    own: Waker,
    /// Whom the bell wakes.
    told: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> Rarely<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::default() });
        let own = Waker::from(Arc::clone(&bell));
        Self { future, bell, own, told: None }
    }
}

impl<F: Future + Unpin> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if !this.told.as_ref().is_some_and(|told| told.will_wake(cx.waker())) {
            this.told = Some(cx.waker().clone());
            this.bell.task(|task| task.clone_from(&this.told));
        }
        // After the waker is in its place: whoever rang before is seen here, who rings later wakes.
        if !this.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.own))
    }
}

impl Bell {
    fn task<T>(&self, with: impl FnOnce(&mut Option<Waker>) -> T) -> T {
        with(&mut self.task.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task(|task| task.clone());
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test]
    async fn it_is_asked_once_and_then_only_when_it_has_news() {
        let (send, mut receive) = oneshot::channel::<u8>();
        let asked = Rc::new(Cell::new(0));
        let counter = Rc::clone(&asked);
        let mut rarely = Rarely::new(poll_fn(move |cx| {
            counter.set(counter.get() + 1);
            Pin::new(&mut receive).poll(cx)
        }));
        for _ in 0..10 {
            tokio::select! {
                biased;
                _ = &mut rarely => panic!("nothing was sent"),
                () = yield_now() => {}
            }
        }
        assert_eq!(asked.get(), 1);
        send.send(7).unwrap();
        assert_eq!(rarely.await, Ok(7));
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_wakes_whoever_waits_beside_it() {
        let began = Instant::now();
        Rarely::new(pin!(sleep(Duration::from_secs(5)))).await;
        assert_eq!(began.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn whoever_takes_it_over_is_woken() {
        let (send, receive) = oneshot::channel();
        let mut rarely = Rarely::new(receive);
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut rarely).poll(cx).is_pending())).await;
        assert!(first);
        let later = tokio::spawn(rarely);
        yield_now().await;
        send.send(()).unwrap();
        assert_eq!(later.await.unwrap(), Ok(()));
    }
}
