//! Unix sockets in every place that takes an address: no other user of the machine gets near.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use http::Version;
use serde_json::json;
use sidegate::app::Running;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::world::World;
use crate::world::client::{Http, Raw, post};
use crate::world::reach::Beside;
use crate::world::spec::Unix;
use crate::world::tcp_app::shout;
use crate::world::wait::within;

async fn shop_and_orders(unix: Unix) -> World {
    World::new()
        .service("orders", |it| {
            it.unix(unix).route("GET", "/**", "orders:read").route("POST", "/**", "orders:read")
        })
        .service("shop", |it| {
            it.unix(unix).scopes(["orders:read", "ledger:write"]).calls("orders").open()
        })
        .service("crawler", |it| it.calls("orders"))
        .start()
        .await
}

#[tokio::test]
async fn an_application_may_listen_on_a_unix_socket() {
    let world = shop_and_orders(Unix { application: true, ..Unix::default() }).await;
    let caller = world.from("shop");
    for (mut http, version) in [
        (caller.http1("orders").await, Version::HTTP_11),
        (caller.http2("orders").await, Version::HTTP_2),
    ] {
        let reply = http.send(post("/orders?x=1", "a book")).await;
        assert_eq!(reply.status(), 200);
        assert_eq!(
            (&reply.json()["body"], &reply.json()["target"]),
            (&json!("a book"), &json!("/orders?x=1"))
        );
        assert_eq!(world.app("orders").last().version, version);
    }
    assert_eq!(world.app("orders").connections(), 2);
}

#[tokio::test]
async fn a_refused_caller_gets_no_further_than_over_tcp() {
    let world = shop_and_orders(Unix { application: true, ..Unix::default() }).await;

    let reply = world.from("crawler").get("orders", "/orders/7").await;

    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
    world.assert_refused("orders", "insufficient_scope").await;
    assert_eq!(world.app("orders").connections(), 0);
}

