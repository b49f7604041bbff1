//! What is asked of a token endpoint, byte for byte over real TLS, and what its answers are worth.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::{any, prop_assert, proptest};
use spiffe::{SpiffeId, TrustDomain};

use super::*;
use crate::dev::{Authority, Workload, WorkloadApi};
use crate::identity::{self, Identity};
use crate::tls;
use crate::token::kit::{Said, Server};

const GRANTED: &str = r#"{"access_token":"granted","token_type":"Bearer","expires_in":300}"#;
const CLIENT_SECRET: &str = "s3cr+t &=é";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

fn private(path: &Path, text: &str) -> SecretFile {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    SecretFile { path: path.to_owned(), danger_readable_by_others: false }
}

/// Grants whatever it is asked for.
async fn server() -> Server {
    Server::start(|_base| |_asked: &_| Said::ok(GRANTED)).await
}

fn settings(server: &Server, client: ClientAuth, grant: Grant) -> Endpoint {
    Endpoint {
        at: EndpointAt::Url(server.url("/token?tenant=a")),
        roots: server.roots.clone(),
        client,
        grant,
        scope: vec!["users:read".to_owned(), "orders:*".to_owned()],
        audience: None,
        resource: None,
    }
}

fn endpoint(settings: Endpoint) -> TokenEndpoint {
    let client = Client::new(tls::roots(&settings.roots).unwrap());
    TokenEndpoint::new(client, settings, JwtSvids::absent())
}

fn basic(server: &Server) -> ClientAuth {
    let secret = private(&server.file("secret"), CLIENT_SECRET);
    ClientAuth::SecretBasic { client_id: "orders".to_owned(), secret }
}

#[tokio::test]
async fn a_client_with_a_secret_says_it_in_the_header() {
    let server = server().await;
    let obtained =
        endpoint(settings(&server, basic(&server), Grant::ClientCredentials)).ask().await.unwrap();
    assert_eq!(obtained.token.expose(), "granted");
    let [asked] = &server.asked()[..] else { panic!("{:?}", server.asked()) };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token?tenant=a"));
    assert_eq!(asked.content_type.as_deref(), Some("application/x-www-form-urlencoded"));
    let credentials = STANDARD.encode("orders:s3cr%2Bt+%26%3D%C3%A9");
    assert_eq!(asked.authorization, Some(format!("Basic {credentials}")));
    assert_eq!(asked.body, "grant_type=client_credentials&scope=users%3Aread+orders%3A*");
}

#[tokio::test]
async fn a_client_with_a_secret_may_say_it_in_the_form() {
    let server = server().await;
    let secret = private(&server.file("secret"), CLIENT_SECRET);
    let client = ClientAuth::SecretPost { client_id: "orders".to_owned(), secret };
    let mut settings = settings(&server, client, Grant::ClientCredentials);
    settings.scope.clear();
    settings.audience = Some("billing".to_owned());
    settings.resource = Some("https://billing.example/".to_owned());
    endpoint(settings).ask().await.unwrap();
    let [asked] = &server.asked()[..] else { panic!("{:?}", server.asked()) };
    assert_eq!(asked.authorization, None);
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&audience=billing&resource=https%3A%2F%2Fbilling.example%2F\
         &client_id=orders&client_secret=s3cr%2Bt+%26%3D%C3%A9"
    );
}

#[tokio::test]
async fn a_client_with_an_assertion_reads_it_anew_for_each_request() {
    let server = server().await;
    let assertion = Proof::File(private(&server.file("assertion"), "one.two.three\n"));
    let client =
        ClientAuth::Assertion { client_id: None, assertion, assertion_type: JWT_BEARER.to_owned() };
    let mut endpoint = endpoint(settings(&server, client, Grant::ClientCredentials));
    endpoint.ask().await.unwrap();
    drop(private(&server.file("assertion"), "four.five.six"));
    endpoint.ask().await.unwrap();
    let bodies: Vec<_> = server.asked().into_iter().map(|it| it.body).collect();
    let wanted = |assertion: &str| {
        format!(
            "grant_type=client_credentials&scope=users%3Aread+orders%3A*&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion={assertion}"
        )
    };
    assert_eq!(bodies, [wanted("one.two.three"), wanted("four.five.six")]);
}

#[tokio::test]
async fn a_token_is_exchanged_with_and_without_a_client() {
    let server = server().await;
    let subject = Proof::File(private(&server.file("subject"), "one.two.three"));
    let grant = Grant::Exchange { subject, subject_type: JWT.to_owned() };
    let exchanged = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
        &subject_token=one.two.three&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt\
        &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
        &scope=users%3Aread+orders%3A*";
    let clients = [
        (ClientAuth::None { client_id: None }, ""),
        (ClientAuth::None { client_id: Some("orders".to_owned()) }, "&client_id=orders"),
        (basic(&server), ""),
    ];
    for (client, more) in clients {
        endpoint(settings(&server, client, grant.clone())).ask().await.unwrap();
        let asked = server.asked().pop().unwrap();
        assert_eq!(asked.body, format!("{exchanged}{more}"));
    }
}

