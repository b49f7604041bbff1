//! The program on a machine without SPIFFE, configured by the example for that.

use std::time::Duration;

use serde_json::{Value, json};
use sidegate::secret::Secret;
use tokio::net::TcpStream;

use crate::cli::{Program, free_ports, says};
use crate::world::app::App;
use crate::world::audit::Line;
use crate::world::client::{Http, get, with_headers};
use crate::world::issuer::write_private;
use crate::world::policy::PolicyFolder;
use crate::world::tokens::claims;
use crate::world::wait::until;
use crate::world::{World, secrets, side};

const EXAMPLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/outside-spiffe.yaml"));

#[tokio::test]
async fn it_asks_for_its_token_and_judges_those_of_others() {
    let world = World::new().start().await;
    let app = App::on_tcp().await;
    let folder = world.hand();
    let [inbound, outbound, health] = free_ports();
    let issuer = world.issuer();
    issuer.gives(claims("orders", "orders:read"), Duration::from_secs(600));
    world.certify_as("billing.example.com", &folder);
    let secret = Secret::new("the-secret-of-a-program".to_owned());
    write_private(&folder.join("client-secret"), &secrets::keep("a client secret", &secret));
    PolicyFolder::new(folder.join("policies"), json!({}));
    // Everything as the example has it, but for places. It calls itself.
    let mut config: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let ca = json!(world.path("ca.pem"));
    config["jwt"]["issuers"][0]["issuer"] = json!(issuer.url);
    config["jwt"]["issuers"][0]["ca"] = ca.clone();
    let credentials = &mut config["jwt"]["present"]["client_credentials"];
    credentials["issuer"] = json!(issuer.url);
    credentials["ca"] = ca.clone();
    credentials["client_secret_file"] = json!(folder.join("client-secret"));
    config["inbound"][0]["listen"] = json!(inbound.to_string());
    config["inbound"][0]["forward_to"] = json!(app.address());
    config["inbound"][0]["certificate"] =
        json!({"chain": folder.join("tls.crt"), "key": folder.join("tls.key")});
    config["outbound"][0]["listen"] = json!(outbound.to_string());
    config["outbound"][0]["connect_to"] = json!(inbound.to_string());
    config["outbound"][0]["server"] = json!({"name": "billing.example.com", "ca": ca});
    config["policy"] = json!(folder.join("policies"));
    config["health"]["listen"] = json!(health.to_string());
    config["log"] = json!({"level": "trace", "format": "json"});
    let file = folder.join("sidegate.yaml");
    std::fs::write(&file, config.to_string()).unwrap();

    let said = says(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(issuer.asked("/token"), 0, "a check asks nobody");
    let sidecar = Program::run(&file);
    until("it to be ready", async || {
        TcpStream::connect(health).await.ok()?;
        side::reasons(health, "/ready").await.is_empty().then_some(())
    })
    .await;
    let mut connection = Http::http1(TcpStream::connect(outbound).await.unwrap()).await.unwrap();
    let user = [("authorization", "Bearer of-an-end-user")];
    let reply = connection.send(with_headers(get("/api/v1/orders/7"), &user)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let seen = app.last();
    assert_eq!(seen.header("x-sidegate-method"), Some("jwt"));
    assert_eq!(seen.header("x-sidegate-subject"), Some("batch"));
    assert_eq!(seen.header("authorization"), Some("Bearer of-an-end-user"));
    assert_eq!(connection.get("/api/v1/billing/7").await.status(), 403);
    sidecar.signal("TERM");
    let said = sidecar.ends();

    assert_eq!(said.code, Some(0), "{said:?}");
    let lines: Vec<Line> =
        said.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let mut told: Vec<_> = lines
        .iter()
        .map(|line| (&*line.direction, &*line.reason, line.source.method.as_deref()))
        .collect();
    // Several threads write them.
    told.sort_unstable();
    let expected = [
        ("inbound", "allowed", Some("jwt")),
        ("inbound", "no_route", Some("jwt")),
        ("outbound", "allowed", Some("jwt")),
    ];
    assert_eq!(told, expected);
    let outbound = lines.iter().find(|line| line.direction == "outbound").unwrap();
    assert_eq!(outbound.destination.as_deref(), Some("billing.example.com"));
    assert!(said.err.contains("calls go out by machine token"), "{}", said.err);
    secrets::none_in("the log of a program", said.err.as_bytes());
    secrets::none_in("the audit of a program", said.out.as_bytes());
}
