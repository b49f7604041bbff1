//! Who gets through the handshake of a listener that takes tokens, and what it shows of itself: a
//! certificate from files, followed as it is renewed (JWT-1, JWT-4).

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sidegate::dev::Authority;
use spiffe::TrustDomain;
use tokio::net::TcpStream;

use crate::world::World;
use crate::world::client::{Raw, get};
use crate::world::hostile::heard_by;
use crate::world::issuer::write_private;
use crate::world::more::is_shut_out;
use crate::world::side::notes;
use crate::world::spec::Spec;
use crate::world::stranger::Stranger;
use crate::world::tokens::get_with;
use crate::world::wait::until;

const SHOP: &str = "spiffe://example.org/prod/shop";
const HOUR: Duration = Duration::from_secs(3_600);
/// The name in the certificate that the kit gives `orders`.
const NAME: &str = "orders.test";

async fn orders(say: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| say(it.route("GET", "/orders/{id}", "orders:read")))
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders").open())
        .start()
        .await
}

async fn both() -> World {
    orders(|it| it.accepts(["spiffe", "jwt"])).await
}

#[tokio::test]
async fn a_listener_for_spiffe_alone_ends_the_handshake_of_a_caller_without_a_certificate() {
    let world = orders(|it| it).await;
    assert!(is_shut_out(&world.without_svid("orders")).await);
    let line = world.refused("orders", "unauthenticated", 0).await;
    assert_eq!((&*line.protocol, line.path), ("tls", None));
    world.handshakes_failed("orders", "no_certificate").await;
}

/// Whoever shows a certificate wants to be judged by it.
#[tokio::test]
async fn a_certificate_that_does_not_hold_is_not_made_good_by_a_token() {
    let world = both().await;
    let token = world.token("orders", "orders:read");
    for (number, trust_domain) in [(1, "example.org"), (2, "evil.test")] {
        let authority = Authority::new(TrustDomain::new(trust_domain).unwrap()).unwrap();
        let id = format!("spiffe://{trust_domain}/prod/shop");
        let stranger = Stranger::new(world.address("orders"), Some((&authority, &id, HOUR)));
        if let Ok(stream) = stranger.connect(&["http/1.1"]).await {
            let mut raw = Raw::new(stream);
            let head = format!(
                "GET /orders/7 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            raw.try_send(head).await.ok();
            assert_eq!(raw.last_words().await, "");
        }
        let line = world.audit("orders").nth("unauthenticated", number).await;
        assert_eq!((&*line.protocol, line.source.subject), ("tls", None));
    }
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_listener_for_tokens_alone_takes_no_certificate() {
    let world = orders(|it| it.accepts(["jwt"])).await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    let reply = connection.get("/orders/7").await;
    assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()));
    let line = world.refused("orders", "unauthenticated", 0).await;
    assert_eq!((line.source.spiffe_id, line.source.serial), (None, None));

    let token = world.token("orders", "orders:read");
    assert_eq!(connection.send(get_with(&token, "/orders/7")).await.status(), 200);
    let seen = world.app("orders").last();
    assert_eq!(seen.header("x-sidegate-method"), Some("jwt"));
    assert_eq!(seen.header("x-forwarded-client-cert"), None);
}

#[tokio::test]
async fn a_service_without_a_workload_api_serves_tokens_by_its_certificate_from_files() {
    let world = orders(|it| it.accepts(["jwt"]).outside_spiffe()).await;
    let token = world.token("orders", "orders:read");
    let stranger = world.without_svid("orders");
    for mut connection in [stranger.http1().await, stranger.http2().await] {
        assert_eq!(connection.send(get_with(&token, "/orders/7")).await.status(), 200);
        let reply = connection.send(get("/orders/7")).await;
        assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()));
    }
    let line = world.audit("orders").nth("allowed", 2).await;
    assert_eq!((line.local, line.source.subject.as_deref()), (None, Some("batch")));
    assert_eq!(world.app("orders").last().header("x-sidegate-method"), Some("jwt"));
    assert_eq!(stranger.is_shown().await, on_disk(&world));
    // In plain text nobody is heard.
    let mut plain = Raw::new(TcpStream::connect(world.address("orders")).await.unwrap());
    plain.send("GET /orders/7 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!plain.last_words().await.contains("HTTP/1.1"));
}

