//! JWT-SVIDs: believed by the trust domain's bundle from the Workload API, and worth what the same
//! identity is worth by certificate (JWT-1, ID-4).

use std::time::Duration;

use crate::world::World;
use crate::world::client::{Http, Reply};
use crate::world::spec::Spec;
use crate::world::tokens::get_with;
use crate::world::wait::until;

const SHOP: &str = "spiffe://example.org/prod/shop";
const PARTNER: &str = "spiffe://partner.test/prod/partner";
const MINUTE: Duration = Duration::from_secs(60);

async fn orders(say: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            say(it.route("GET", "/orders/{id}", "orders:read").route(
                "GET",
                "/stock/{id}",
                "stock:read",
            ))
            .accepts(["spiffe", "jwt"])
            .accepts_jwt_svids()
        })
        .service("shop", |it| it.scopes(["orders:read"]).roles(["reader"]).calls("orders").open())
        .service("partner", |it| it.trust_domain("partner.test").scopes(["orders:read"]).open())
        .start()
        .await
}

async fn ask(connection: &mut Http, token: &str, path: &str) -> Reply {
    connection.send(get_with(token, path)).await
}

async fn refused(world: &World, connection: &mut Http, token: &str, code: &str, number: usize) {
    let reply = ask(connection, token, "/orders/7").await;
    assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()), "{code}");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    let line = world.audit("orders").nth("invalid_token", number).await;
    let detail = line.detail.unwrap();
    assert!(detail.contains(&format!("({code})")), "{code}: {detail}");
    assert_eq!(line.source.spiffe_id, None);
}

