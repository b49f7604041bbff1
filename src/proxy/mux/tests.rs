//! Connections whose other end is not as it should be.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::server::Carried;

const LONG: Duration = Duration::from_secs(600);

type Caller = SendRequest<Bytes>;

/// Both ends of a connection. The caller's has still to be run, and answers nothing until it is.
async fn connected() -> (Carried<DuplexStream>, Caller, impl Future) {
    let (near, far) = duplex(64 * 1024);
    let (carried, caller) = tokio::join!(Carried::accept(far, 8), client::handshake(near));
    let (sender, caller) = caller.unwrap();
    (carried.unwrap(), sender, caller)
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_caller_has_vanished_ends() {
    let (mut carried, _sender, _silent) = connected().await;
    let began = Instant::now();
    let over = async { while let Ok(Some(_asked)) = carried.next().await {} };
    timeout(LONG, over).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_whose_caller_is_only_quiet_stays() {
    let (mut carried, _sender, caller) = connected().await;
    let over = async { while let Ok(Some(_asked)) = carried.next().await {} };
    let (over, caller) = (pin!(over), pin!(caller));
    let either = async {
        tokio::select! {
            () = over => {}
            _ = caller => {}
        }
    };
    assert!(timeout(LONG, either).await.is_err());
}