#[tokio::test]
async fn a_jwt_svid_for_the_audience_is_the_assertion() {
    let server = server().await;
    let authority = Authority::new(TrustDomain::new("example.org").unwrap()).unwrap();
    let id = SpiffeId::new("spiffe://example.org/prod/orders").unwrap();
    let api = WorkloadApi::new(authority);
    let workload = Workload::new(id, Duration::from_secs(3600));
    let socket = api.serve(server.file("api.sock"), workload).unwrap();
    let identity = identity::start(identity::Settings {
        endpoint: socket.endpoint(),
        spiffe_id: None,
        hint: None,
        federates_with: Vec::new(),
        danger_accept_dev_agent: true,
        jwt_bundles: false,
    })
    .unwrap();
    let client = ClientAuth::Assertion {
        client_id: Some("spiffe://example.org/prod/orders".to_owned()),
        assertion: Proof::JwtSvid { audience: server.base.clone() },
        assertion_type: JWT_BEARER.to_owned(),
    };
    let mut settings = settings(&server, client, Grant::ClientCredentials);
    settings.scope.clear();
    let roots = tls::roots(&settings.roots).unwrap();
    let ask = async |identity: &Identity| {
        let svids = identity.jwt_svids.clone();
        TokenEndpoint::new(Client::new(roots.clone()), settings.clone(), svids).ask().await
    };
    ask(&identity).await.unwrap();
    let [asked] = &server.asked()[..] else { panic!("{:?}", server.asked()) };
    let (before, svid) = asked.body.split_once("&client_assertion=").unwrap();
    assert!(before.ends_with("client-assertion-type%3Ajwt-bearer"), "{before}");
    assert!(before.contains("&client_id=spiffe%3A%2F%2Fexample.org%2Fprod%2Forders&"), "{before}");
    let claims = URL_SAFE_NO_PAD.decode(svid.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], "spiffe://example.org/prod/orders");
    let audience = &claims["aud"];
    assert!(audience == &server.base || audience[0] == server.base, "{audience}");

    let failure = ask(&Identity::absent()).await.unwrap_err();
    assert!(failure.cause.contains("no Workload API"), "{failure}");
    assert_eq!(server.asked().len(), 1, "nothing was asked without the proof");
}

