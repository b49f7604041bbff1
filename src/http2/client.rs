//! The side that dials: whoever has a request puts it on a stream, and waits for the answer there.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{self, Connection, SendRequest};
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, spawn_local};

use super::Limits;
use super::cork::{Cork, Corked};
use super::error::StreamError;
use super::heads::{Names, complete_request};
use super::in_use::InUse;
use super::keep_alive::KeepAlive;
use super::pipe::Pipe;
use super::received::Received;

/// Bytes of one request's body that wait here for the other end to take them in.
const MOST_WAITING: usize = 1024 * 1024;
/// Streams at once before the other end has said how many it takes.
const FIRST_STREAMS: usize = 100;

/// The connection itself: nothing moves on it unless it is polled, and with it all of it ends.
#[derive(Debug)]
pub struct Dialled<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    connection: Connection<Corked<T>, Bytes>,
    keep_alive: Option<KeepAlive>,
    cork: Cork<T>,
    shared: Rc<Shared>,
}

/// Puts requests on a connection. Without one left, it ends after the last answer.
#[derive(Debug)]
pub struct Requester {
    requests: RefCell<SendRequest<Bytes>>,
    /// The other end says how many streams it takes at once. Requests beyond that wait here rather
    /// than on the connection, so that they may still go elsewhere.
    turn: Semaphore,
    names: Names,
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests without the end of their answer.
    open: Rc<Cell<usize>>,
    ended: Cell<bool>,
}

/// Speaks HTTP/2 first on a stream that was just connected.
pub async fn dial<T>(stream: T, limits: Limits) -> Result<(Requester, Dialled<T>), StreamError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, cork) = Cork::new(stream);
    let (requests, mut connection) = client::Builder::new()
        .max_header_list_size(limits.header_bytes)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .initial_max_send_streams(FIRST_STREAMS)
        .max_send_buffer_size(MOST_WAITING)
        .enable_push(false)
        .handshake(stream)
        .await?;
    let shared = Rc::new(Shared::default());
    let keep_alive = connection.ping_pong().map(KeepAlive::new);
    let requests = RefCell::new(requests);
    let (turn, names) = (Semaphore::new(1), Names::default());
    let requester = Requester { requests, turn, names, shared: Rc::clone(&shared) };
    Ok((requester, Dialled { connection, keep_alive, cork, shared }))
}

impl<T> Future for Dialled<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), StreamError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut outcome = Pin::new(&mut this.connection).poll(cx).map_err(StreamError::from);
        if let Some(keep_alive) = this.keep_alive.as_mut().filter(|_| outcome.is_pending()) {
            let needed = this.shared.open.get() > 0;
            outcome = keep_alive.poll_gone(cx, this.cork.heard(), needed).map(Ok);
        }
        this.cork.end_turn(cx);
        outcome
    }
}

impl<T> Drop for Dialled<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn drop(&mut self) {
        self.shared.ended.set(true);
    }
}

impl Requester {
    /// Takes no more requests: it has ended, or the other end has said that it will.
    pub fn is_closed(&self) -> bool {
        self.shared.ended.get()
    }

    /// Requests that have not come to the end of their answer.
    pub fn open(&self) -> usize {
        self.shared.open.get()
    }

    /// Requests at once that the other end takes, as far as it has said: at least one, which waits.
    pub fn capacity(&self) -> usize {
        self.requests.borrow().current_max_send_streams().max(1)
    }

    /// Counts a request for as long as the result lives.
    pub fn begin(&self) -> InUse {
        InUse::new(&self.shared.open)
    }

    /// Sends a request and waits for the head of its answer. A request that is left in its place
    /// when this fails has not been sent.
    pub async fn send<B>(
        &self,
        request: &mut Option<Request<B>>,
    ) -> Result<Response<Received>, StreamError>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Error + 'static,
    {
        let turn = self.turn.acquire().await;
        let ready = poll_fn(|cx| self.requests.borrow_mut().poll_ready(cx)).await;
        if let Err(error) = ready {
            self.shared.ended.set(true);
            return Err(error.into());
        }
        let Some((mut head, body)) = request.take().map(Request::into_parts) else {
            return Err(h2::Error::from(Reason::INTERNAL_ERROR).into());
        };
        complete_request(&mut head, &body, &self.names);
        let last = body.is_end_stream();
        let head = Request::from_parts(head, ());
        let (answer, stream) = self.requests.borrow_mut().send_request(head, last)?;
        drop(turn);
        let sending = Sending::begin((!last).then_some((body, stream))).await;
        let (head, stream) = answer.await?.into_parts();
        sending.goes_on();
        let body = Received::new(stream, &head.headers);
        Ok(Response::from_parts(head, body))
    }
}

/// A request's body on its way. Nobody sends the rest for somebody who has ceased to wait.
struct Sending(Option<AbortHandle>);

impl Sending {
    /// What there is of the body is sent at once: most often that is all.
    async fn begin<B>(body: Option<(B, SendStream<Bytes>)>) -> Self
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Error + 'static,
    {
        let Some((body, stream)) = body else { return Self(None) };
        let mut pipe = Pipe::new(body, stream);
        let sent = poll_fn(|cx| Poll::Ready(Pin::new(&mut pipe).poll(cx))).await;
        Self(sent.is_pending().then(|| spawn_local(pipe).abort_handle()))
    }

    /// With an answer under way, the body ends by itself.
    fn goes_on(mut self) {
        self.0 = None;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