#[tokio::test]
async fn a_jwt_svid_is_worth_what_the_same_identity_is_by_certificate() {
    let world = orders(|it| it).await;
    let told =
        ["x-sidegate-subject", "x-sidegate-tenant", "x-sidegate-scopes", "x-sidegate-issuer"];
    let seen = || told.map(|name| world.app("orders").last().header(name).map(str::to_owned));

    assert_eq!(world.as_peer(SHOP, "orders").http1().await.get("/stock/7").await.status(), 200);
    let by_certificate = seen();
    let line = world.audit("orders").only("allowed").await;

    let token = world.jwt_svid(SHOP, "orders", MINUTE);
    let mut connection = world.without_svid("orders").http1().await;
    assert_eq!(ask(&mut connection, &token, "/stock/7").await.status(), 200);
    assert_eq!(seen(), by_certificate);
    let last = world.app("orders").last();
    assert_eq!(last.header("x-sidegate-method"), Some("jwt-svid"));
    assert_eq!(
        (last.header("authorization"), last.header("x-forwarded-client-cert")),
        (None, None)
    );

    let by_token = world.audit("orders").nth("allowed", 2).await;
    assert_eq!(by_token.held_scopes, line.held_scopes);
    assert_eq!(by_token.source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!(by_token.source.trust_domain.as_deref(), Some("example.org"));
    assert_eq!(by_token.source.method.as_deref(), Some("jwt-svid"));
    assert_eq!((by_token.source.issuer, by_token.source.serial), (None, None));
    assert_eq!(by_token.source.token.unwrap().len(), 32);
}

#[tokio::test]
async fn a_policy_that_takes_rights_from_an_identity_takes_them_from_its_tokens() {
    let mut world = orders(|it| it).await;
    let token = world.jwt_svid(SHOP, "orders", MINUTE);
    let mut connection = world.without_svid("orders").http1().await;
    assert_eq!(ask(&mut connection, &token, "/orders/7").await.status(), 200);
    world.repoliced("orders", |it| it.policy("orders").block(SHOP)).await;
    let reply = ask(&mut connection, &token, "/orders/7").await;
    assert_eq!(reply.refusal(), (403, "policy_denied".to_owned()));
    let line = world.refused("orders", "policy_denied", 1).await;
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
}

#[tokio::test]
async fn a_jwt_svid_for_others_or_out_of_date_is_refused() {
    let world = orders(|it| it).await;
    let mut connection = world.without_svid("orders").http1().await;
    let foreign = world.jwt_svid(SHOP, "billing", MINUTE);
    refused(&world, &mut connection, &foreign, "audience", 1).await;

    let brief = world.jwt_svid(SHOP, "orders", Duration::from_secs(1));
    until("the token to run out", async || {
        let status = ask(&mut connection, &brief, "/orders/7").await.status();
        (status == 401).then_some(())
    })
    .await;
    let line = world.audit("orders").nth("invalid_token", 2).await;
    assert!(line.detail.unwrap().contains("(expired)"));
}

#[tokio::test]
async fn a_trust_domain_is_believed_only_when_it_is_federated_with() {
    let world = orders(|it| it).await;
    let token = world.jwt_svid(PARTNER, "orders", MINUTE);
    let mut connection = world.without_svid("orders").http1().await;
    refused(&world, &mut connection, &token, "unknown_issuer", 1).await;
    assert_eq!(world.app("orders").requests(), 0);

    let world = orders(|it| it.federates_with("partner.test")).await;
    let mut connection = world.without_svid("orders").http1().await;
    for id in [PARTNER, SHOP] {
        let token = world.jwt_svid(id, "orders", MINUTE);
        until("the bundles", async || {
            (ask(&mut connection, &token, "/orders/7").await.status() == 200).then_some(())
        })
        .await;
        let seen = world.app("orders").last();
        assert_eq!(seen.header("x-sidegate-subject"), Some(id));
    }
}

#[tokio::test]
async fn no_trust_domain_speaks_for_another() {
    let world = orders(|it| it.federates_with("partner.test")).await;
    let mut connection = world.without_svid("orders").http1().await;
    let good = world.jwt_svid(PARTNER, "orders", MINUTE);
    until("the bundles", async || {
        (ask(&mut connection, &good, "/orders/7").await.status() == 200).then_some(())
    })
    .await;
    let before = world.audit("orders").count("invalid_token");
    // An authority of its own, for a domain of the same name as ours.
    let name = spiffe::TrustDomain::new("example.org").unwrap();
    let authority = sidegate::dev::Authority::new(name).unwrap();
    let id = spiffe::SpiffeId::new(SHOP).unwrap();
    let now = std::time::SystemTime::now();
    let token = authority.issue_jwt(&id, &["orders".to_owned()], now, MINUTE).unwrap();
    let token = crate::world::secrets::keep("a forged JWT-SVID", &token);
    refused(&world, &mut connection, &token, "unknown_key", before + 1).await;
}

/// A listener that was told nothing of JWT-SVIDs takes none.
#[tokio::test]
async fn jwt_svids_are_taken_only_where_the_configuration_says_so() {
    let world = World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read").accepts(["spiffe", "jwt"])
        })
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders").open())
        .start()
        .await;
    let token = world.jwt_svid(SHOP, "orders", MINUTE);
    let mut connection = world.without_svid("orders").http1().await;
    // It names no issuer, and nobody asks whose SPIFFE ID it is.
    refused(&world, &mut connection, &token, "claim_missing", 1).await;
}

#[tokio::test]
async fn new_keys_of_the_trust_domain_are_followed_and_old_ones_forgotten() {
    let world = orders(|it| it).await;
    let authority = world.agent_of("example.org").authority();
    let mut connection = world.without_svid("orders").http1().await;
    let old = world.jwt_svid(SHOP, "orders", MINUTE);
    assert_eq!(ask(&mut connection, &old, "/orders/7").await.status(), 200);

    authority.rotate().unwrap();
    let new = world.jwt_svid(SHOP, "orders", MINUTE);
    until("the new key", async || {
        (ask(&mut connection, &new, "/orders/7").await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&mut connection, &old, "/orders/7").await.status(), 200);

    // What was verified by a key that is gone is verified no more, remembered or not.
    authority.forget_old();
    let reply = until("the old key to be gone", async || {
        let reply = ask(&mut connection, &old, "/orders/7").await;
        (reply.status() == 401).then_some(reply)
    })
    .await;
    let line = world.audit("orders").of(&reply).await;
    assert!(line.detail.unwrap().contains("(unknown_key)"));
    assert_eq!(ask(&mut connection, &new, "/orders/7").await.status(), 200);
}
