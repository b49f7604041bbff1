//! Servers on real sockets: well-behaved, wrong, slow and hostile ones.

use std::fs;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::Limits;
use super::*;
use crate::live::Live;
use crate::secret::Secret;
use crate::tls::{Roots, RootsFrom, roots};

const SECRET: &str = "hunter2";
const LIMIT: usize = 1000;
/// For what is not about time.
const PATIENT: Limits = Limits { connect: Duration::from_secs(30), whole: Duration::from_secs(60) };

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), pem).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn roots(&self) -> Live<Roots> {
        roots(&RootsFrom::File(self.folder.path().join("ca.pem"))).unwrap()
    }

    fn client(&self) -> Client {
        Client::with_limits(self.roots(), PATIENT)
    }

    fn config(&self, name: &str, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    /// A server named `localhost` that gives one answer.
    async fn server(&self, answer: impl AsRef<[u8]>) -> Server {
        Server::answering(self.config("localhost", rustls::ALL_VERSIONS), answer).await
    }
}

/// Takes one connection.
struct Server {
    port: u16,
    /// What it was sent, once its connection has ended.
    request: JoinHandle<String>,
}

impl Server {
    async fn with<F>(work: impl FnOnce(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = String> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let request = tokio::spawn(async move { work(listener.accept().await.unwrap().0).await });
        Self { port, request }
    }

    async fn answering(config: ServerConfig, answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::with(move |tcp| async move {
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(tcp).await else {
                return String::new();
            };
            let request = read_request(&mut stream).await;
            // A client that has had enough hangs up.
            drop(stream.write_all(&answer).await);
            drop(stream.shutdown().await);
            request
        })
        .await
    }

    fn url(&self, path: &str) -> HttpsUrl {
        url(&format!("https://localhost:{}{path}", self.port))
    }

    async fn request(self) -> String {
        self.request.await.unwrap()
    }
}

async fn read_request(stream: &mut TlsStream<TcpStream>) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |it| it.parse().unwrap()) {
                return text.into_owned();
            }
        }
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the client hung up");
    }
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(text).unwrap()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Posts a secret, and looks for it in the error.
async fn refused(client: &Client, url: &HttpsUrl) -> WebError {
    let basic = Basic { user: "me".to_owned(), password: Secret::new(SECRET.to_owned()) };
    let posted = client.post_form(url, &[("token", SECRET)], Some(&basic), LIMIT).await;
    let error = posted.expect_err("an answer");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("token"), "{shown}");
    error
}

#[tokio::test]
async fn a_server_is_asked_and_its_answer_is_read() {
    let authority = Authority::new();
    let answer = "HTTP/1.1 203 Fine\r\nContent-Type: Application/JSON; charset=utf-8\r\n\
                  cache-control: public, max-age=300\r\nretry-after: 7\r\n\
                  transfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    let server = authority.server(answer).await;
    let answer = authority.client().get(&server.url("/keys?x=1"), LIMIT).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (203, b"{\"a\":1}".as_slice()));
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    assert_eq!(answer.max_age, Some(Duration::from_secs(300)));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    let port = server.port;
    let request = server.request().await;
    assert!(request.starts_with("GET /keys?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: localhost:{port}\r\n")), "{request}");
    assert!(!request.contains("authorization") && !request.contains("content-type"), "{request}");
}

#[tokio::test]
async fn an_address_without_a_path_asks_for_the_root() {
    let authority = Authority::new();
    for (path, asked) in [("", "GET / HTTP"), ("?a=b", "GET /?a=b HTTP"), ("/", "GET / HTTP")] {
        let server = authority.server(ok("x")).await;
        authority.client().get(&server.url(path), LIMIT).await.unwrap();
        let request = server.request().await;
        assert!(request.starts_with(asked), "{request}");
    }
}

#[tokio::test]
async fn what_is_known_and_wanted_is_said() {
    let authority = Authority::new();
    let answer = "HTTP/1.1 304 Not Modified\r\netag: W/\"b\"\r\n\r\n";
    let server = authority.server(answer).await;
    let token = Secret::new(SECRET.to_owned());
    let wants = Wants {
        accept: Some("application/gzip"),
        bearer: Some(&token),
        known: Some("W/\"a\""),
        prefer: Some("modes=snapshot;wait=3".to_owned()),
        within: None,
    };
    let answer = authority.client().fetch(&server.url("/b"), &wants, LIMIT).await.unwrap();
    assert_eq!((answer.status, answer.etag.as_deref()), (304, Some("W/\"b\"")));
    let request = server.request().await;
    for line in [
        "accept: application/gzip\r\n",
        "if-none-match: W/\"a\"\r\n",
        "prefer: modes=snapshot;wait=3\r\n",
        "authorization: Bearer hunter2\r\n",
    ] {
        assert!(request.contains(line), "{request}");
    }
    assert_eq!(request.matches("accept:").count(), 1, "{request}");
}