/// The leaf of the chain that stands in the folder of `orders`.
fn on_disk(world: &World) -> CertificateDer<'static> {
    let chain = std::fs::read(world.path("orders").join("tls.crt")).unwrap();
    CertificateDer::pem_slice_iter(&chain).next().unwrap().unwrap()
}

#[tokio::test]
async fn the_certificate_from_files_is_for_who_asks_for_its_name() {
    let world = both().await;
    let by_name = world.without_svid("orders").asking_for(NAME).is_shown().await;
    assert_eq!(by_name, on_disk(&world));
    let by_another = world.without_svid("orders").is_shown().await;
    assert_ne!(by_another, by_name, "others are shown the SVID");
    // A peer with an SVID may ask for whatever name it likes.
    let mut peer = world.as_peer(SHOP, "orders").asking_for(NAME).http1().await;
    assert_eq!(peer.get("/orders/7").await.status(), 200);
    assert_eq!(world.app("orders").last().header("x-sidegate-method"), Some("spiffe"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_a_broken_one_never() {
    let world = both().await;
    let folder = world.path("orders");
    let stranger = world.without_svid("orders").asking_for(NAME);
    let token = world.token("orders", "orders:read");
    let mut old = stranger.http1().await;
    let not_after = async || {
        let metrics = world.metrics("orders").await;
        metrics.sum("sidegate_certificate_not_after_timestamp_seconds", &[("listener", "http")])
    };
    let before = not_after().await;

    world.certify("orders", &folder, 2 * HOUR);
    let renewed = on_disk(&world);
    until("the new certificate", async || (stranger.is_shown().await == renewed).then_some(()))
        .await;
    assert_eq!(not_after().await - before, 3_600.0);
    assert_eq!(old.send(get_with(&token, "/orders/7")).await.status(), 200);

    // A chain that is none; then one that does not belong to the key.
    let health = world.service("orders").health();
    let of_shop = std::fs::read_to_string(world.path("shop").join("tls.crt")).unwrap();
    for broken in ["no certificate", &of_shop] {
        let good = stranger.is_shown().await;
        write_private(&folder.join("tls.crt"), broken);
        until("the broken pair to be noticed", async || {
            (notes(health).await == ["certificate_unusable"]).then_some(())
        })
        .await;
        assert_eq!(stranger.is_shown().await, good);
        assert!(world.not_ready("orders").await.is_empty());
        let mut new = stranger.http1().await;
        assert_eq!(new.send(get_with(&token, "/orders/7")).await.status(), 200);

        world.certify("orders", &folder, HOUR);
        let mended = on_disk(&world);
        until("the mended pair", async || (stranger.is_shown().await == mended).then_some(()))
            .await;
        until("the note to go", async || notes(health).await.is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_listener_without_a_certificate_from_files_shows_its_svid() {
    let world = orders(|it| it.accepts(["jwt"]).without_certificate()).await;
    let token = world.token("orders", "orders:read");
    let stranger = world.without_svid("orders").asking_for(NAME);
    assert_eq!(stranger.http1().await.send(get_with(&token, "/orders/7")).await.status(), 200);
    // And takes nobody once that is gone.
    world.agent("orders").deny();
    world.agent_is("orders", "denied").await;
    assert_eq!(heard_by_or_nothing(&stranger).await, "");
}

async fn heard_by_or_nothing(stranger: &Stranger) -> String {
    match stranger.connect(&["http/1.1"]).await {
        Ok(stream) => heard_by(Raw::new(stream)).await,
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn without_an_svid_tokens_are_taken_by_the_certificate_from_files() {
    let world = both().await;
    world.agent("orders").deny();
    world.agent_is("orders", "denied").await;
    assert!(world.not_ready("orders").await.is_empty());
    let token = world.token("orders", "orders:read");
    let stranger = world.without_svid("orders");
    assert_eq!(stranger.is_shown().await, on_disk(&world), "whatever name is asked for");
    assert_eq!(stranger.http1().await.send(get_with(&token, "/orders/7")).await.status(), 200);
    let line = world.audit("orders").only("allowed").await;
    assert_eq!((line.local, line.source.method.as_deref()), (None, Some("jwt")));
    world.agent("orders").allow();
    world.agent_is("orders", "fresh").await;
    assert_ne!(stranger.is_shown().await, on_disk(&world));
}