#[tokio::test]
async fn the_endpoint_is_found_by_discovery_and_found_again_when_it_moves() {
    let server = Server::start(|base| {
        move |asked: &crate::token::kit::Asked| match asked.path.as_str() {
            "/.well-known/openid-configuration" => Said::ok(format!(
                r#"{{"issuer":"{base}","jwks_uri":"{base}/k","token_endpoint":"{base}/old"}}"#
            )),
            _ => Said::ok(GRANTED),
        }
    })
    .await;
    let mut settings = settings(&server, basic(&server), Grant::ClientCredentials);
    settings.at = EndpointAt::Discovery { issuer: server.url("") };
    let mut endpoint = endpoint(settings);
    endpoint.ask().await.unwrap();
    endpoint.ask().await.unwrap();
    let paths = |server: &Server| server.asked().into_iter().map(|it| it.path).collect::<Vec<_>>();
    assert_eq!(paths(&server), ["/.well-known/openid-configuration", "/old", "/old"]);

    let base = server.base.clone();
    server.play(move |asked| match asked.path.as_str() {
        "/.well-known/openid-configuration" => {
            Said::ok(format!(r#"{{"issuer":"{base}/","token_endpoint":"{base}/new"}}"#))
        }
        "/new" => Said::ok(GRANTED),
        _ => Said::status(404),
    });
    endpoint.ask().await.unwrap_err();
    endpoint.ask().await.unwrap();
    let wanted = ["/old", "/.well-known/openid-configuration", "/new"];
    assert_eq!(paths(&server).split_off(3), wanted);
}

#[tokio::test]
async fn what_a_server_says_of_a_failure_is_shown_as_far_as_it_is_a_code() {
    let server = server().await;
    let mut endpoint = endpoint(settings(&server, basic(&server), Grant::ClientCredentials));
    let quoting = format!(
        r#"{{"error":"invalid_client","error_description":"wrong secret {CLIENT_SECRET}"}}"#
    );
    let cases = [
        (Said { body: quoting, ..Said::status(401) }, "status 401: `invalid_client`", None),
        (
            Said { body: format!(r#"{{"error":"{CLIENT_SECRET}"}}"#), ..Said::status(400) },
            "status 400",
            None,
        ),
        (Said::status(503).with("retry-after", "17"), "status 503", Some(17)),
        (Said::status(302).with("location", "/other"), "redirects are not followed", None),
        (Said::status(204), "status 204", None),
    ];
    for (said, wanted, retry_after) in cases {
        let shown = format!("{said:?}");
        server.play(move |_| said.clone());
        let failure = endpoint.ask().await.unwrap_err();
        assert!(failure.cause.contains(wanted), "{shown}: {failure}");
        assert!(!failure.cause.contains("s3cr"), "{failure}");
        assert!(!failure.cause.contains("tenant=a"), "{failure}");
        assert_eq!(failure.retry_after, retry_after.map(Duration::from_secs));
    }
    assert_eq!(server.asked().len(), 5, "no request was repeated");
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_is_told_nothing() {
    let (server, other) = (server().await, server().await);
    let mut settings = settings(&server, basic(&server), Grant::ClientCredentials);
    settings.roots = other.roots.clone();
    let failure = endpoint(settings).ask().await.unwrap_err();
    assert!(failure.cause.contains("is not the server"), "{failure}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_secret_that_others_may_read_or_that_is_no_token_goes_nowhere() {
    let server = server().await;
    let open = private(&server.file("open"), "one.two.three");
    fs::set_permissions(&open.path, fs::Permissions::from_mode(0o640)).unwrap();
    let text = private(&server.file("text"), "hunter2 hunter2");
    for (file, wanted) in [(open, "0640"), (text, "client assertion")] {
        let client = ClientAuth::Assertion {
            client_id: None,
            assertion: Proof::File(file),
            assertion_type: JWT_BEARER.to_owned(),
        };
        let mut endpoint = endpoint(settings(&server, client, Grant::ClientCredentials));
        let failure = endpoint.ask().await.unwrap_err();
        assert!(failure.cause.contains(wanted), "{failure}");
        assert!(!format!("{failure:?} {endpoint:?}").contains("hunter2"), "{failure}");
    }
    assert!(server.asked().is_empty());
}

fn url() -> HttpsUrl {
    HttpsUrl::parse("https://auth.example.com/token").unwrap()
}

fn answer(body: &str) -> Answer {
    let body = body.as_bytes().to_vec();
    Answer { status: 200, content_type: None, body, max_age: None, retry_after: None, etag: None }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn life(body: &str, now: SystemTime) -> Duration {
    let obtained = read(&url(), answer(body), now).unwrap();
    obtained.expires.unwrap().duration_since(now).unwrap()
}

#[test]
fn a_token_lives_for_as_long_as_both_it_and_the_answer_say() {
    let now = SystemTime::UNIX_EPOCH + s(1_800_000_000);
    let jwt = |exp: u64| {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
        format!("{}.{claims}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#))
    };
    let body = |token: &str, more: &str| {
        format!(r#"{{"access_token":"{token}","token_type":"bearer"{more}}}"#)
    };
    assert_eq!(life(&body("opaque", r#","expires_in":300"#), now), s(300));
    assert_eq!(life(&body("opaque", r#","expires_in":"300""#), now), s(300));
    assert_eq!(life(&body("opaque", ""), now), LIFE_UNTOLD);
    assert_eq!(life(&body("opaque", r#","expires_in":18446744073709551615"#), now), LIFE_MOST);
    assert_eq!(life(&body(&jwt(1_800_000_100), ""), now), s(100));
    assert_eq!(life(&body(&jwt(1_800_000_100), r#","expires_in":300"#), now), s(100));
    assert_eq!(life(&body(&jwt(1_800_000_900), r#","expires_in":300"#), now), s(300));
    assert_eq!(life(&body(&jwt(4_000_000_000), ""), now), LIFE_MOST);
}

#[test]
fn an_answer_without_a_bearer_token_is_refused_without_quoting_it() {
    let bad = [
        "",
        "[]",
        "hunter2",
        r#"{"access_token":"hunter2"}"#,
        r#"{"token_type":"Bearer"}"#,
        r#"{"access_token":["hunter2"],"token_type":"Bearer"}"#,
        r#"{"access_token":"hunter2","access_token":"hunter2","token_type":"Bearer"}"#,
        r#"{"access_token":"hunter2","token_type":"N_A"}"#,
        r#"{"access_token":"hunter2","token_type":"DPoP"}"#,
        r#"{"access_token":"hunter2\r\nx: y","token_type":"Bearer"}"#,
        r#"{"access_token":"","token_type":"Bearer"}"#,
        r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":-1}"#,
        r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":"hunter2"}"#,
    ];
    for body in bad {
        let failure = read(&url(), answer(body), SystemTime::now()).unwrap_err();
        assert!(!failure.cause.contains("hunter2"), "{body}: {failure}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_us_stumble(
        body in proptest::collection::vec(any::<u8>(), 0..200), status in 200_u16..600,
    ) {
        let answer = Answer { status, body, ..answer("") };
        if let Err(failure) = read(&url(), answer, SystemTime::now()) {
            prop_assert!(failure.cause.len() < 200);
        }
    }
}
