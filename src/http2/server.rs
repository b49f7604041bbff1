//! The side that accepts: each stream is one task, from its head to the end of its answer.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{self, Connection, Handshake, SendResponse};
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tokio::time::{Instant, Sleep, sleep};

use super::cork::{Cork, Corked};
use super::error::StreamError;
use super::heads::{Names, complete_response};
use super::keep_alive::KeepAlive;
use super::pipe::Pipe;
use super::received::Received;
use super::{LAST_CALL, Limits};

/// Streams that a client has opened and reset before they were looked at.
const MOST_RESET_EARLY: usize = 20;
/// Streams that we had to reset for what the client sent on them.
const MOST_ERRORS: usize = 256;

/// A connection at work: resolves when it has come to its end.
#[derive(Debug)]
pub struct Accepted<T, H>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    state: State<T>,
    cork: Cork<T>,
    answer: H,
    names: Rc<Names>,
    retired: bool,
}

#[derive(Debug)]
enum State<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Until the client has begun to speak, or has had its time.
    Greeting(Box<Handshake<Corked<T>, Bytes>>, Pin<Box<Sleep>>),
    Serving(Box<Connection<Corked<T>, Bytes>>, Option<KeepAlive>),
}

/// Serves an HTTP/2 connection; `answer` is called for each request of it.
pub fn accept<T, H>(stream: T, limits: Limits, answer: H) -> Accepted<T, H>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, cork) = Cork::new(stream);
    let greeting = server::Builder::new()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_pending_accept_reset_streams(MOST_RESET_EARLY)
        .max_local_error_reset_streams(Some(MOST_ERRORS))
        .handshake(stream);
    let state = State::Greeting(Box::new(greeting), Box::pin(sleep(limits.greeting)));
    Accepted { state, cork, answer, names: Rc::default(), retired: false }
}

impl<T, H> Accepted<T, H>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Takes nothing new from now on, and ends when what runs has come to its end.
    pub fn retire(mut self: Pin<&mut Self>)
    where
        H: Unpin,
    {
        self.retired = true;
        match &mut self.state {
            State::Greeting(_, patience) => {
                let last = Instant::now() + LAST_CALL;
                if last < patience.deadline() {
                    patience.as_mut().reset(last);
                }
            }
            State::Serving(connection, _) => connection.graceful_shutdown(),
        }
    }
}

impl<T, H, F, B> Accepted<T, H>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: FnMut(Request<Received>) -> F,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Error + 'static,
{
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let State::Greeting(greeting, patience) = &mut self.state {
            let Poll::Ready(greeted) = Pin::new(greeting).poll(cx) else {
                return patience.as_mut().poll(cx).map(Ok);
            };
            let mut connection = greeted?;
            if self.retired {
                connection.graceful_shutdown();
            }
            let keep_alive = connection.ping_pong().map(KeepAlive::new);
            self.state = State::Serving(Box::new(connection), keep_alive);
        }
        let State::Serving(connection, keep_alive) = &mut self.state else {
            return Poll::Pending;
        };
        while let Poll::Ready(accepted) = connection.poll_accept(cx) {
            let Some(accepted) = accepted else { return Poll::Ready(Ok(())) };
            let (request, respond) = accepted?;
            let (head, stream) = request.into_parts();
            let body = Received::new(stream, &head.headers);
            // Apart, so that it is moved no more, and is gone when only its body is left to send.
            let answer = Box::pin((self.answer)(Request::from_parts(head, body)));
            spawn_local(stream_task(answer, respond, Rc::clone(&self.names)));
        }
        let gone = keep_alive.as_mut().map(|it| it.poll_gone(cx, self.cork.heard(), true));
        match gone {
            Some(Poll::Ready(())) => Poll::Ready(Ok(())),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl<T, H, F, B> Future for Accepted<T, H>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: FnMut(Request<Received>) -> F + Unpin,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Error + 'static,
{
    type Output = Result<(), StreamError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = this.poll_turn(cx);
        this.cork.end_turn(cx);
        outcome
    }
}

/// Answers one request, and drops what is done for it once its client has lost interest.
async fn stream_task<F, B>(
    mut answer: Pin<Box<F>>,
    mut respond: SendResponse<Bytes>,
    names: Rc<Names>,
) where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    let response = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => respond.poll_reset(cx).map(|_reset| None),
    });
    let Some(response) = response.await else { return };
    drop(answer);
    let (mut head, body) = response.into_parts();
    complete_response(&mut head, &body, &names);
    drop(names);
    let last = body.is_end_stream();
    // One that cannot be sent is one that nobody waits for.
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), last) else { return };
    if !last {
        Pipe::new(body, stream).await;
    }
}