#[tokio::test]
async fn bytes_are_posted_as_they_are() {
    let authority = Authority::new();
    let server = authority.server(ok("")).await;
    let token = Secret::new(SECRET.to_owned());
    let post = Post {
        content_type: "application/json",
        encoding: Some("gzip"),
        bearer: Some(&token),
        body: bytes::Bytes::from_static(b"packed"),
        within: None,
    };
    assert_eq!(
        authority.client().post(&server.url("/logs"), post, LIMIT).await.unwrap().status,
        200
    );
    let request = server.request().await;
    assert!(request.starts_with("POST /logs HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\npacked"), "{request}");
    for line in [
        "content-type: application/json",
        "content-encoding: gzip",
        "authorization: Bearer hunter2",
    ] {
        assert!(request.contains(line), "{request}");
    }
}

#[tokio::test]
async fn what_does_not_fit_into_a_header_is_neither_sent_nor_shown() {
    let authority = Authority::new();
    let token = Secret::new(format!("{SECRET}\r\nx: y"));
    let wants = Wants { bearer: Some(&token), ..Wants::default() };
    let error = authority.client().fetch(&url("https://localhost:1/"), &wants, LIMIT).await;
    let error = error.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
}

#[tokio::test]
async fn a_form_is_posted_with_the_credentials_of_the_client() {
    let authority = Authority::new();
    let server = authority.server(ok("done")).await;
    let basic = Basic { user: "a:b".to_owned(), password: Secret::new("p&".to_owned()) };
    let fields = [("grant_type", "client_credentials"), ("scope", "a b")];
    let (client, url) = (authority.client(), server.url("/token"));
    let answer = client.post_form(&url, &fields, Some(&basic), LIMIT).await.unwrap();
    assert_eq!(answer.body, b"done");
    let request = server.request().await;
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"), "{request}");
    // `a%3Ab:p%26`.
    assert!(request.contains("authorization: Basic YSUzQWI6cCUyNg==\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b"), "{request}");
}

#[tokio::test]
async fn a_request_may_be_made_from_any_thread() {
    let authority = Authority::new();
    let server = authority.server(ok("x")).await;
    let (client, url) = (authority.client(), server.url("/"));
    let asked = tokio::spawn(async move { client.get(&url, LIMIT).await });
    assert_eq!(asked.await.unwrap().unwrap().body, b"x");
}

#[tokio::test]
async fn a_server_may_be_known_by_its_address_and_speak_tls_1_2() {
    let authority = Authority::new();
    let config = authority.config("127.0.0.1", &[&rustls::version::TLS12]);
    let server = Server::answering(config, ok("x")).await;
    let url = url(&format!("https://127.0.0.1:{}/", server.port));
    assert_eq!(authority.client().get(&url, LIMIT).await.unwrap().body, b"x");
}

