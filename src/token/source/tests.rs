//! Tokens from files and endpoints, as the outside sees them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::token::kit::{Log, Said, Server, until};
use crate::token::settings::{ClientAuth, Endpoint, Grant};
use crate::token::{Credential, TokensState};

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn jwt(name: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let exp = i64::try_from(now).unwrap() + seconds;
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{name}","exp":{exp}}}"#));
    format!("{}.{claims}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#))
}

fn follow(path: &Path) -> Tokens {
    let file = SecretFile { path: path.to_owned(), danger_readable_by_others: false };
    tokens(Present::File(file), &Identity::absent()).unwrap()
}

fn is(token: &str) -> impl Fn(&Option<Credential>) -> bool {
    let wanted = format!("Bearer {token}");
    move |credential| {
        let header = credential.as_ref().and_then(|it| it.at(SystemTime::now()));
        header.is_some_and(|it| it.to_str().unwrap() == wanted)
    }
}

/// As the kubelet writes a volume: all at once, by a link that is replaced.
fn mount(folder: &Path, version: &str, token: &str) {
    let data = folder.join(version);
    fs::create_dir(&data).unwrap();
    write(&data.join("token"), token, 0o600);
    let next = folder.join("..data_tmp");
    symlink(version, &next).unwrap();
    fs::rename(next, folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_mounted_token_is_followed_through_the_swap_of_its_volume() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (jwt("first", 3600), jwt("second", 3600));
    mount(folder.path(), "..1", &first);
    let path = folder.path().join("token");
    symlink("..data/token", &path).unwrap();
    let tokens = follow(&path);
    until(&tokens.current, is(&first)).await;
    mount(folder.path(), "..2", &second);
    fs::remove_dir_all(folder.path().join("..1")).unwrap();
    until(&tokens.current, is(&second)).await;
    let status = until(&tokens.status, |it| it.renewals == 2).await;
    assert_eq!((status.state, status.failures), (TokensState::Valid, 0));
    assert!(status.expires.is_some());
}

#[tokio::test]
async fn a_file_that_comes_later_is_found_and_an_opaque_token_has_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let tokens = follow(&path);
    let status = until(&tokens.status, |it| it.state == TokensState::Absent).await;
    assert!(status.last_error.as_deref().unwrap().contains("cannot be read"), "{status:?}");
    write(&path, "opaque\n", 0o600);
    until(&tokens.current, is("opaque")).await;
    assert_eq!(until(&tokens.status, |it| it.state == TokensState::Valid).await.expires, None);
}

#[tokio::test]
async fn what_others_may_read_or_is_no_token_is_refused() {
    let log = Log::listen();
    let folder = tempfile::tempdir().unwrap();
    let old = jwt("hunter2", -10);
    let cases = [
        ("hunter2", 0o640, "mode 0640"),
        ("hunter2", 0o604, "mode 0604"),
        ("hunter2 hunter2", 0o600, "RFC 6750"),
        ("hunter2\nhunter2", 0o600, "RFC 6750"),
        ("", 0o600, "is empty"),
        (&"hunter2".repeat(3000), 0o600, "larger than"),
        (&old, 0o600, "run out"),
    ];
    for (at, (text, mode, wanted)) in cases.into_iter().enumerate() {
        let path = folder.path().join(at.to_string());
        write(&path, text, mode);
        let tokens = follow(&path);
        let status = until(&tokens.status, |it| it.state == TokensState::Absent).await;
        let error = status.last_error.as_deref().unwrap();
        assert!(error.contains(wanted), "{error}");
        assert!(tokens.current.load().is_none());
        let shown = format!("{tokens:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(&old), "{shown}");
    }
    assert_eq!(log.count("ERROR"), 7, "{}", log.text());
    assert!(!log.text().contains("hunter2") && !log.text().contains(&old), "{}", log.text());
}

#[tokio::test]
async fn a_file_that_is_put_right_is_taken_and_one_that_breaks_leaves_the_good_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let (old, new) = (jwt("old", -10), jwt("new", 3600));
    write(&path, &old, 0o600);
    let tokens = follow(&path);
    until(&tokens.status, |it| it.state == TokensState::Absent).await;
    write(&path, &new, 0o600);
    until(&tokens.current, is(&new)).await;
    fs::remove_file(&path).unwrap();
    until(&tokens.status, |it| it.state == TokensState::Stale).await;
    assert!(is(&new)(&tokens.current.load()));
}

#[tokio::test]
async fn a_file_that_is_half_written_does_not_displace_a_good_token() {
    let log = Log::listen();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let (old, new) = (jwt("hunter2-old", 3600), jwt("hunter2-new", 3600));
    write(&path, &old, 0o600);
    let tokens = follow(&path);
    until(&tokens.current, is(&old)).await;
    let last = new.rfind('.').unwrap();
    let mut failures = 0;
    for end in [5, last / 2, last, last + 1] {
        write(&path, new.get(..end).unwrap(), 0o600);
        // While it is being written it is empty for a moment, which is an error of its own.
        let half = |it: &crate::token::TokensStatus| {
            let said = it.last_error.as_deref().unwrap_or_default();
            it.failures > failures && said.contains("half written")
        };
        let status = until(&tokens.status, half).await;
        failures = status.failures;
        assert_eq!(status.state, TokensState::Stale);
        assert!(is(&old)(&tokens.current.load()));
    }
    write(&path, &new, 0o600);
    until(&tokens.current, is(&new)).await;
    assert!(!log.text().contains("hunter2") && !log.text().contains(new.get(..last).unwrap()));
}

#[tokio::test]
async fn a_given_token_is_taken_as_it_is() {
    let log = Log::listen();
    let given = |token: &str| {
        let token = Secret::new(token.to_owned());
        let present = Present::Given { variable: "SIDEGATE_TOKEN".to_owned(), token };
        tokens(present, &Identity::absent()).unwrap()
    };
    let good = jwt("hunter2", 3600);
    let followed = given(&good);
    until(&followed.current, is(&good)).await;
    for bad in ["hunter2 hunter2", &jwt("hunter2", 3)] {
        let refused = given(bad);
        let status = until(&refused.status, |it| it.state == TokensState::Absent).await;
        assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
    }
    assert!(log.text().contains("environment variable SIDEGATE_TOKEN"), "{}", log.text());
    assert!(!log.text().contains("hunter2") && !log.text().contains(&good), "{}", log.text());
}

#[tokio::test]
async fn a_token_of_an_endpoint_is_renewed_and_a_new_secret_is_tried_at_once() {
    let log = Log::listen();
    let server = Server::start(|_base| {
        let mut count = 0;
        move |_asked: &_| {
            count += 1;
            let token = format!(r#""access_token":"hunter2-{count}","token_type":"Bearer""#);
            Said::ok(format!(r#"{{{token},"expires_in":12}}"#))
        }
    })
    .await;
    let path = server.file("secret");
    write(&path, "first-hunter2", 0o600);
    let settings = Endpoint {
        at: EndpointAt::Url(server.url("/token")),
        roots: server.roots.clone(),
        client: ClientAuth::SecretPost {
            client_id: "orders".to_owned(),
            secret: SecretFile { path: path.clone(), danger_readable_by_others: false },
        },
        grant: Grant::ClientCredentials,
        scope: Vec::new(),
        audience: None,
        resource: None,
    };
    let present = Present::Endpoint(Box::new(settings));
    let tokens = tokens(present, &Identity::absent()).unwrap();
    until(&tokens.current, is("hunter2-1")).await;
    // Twelve seconds leave two before there would be too few.
    until(&tokens.current, is("hunter2-2")).await;

    let refused = Said { body: r#"{"error":"invalid_client"}"#.to_owned(), ..Said::status(401) };
    server.play(move |asked| match asked.body.contains("second-hunter2") {
        true => Said::ok(r#"{"access_token":"hunter2-x","token_type":"Bearer","expires_in":900}"#),
        false => refused.clone(),
    });
    let status = until(&tokens.status, |it| it.state == TokensState::Stale).await;
    assert!(status.last_error.as_deref().unwrap().contains("invalid_client"), "{status:?}");
    write(&path, "second-hunter2", 0o600);
    until(&tokens.current, is("hunter2-x")).await;
    let status = until(&tokens.status, |it| it.state == TokensState::Valid).await;
    assert_eq!(status.last_error, None);
    let shown = format!("{tokens:?}{}", log.text());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("token endpoint https://127.0.0.1"), "{shown}");
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_an_error_at_once() {
    let settings = Endpoint {
        at: EndpointAt::Url(crate::web::HttpsUrl::parse("https://auth.example.com/").unwrap()),
        roots: tls::RootsFrom::File("/nowhere/ca.pem".into()),
        client: ClientAuth::None { client_id: None },
        grant: Grant::ClientCredentials,
        scope: Vec::new(),
        audience: None,
        resource: None,
    };
    let made = tokens(Present::Endpoint(Box::new(settings)), &Identity::absent());
    assert!(made.unwrap_err().to_string().contains("/nowhere/ca.pem"));
}
