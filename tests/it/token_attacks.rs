//! What callers with a token, or without any, might try to get more than it gives (JWT-1, AZ-11).

use std::time::Duration;

use serde_json::json;

use crate::world::World;
use crate::world::client::{Reply, get};
use crate::world::tokens::{claims, get_with};
use crate::world::wait::{until, within};

async fn orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read").accepts(["spiffe", "jwt"])
        })
        .start()
        .await
}

#[tokio::test]
async fn a_wish_for_another_protocol_does_not_let_an_answer_outlive_its_token() {
    let world = orders().await;
    let token = world.mint(claims("orders", "orders:read"), Duration::from_secs(3));
    let mut request = get_with(&token, "/orders/held-body");
    for (name, value) in [("connection", "upgrade"), ("upgrade", "x")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let mut connection = world.without_svid("orders").http1().await;
    let answer = connection.begin(request).await.unwrap();
    assert_eq!(answer.status(), 200, "the application stays with HTTP");
    let cut = within("the answer to be cut", Reply::read(answer)).await;
    assert!(cut.is_err(), "the answer went on without its token");
    world.audit("orders").only("invalid_token").await;
}

#[tokio::test]
async fn a_key_that_is_withdrawn_ends_what_it_has_let_in_and_a_rotation_does_not() {
    let world = orders().await;
    let token = world.token("orders", "orders:read");
    let mut connection = world.without_svid("orders").http1().await;
    let answer = connection.begin(get_with(&token, "/orders/held-body")).await.unwrap();
    assert_eq!(answer.status(), 200);

    world.issuer().tokens().rotate().unwrap();
    world.publish_keys();
    let new = world.token("orders", "orders:read");
    let mut other = world.without_svid("orders").http1().await;
    until("the new key to be known", async || {
        (other.send(get_with(&new, "/orders/7")).await.status() == 200).then_some(())
    })
    .await;
    // The new one was refused until then, which is another matter.
    let cut_for_its_key = || {
        let lines = world.audit("orders").lines().into_iter();
        lines.filter_map(|it| it.detail).any(|it| it.contains("the key that signed the token"))
    };
    assert!(!cut_for_its_key(), "both keys stand in the set");

    world.issuer().tokens().forget_old();
    world.publish_keys();
    let cut = within("the answer to be cut", Reply::read(answer)).await;
    assert!(cut.is_err(), "the answer went on without its key");
    until("the line", async || cut_for_its_key().then_some(())).await;
    assert_eq!(other.send(get_with(&new, "/orders/7")).await.status(), 200);
}

#[tokio::test]
async fn who_cannot_prove_anything_does_not_keep_a_connection() {
    let world = orders().await;
    for http2 in [false, true] {
        let stranger = world.without_svid("orders");
        let mut connection = if http2 { stranger.http2().await } else { stranger.http1().await };
        let mut answers = 0;
        until("the connection to end", async || {
            let asked = connection.begin(get("/orders/7")).await;
            let Ok(answer) = asked else { return Some(()) };
            assert_eq!(answer.status(), 401);
            drop(Reply::read(answer).await);
            answers += 1;
            assert!(answers < 1_000, "it is answered for ever");
            None
        })
        .await;
        assert!(answers >= 8, "{answers} attempts on one connection");
    }
}

#[tokio::test]
async fn a_connection_that_has_carried_a_good_token_is_left_alone() {
    let world = orders().await;
    let good = world.token("orders", "orders:read");
    let mut other = claims("orders", "orders:read");
    other["aud"] = json!("billing");
    let bad = world.mint(other, Duration::from_secs(60));
    let mut connection = world.without_svid("orders").http1().await;
    for _ in 0..3 {
        assert_eq!(connection.send(get_with(&good, "/orders/7")).await.status(), 200);
        for _ in 0..10 {
            assert_eq!(connection.send(get_with(&bad, "/orders/7")).await.status(), 401);
        }
    }
}