#[tokio::test]
async fn a_server_of_another_name_is_sent_nothing() {
    let authority = Authority::new();
    let server = authority.server(ok("x")).await;
    let by_address = url(&format!("https://127.0.0.1:{}/", server.port));
    let error = refused(&authority.client(), &by_address).await;
    assert!(matches!(error, WebError::Unverified { .. }), "{error:?}");
    assert_eq!(server.request().await, "");
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_sent_nothing() {
    let server = Authority::new().server(ok("x")).await;
    let error = refused(&Authority::new().client(), &server.url("/?q=hunter2")).await;
    assert!(matches!(error, WebError::Unverified { .. }), "{error:?}");
    assert_eq!(server.request().await, "");
}

#[tokio::test]
async fn a_server_without_tls_is_sent_nothing() {
    let (heard, first) = oneshot::channel();
    let server = Server::with(|mut tcp| async move {
        let mut bytes = vec![0; 4096];
        let length = tcp.read(&mut bytes).await.unwrap();
        bytes.truncate(length);
        heard.send(bytes).unwrap();
        tcp.write_all(ok("x").as_bytes()).await.unwrap();
        String::new()
    })
    .await;
    let error = refused(&Authority::new().client(), &server.url("/")).await;
    assert!(matches!(error, WebError::Connect { .. }), "{error:?}");
    // A handshake record.
    assert_eq!(first.await.unwrap()[0], 0x16);
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_1_is_sent_nothing() {
    let authority = Authority::new();
    let mut config = authority.config("localhost", rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = Server::answering(config, ok("x")).await;
    let error = refused(&authority.client(), &server.url("/")).await;
    assert!(matches!(error, WebError::Connect { .. }), "{error:?}");
    assert_eq!(server.request().await, "");
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = url(&format!("https://127.0.0.1:{port}/"));
    let error = refused(&Authority::new().client(), &url).await;
    assert!(matches!(error, WebError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_is_bounded_however_its_end_is_told() {
    let authority = Authority::new();
    for (size, fits) in [(LIMIT, true), (LIMIT + 1, false), (100 * LIMIT, false)] {
        let body = "x".repeat(size);
        let answers = [
            ok(&body),
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
            ),
            format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
        ];
        for answer in answers {
            let server = authority.server(answer).await;
            match authority.client().get(&server.url("/"), LIMIT).await {
                Ok(answer) => assert!(fits && answer.body.len() == size),
                Err(WebError::TooLarge { limit, .. }) => assert!(!fits && limit == LIMIT),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn headers_are_bounded_in_number_and_size() {
    let authority = Authority::new();
    let many = "a: b\r\n".repeat(65);
    let long = format!("a: {}\r\n", "b".repeat(16 * 1024));
    let endless = format!("a: {}", "b".repeat(1024 * 1024));
    for headers in [many, long, endless] {
        let server = authority.server(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
        let error = refused(&authority.client(), &server.url("/")).await;
        assert!(matches!(error, WebError::Broken { .. }), "{error:?}");
    }
    let some = "a: b\r\n".repeat(60) + "content-length: 1\r\n";
    let server = authority.server(format!("HTTP/1.1 200 OK\r\n{some}\r\nx")).await;
    assert_eq!(authority.client().get(&server.url("/"), LIMIT).await.unwrap().body, b"x");
}

#[tokio::test]
async fn an_answer_that_is_cut_short_or_no_http_is_none() {
    let authority = Authority::new();
    let answers = [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        "just text",
    ];
    for answer in answers {
        let server = authority.server(answer).await;
        let error = refused(&authority.client(), &server.url("/")).await;
        assert!(matches!(error, WebError::Broken { .. }), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_length_has_to_be_ended_by_tls() {
    let authority = Authority::new();
    let config = authority.config("localhost", rustls::ALL_VERSIONS);
    let server = Server::with(|tcp| async move {
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
        stream.flush().await.unwrap();
        // The end of the bytes, but not of the TLS connection.
        stream.get_mut().0.shutdown().await.unwrap();
        request
    })
    .await;
    let error = refused(&authority.client(), &server.url("/")).await;
    assert!(matches!(error, WebError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = StdListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let authority = Authority::new();
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Go\r\nlocation: https://localhost:{port}/\r\n\
             content-length: 0\r\n\r\n"
        );
        let server = authority.server(answer).await;
        let answer = authority.client().get(&server.url("/"), LIMIT).await.unwrap();
        assert_eq!(answer.status, status);
        let asked = elsewhere.accept().unwrap_err();
        assert_eq!(asked.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn an_error_of_the_server_is_an_answer() {
    let authority = Authority::new();
    for status in [400, 401, 404, 429, 500, 503] {
        let answer =
            format!("HTTP/1.1 {status} No\r\nretry-after: 9999\r\ncontent-length: 2\r\n\r\nno");
        let server = authority.server(answer).await;
        let answer = authority.client().get(&server.url("/"), LIMIT).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (status, b"no".as_slice()));
        assert_eq!(answer.retry_after, Some(Duration::from_secs(3600)));
    }
}

/// Asks a server that keeps the connection and never finishes; gives the error and how long it
/// took. The server ends when the client has let go.
async fn stalled(limits: Limits, said: Option<&'static [u8]>) -> (WebError, Duration) {
    let authority = Authority::new();
    let config = authority.config("localhost", rustls::ALL_VERSIONS);
    let server = Server::with(move |mut tcp| async move {
        let mut rest = Vec::new();
        let Some(said) = said else {
            tcp.read_to_end(&mut rest).await.unwrap();
            return String::new();
        };
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(said).await.unwrap();
        // Torn, not ended: the client gives up in the middle.
        drop(stream.read_to_end(&mut rest).await);
        request
    })
    .await;
    let client = Client::with_limits(authority.roots(), limits);
    let started = Instant::now();
    let error = refused(&client, &server.url("/")).await;
    let took = started.elapsed();
    let let_go = tokio::time::timeout(Duration::from_secs(10), server.request()).await;
    let_go.expect("the client holds on to its connection");
    (error, took)
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up_wherever_it_does() {
    let short = Duration::from_millis(300);
    let connect = Limits { connect: short, ..PATIENT };
    let whole = Limits { whole: short, ..PATIENT };
    let head: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhalf";
    let cases = [(connect, None), (whole, None), (whole, Some(&b""[..])), (whole, Some(head))];
    for (limits, said) in cases {
        let (error, took) = stalled(limits, said).await;
        assert!(matches!(error, WebError::Timeout { limit, .. } if limit == short), "{error:?}");
        assert!(took >= short && took < PATIENT.connect, "{took:?}");
    }
}

#[tokio::test]
async fn a_client_is_as_patient_as_the_product_says() {
    let client = Client::new(Authority::new().roots());
    let shown = format!("{client:?}");
    assert!(shown.contains("connect: 5s") && shown.contains("whole: 10s"), "{shown}");
}