#[tokio::test]
async fn an_application_that_comes_back_with_a_new_socket_is_found() {
    let world = shop_and_orders(Unix { application: true, ..Unix::default() }).await;
    let mut http = world.from("shop").http1("orders").await;
    assert_eq!(http.get("/orders/7").await.status(), 200);

    world.app("orders").stop().await;
    let refusal = (503, "upstream_unreachable".to_owned());
    assert_eq!(http.get("/orders/7").await.refusal(), refusal);

    world.app("orders").start().await;
    assert_eq!(http.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn an_application_may_call_out_through_a_unix_socket() {
    let world = shop_and_orders(Unix { outbound: true, ..Unix::default() }).await;
    let path = world.path("shop").join("orders.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

    let caller = world.from("shop");
    for mut http in [caller.http1("orders").await, caller.http2("orders").await] {
        assert_eq!(http.get("/orders/7").await.status(), 200);
    }
    let seen = world.app("orders").last();
    assert_eq!(seen.header("x-sidegate-subject"), Some(world.id("shop").as_str()));
}

/// Carries what comes by TCP to a Unix socket: a sidecar reaches others only over the network.
async fn doorman(path: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = UnixStream::connect(&path).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    address
}

/// A second sidecar of `orders` and one of `shop`, that listen, and meet their applications, on
/// Unix sockets only.
async fn on_unix_only(world: &World, folder: &Path) -> (Running, Running) {
    let http = doorman(folder.join("in-http")).await;
    let tcp = doorman(folder.join("in-tcp")).await;
    let at = |name: &str| format!("unix:{}", folder.join(name).display());
    let orders = world
        .beside(
            "orders",
            Beside::Inbound(json!([
                {"name": "http", "listen": at("in-http"), "forward_to": world.app("orders").address(),
                 "routes": [{"path": "/**", "methods": ["GET"], "scopes": ["orders:read"]}]},
                {"name": "tcp", "listen": at("in-tcp"), "protocol": "tcp",
                 "forward_to": at("ledger"), "scopes": ["ledger:write"]},
            ])),
        )
        .await;
    let shop = world
        .beside(
            "shop",
            Beside::Outbound(json!([
                {"name": "http", "listen": at("out-http"), "connect_to": http.to_string(),
                 "expect": world.id("orders")},
                {"name": "tcp", "listen": at("out-tcp"), "connect_to": tcp.to_string(),
                 "protocol": "tcp", "expect": world.id("orders")},
            ])),
        )
        .await;
    (orders, shop)
}

#[tokio::test]
async fn http_and_raw_streams_go_all_the_way_on_unix_sockets() {
    let world = shop_and_orders(Unix { application: true, ..Unix::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let ledger = UnixListener::bind(folder.path().join("ledger")).unwrap();
    let sidecars = on_unix_only(&world, folder.path()).await;

    let stream = UnixStream::connect(folder.path().join("out-http")).await.unwrap();
    let mut http = Http::http1(stream).await.unwrap();
    assert_eq!(http.get("/orders/7").await.status(), 200);
    let seen = world.app("orders").last();
    assert_eq!(seen.header("x-sidegate-subject"), Some(world.id("shop").as_str()));

    let stream = UnixStream::connect(folder.path().join("out-tcp")).await.unwrap();
    let mut raw = Raw::new(stream);
    let (application, _) = within("the stream", ledger.accept()).await.unwrap();
    let answering = tokio::spawn(shout(application));
    raw.send("hello").await;
    raw.hears("HELLO").await;
    raw.finish().await;
    assert_eq!(raw.rest().await.unwrap(), b"");
    within("the application's end", answering).await.unwrap().unwrap();
    drop(sidecars);
}

#[tokio::test]
async fn a_socket_that_was_left_over_is_replaced() {
    let world = shop_and_orders(Unix { application: true, ..Unix::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["in-http", "in-tcp", "out-http", "out-tcp"] {
        drop(StdListener::bind(folder.path().join(name)).unwrap());
        assert!(fs::metadata(folder.path().join(name)).unwrap().file_type().is_socket());
    }

    let sidecars = on_unix_only(&world, folder.path()).await;

    let stream = UnixStream::connect(folder.path().join("out-http")).await.unwrap();
    let mut http = Http::http1(stream).await.unwrap();
    assert_eq!(http.get("/orders/7").await.status(), 200);
    drop(sidecars);
}

#[tokio::test]
async fn a_sidecar_that_starts_again_takes_its_own_sockets_over() {
    let world = shop_and_orders(Unix { application: true, ..Unix::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let sidecars = on_unix_only(&world, folder.path()).await;
        let stream = UnixStream::connect(folder.path().join("out-http")).await.unwrap();
        assert_eq!(Http::http1(stream).await.unwrap().get("/orders/7").await.status(), 200);
        drop(sidecars);
    }
}

#[tokio::test]
async fn neither_a_file_nor_a_socket_in_use_is_taken_away() {
    let world = shop_and_orders(Unix::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let listening_at = |path: &Path| {
        Beside::Outbound(json!([{
            "listen": format!("unix:{}", path.display()),
            "connect_to": "127.0.0.1:1",
            "expect": world.id("orders"),
        }]))
    };

    let file = folder.path().join("precious.txt");
    fs::write(&file, "data").unwrap();
    let error = world.try_beside("shop", listening_at(&file)).unwrap_err();
    assert!(format!("{error:#}").contains("precious.txt"), "{error:#}");
    assert_eq!(fs::read(&file).unwrap(), b"data");

    let used = folder.path().join("used.sock");
    let listener = StdListener::bind(&used).unwrap();
    let error = world.try_beside("shop", listening_at(&used)).unwrap_err();
    assert!(format!("{error:#}").contains("used.sock"), "{error:#}");
    // It is still the one that was there.
    let ours = StdListener::local_addr(&listener).unwrap();
    assert_eq!(ours.as_pathname(), Some(used.as_path()));
    std::os::unix::net::UnixStream::connect(&used).unwrap();
    listener.accept().unwrap();
    listener.set_nonblocking(true).unwrap();
    // The probe of the sidecar came before ours; nothing else did.
    assert!(listener.accept().is_ok() && listener.accept().is_err());
}
