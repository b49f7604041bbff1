//! The token that we present, from a file that others renew or from the environment (JWT-3).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::World;
use crate::world::aside::{Aside, swap_volume};
use crate::world::issuer::write_private;
use crate::world::tokens::claims;
use crate::world::wait::until;

/// A token is given up so long before its end.
const MARGIN: Duration = Duration::from_secs(5);

pub async fn orders() -> World {
    World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read").accepts(["jwt"]))
        .start()
        .await
}

/// A token of one of many callers, so that it can be told which is in use.
pub fn token_of(world: &World, caller: &str, life: u64) -> String {
    let mut claims = claims("orders", "orders:read");
    claims["sub"] = json!(caller);
    world.mint(claims, Duration::from_secs(life))
}

/// Whom `orders` takes us for now.
pub async fn caller(world: &World, aside: &Aside) -> String {
    let reply = aside.get("/orders/7").await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    world.app("orders").last().header("x-sidegate-subject").unwrap().to_owned()
}

async fn becomes(world: &World, aside: &Aside, name: &str) {
    let what = format!("the token of `{name}` to be used");
    until(&what, async || (caller(world, aside).await == name).then_some(())).await;
}

/// Nothing was sent, and the reason is told to the operator.
pub async fn assert_no_token(world: &World, aside: &Aside, why: &str) {
    aside.lacks("token_unavailable").await;
    let before = world.app("orders").requests();
    let reply = aside.get("/orders/7").await;
    assert_eq!(reply.refusal(), (503, "identity_unavailable".to_owned()));
    assert!(reply.header("retry-after").is_some());
    assert_eq!(world.app("orders").requests(), before);
    let said = aside.says().await;
    let message = said["reasons"][0]["message"].as_str().unwrap();
    assert!(message.contains(why), "{message}");
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_file_that_is_replaced_is_used_by_what_is_asked_next() {
    let world = orders().await;
    let file = world.hand().join("token");
    write_private(&file, &token_of(&world, "first", 600));
    let aside = world.aside(json!({"present": {"file": file}}));
    aside.ready().await;
    let mut kept = aside.http1().await;
    assert_eq!(caller(&world, &aside).await, "first");
    assert_eq!(kept.get("/orders/7").await.status(), 200);

    write_private(&file, &format!("\n{}\n", token_of(&world, "second", 600)));
    becomes(&world, &aside, "second").await;

    // On connections that were there before, too.
    assert_eq!(kept.get("/orders/7").await.status(), 200);
    assert_eq!(world.app("orders").last().header("x-sidegate-subject"), Some("second"));
    // And once more, since what is watched now is another file.
    write_private(&file, &token_of(&world, "third", 600));
    becomes(&world, &aside, "third").await;
    assert_eq!(aside.metrics().await.sum("sidegate_token_renewals_total", &[]), 3.0);
}

#[tokio::test]
async fn a_volume_that_kubernetes_swaps_is_followed() {
    let world = orders().await;
    let volume = world.hand();
    swap_volume(&volume, "2026_1", "token", &token_of(&world, "first", 600));
    let aside = world.aside(json!({"present": {"file": volume.join("token")}}));
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "first");

    for (version, name) in [("2026_2", "second"), ("2026_3", "third")] {
        swap_volume(&volume, version, "token", &token_of(&world, name, 600));
        becomes(&world, &aside, name).await;
    }
}

#[tokio::test]
async fn a_token_that_has_run_out_is_not_sent() {
    let world = orders().await;
    let file = world.hand().join("token");
    write_private(&file, &token_of(&world, "late", 1));
    let aside = world.aside(json!({"present": {"file": file}}));
    assert_no_token(&world, &aside, "run out").await;

    write_private(&file, &token_of(&world, "brief", 8));
    let began = Instant::now();
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "brief");
    aside.lacks("token_unavailable").await;
    assert!(began.elapsed() > Duration::from_secs(1), "it was given up at once");
    assert!(began.elapsed() < Duration::from_secs(8), "it was kept to its end");
    assert_no_token(&world, &aside, "").await;

    write_private(&file, &token_of(&world, "next", 600));
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "next");
    assert_eq!(world.audit("orders").count("invalid_token"), 0);
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused_unless_told_otherwise() {
    let world = orders().await;
    for mode in [0o640, 0o604, 0o660] {
        let file = world.hand().join("token");
        write_private(&file, &token_of(&world, "open", 600));
        chmod(&file, mode);
        let careful = world.aside(json!({"present": {"file": file}}));
        assert_no_token(&world, &careful, &format!("{mode:o}")).await;

        let present = json!({"file": file, "danger_readable_by_others": true});
        let careless = world.aside(json!({"present": present}));
        careless.ready().await;
        assert_eq!(caller(&world, &careless).await, "open");

        chmod(&file, 0o600);
        careful.ready().await;
        assert_eq!(caller(&world, &careful).await, "open");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_or_broken_leaves_the_token_in_hand_until_it_runs_out() {
    let world = orders().await;
    let file = world.hand().join("token");
    write_private(&file, &token_of(&world, "first", 12));
    let began = Instant::now();
    let aside = world.aside(json!({"present": {"file": file}}));
    aside.ready().await;
    let failures = async || aside.metrics().await.sum("sidegate_token_failures_total", &[]);

    for spoil in [
        |file: &Path| std::fs::remove_file(file).unwrap(),
        |file: &Path| write_private(file, ""),
        |file: &Path| write_private(file, "two words"),
        |file: &Path| std::fs::write(file, [0xff; 40]).unwrap(),
    ] {
        let before = failures().await;
        spoil(&file);
        until("the change to be noticed", async || (failures().await > before).then_some(())).await;
        assert_eq!(aside.not_ready().await, [""; 0]);
        assert_eq!(caller(&world, &aside).await, "first");
    }
    aside.lacks("token_unavailable").await;
    assert!(began.elapsed() > Duration::from_secs(12) - MARGIN - Duration::from_secs(1));
}

#[tokio::test]
async fn a_token_comes_from_the_environment() {
    let world = orders().await;
    let token = token_of(&world, "environment", 600);
    let say = json!({"present": {"env": "MACHINE_TOKEN"}});
    let aside = world.aside_in(say, json!({}), &[("MACHINE_TOKEN", &token)]);
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "environment");
}
