//! Bytes from one stream to another and back, with half-close, for raw TCP and upgraded HTTP.
//!
//! All connections of a worker share one read buffer: an idle connection holds none, and only a
//! connection whose far side is slower than its near side owns the bytes that wait.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::pages::from_middle_of_page;

const BUFFER_BYTES: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes carried so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    pub forth: u64,
    pub back: u64,
}

/// How a splice came to its end.
#[derive(Debug)]
pub enum SpliceEnd {
    /// Both sides said that they were done.
    Finished,
    /// Nothing moved for the idle limit.
    Idle,
    /// The side named tore the connection, or broke its protocol.
    Near(io::Error),
    Far(io::Error),
}

/// Carries bytes both ways until both directions have ended, one side fails, or nothing has moved
/// for `idle`. The end of one direction is passed on, and the other goes on.
pub async fn splice<N, F>(near: &mut N, far: &mut F, idle: Duration) -> (Flow, SpliceEnd)
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let mut forth = Direction::default();
    let mut back = Direction::default();
    let mut last_moved = Instant::now();
    let mut moved = 0;
    let mut timer = pin!(sleep_until(last_moved + idle));

    let end = poll_fn(|cx| {
        let forth_done = match forth.poll(cx, near, far) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(SpliceEnd::Near(error)),
            Poll::Ready(Err(Broken::Sink(error))) => return Poll::Ready(SpliceEnd::Far(error)),
            Poll::Pending => false,
        };
        let back_done = match back.poll(cx, far, near) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(SpliceEnd::Far(error)),
            Poll::Ready(Err(Broken::Sink(error))) => return Poll::Ready(SpliceEnd::Near(error)),
            Poll::Pending => false,
        };
        if forth_done && back_done {
            return Poll::Ready(SpliceEnd::Finished);
        }
        if forth.bytes + back.bytes != moved {
            moved = forth.bytes + back.bytes;
            last_moved = Instant::now();
        }
        // The timer is not moved with each byte: when it rings, it is set to what is left.
        while timer.as_mut().poll(cx).is_ready() {
            if last_moved.elapsed() >= idle {
                return Poll::Ready(SpliceEnd::Idle);
            }
            timer.as_mut().reset(last_moved + idle);
        }
        Poll::Pending
    })
    .await;
    (Flow { forth: forth.bytes, back: back.bytes }, end)
}

/// One direction of a splice.
#[derive(Debug, Default)]
struct Direction {
    state: State,
    bytes: u64,
    /// Something was written since the last flush.
    unflushed: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Reading,
    /// The sink took less than was read; these are the bytes left, from the offset on.
    Writing(Vec<u8>, usize),
    Ending,
    Done,
}

enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Direction {
    fn poll<S, K>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut K,
    ) -> Poll<Result<(), Broken>>
    where
        S: AsyncRead + Unpin,
        K: AsyncWrite + Unpin,
    {
        loop {
            match &mut self.state {
                State::Reading => match self.carry(cx, source, sink) {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending => {
                        if self.unflushed {
                            ready!(Pin::new(sink).poll_flush(cx)).map_err(Broken::Sink)?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                },
                State::Writing(left, offset) => {
                    let rest = left.get(*offset..).unwrap_or_default();
                    if rest.is_empty() {
                        self.state = State::Reading;
                        continue;
                    }
                    let written =
                        ready!(Pin::new(&mut *sink).poll_write(cx, rest)).map_err(Broken::Sink)?;
                    if written == 0 {
                        return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
                    }
                    *offset += written;
                    self.bytes += written as u64;
                }
                State::Ending => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Broken::Sink)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// One read into the worker's buffer and the writes that follow from it.
    fn carry<S, K>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut K,
    ) -> Poll<Result<(), Broken>>
    where
        S: AsyncRead + Unpin,
        K: AsyncWrite + Unpin,
    {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(from_middle_of_page(buffer, BUFFER_BYTES));
            ready!(Pin::new(source).poll_read(cx, &mut read)).map_err(Broken::Source)?;
            let mut rest = read.filled();
            if rest.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            self.unflushed = true;
            while !rest.is_empty() {
                match Pin::new(&mut *sink).poll_write(cx, rest).map_err(Broken::Sink)? {
                    Poll::Ready(0) => {
                        return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
                    }
                    Poll::Ready(written) => {
                        self.bytes += written as u64;
                        rest = rest.get(written..).unwrap_or_default();
                    }
                    Poll::Pending => {
                        self.state = State::Writing(rest.to_vec(), 0);
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const PLENTY: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_side_may_end_and_still_hear_the_other() {
        let (mut client, mut near) = duplex(64);
        let (mut far, mut server) = duplex(64);
        let carrying = tokio::spawn(async move { splice(&mut near, &mut far, PLENTY).await });

        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");

        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");

        let (flow, end) = carrying.await.unwrap();
        assert!(matches!(end, SpliceEnd::Finished));
        assert_eq!(flow, Flow { forth: 8, back: 6 });
    }

    #[tokio::test]
    async fn bytes_that_a_slow_side_leaves_are_kept_in_order() {
        let (mut client, mut near) = duplex(100_000);
        let (mut far, mut server) = duplex(7);
        let carrying = tokio::spawn(async move { splice(&mut near, &mut far, PLENTY).await });
        let sent: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
        client.write_all(&sent).await.unwrap();
        drop(client);
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, sent);
        drop(server);
        carrying.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_past_the_limit_ends_it_and_traffic_puts_that_off() {
        let (mut client, mut near) = duplex(64);
        let (mut far, mut server) = duplex(64);
        let began = Instant::now();
        let carrying =
            tokio::spawn(async move { splice(&mut near, &mut far, Duration::from_secs(10)).await });
        tokio::time::sleep(Duration::from_secs(6)).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        let (_, end) = carrying.await.unwrap();
        assert!(matches!(end, SpliceEnd::Idle));
        assert_eq!(began.elapsed().as_secs(), 16);
    }
}
