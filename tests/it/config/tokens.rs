//! The keys on machine tokens: what the rooms below are told, and what nobody is told.

use std::path::PathBuf;
use std::time::Duration;

use sidegate::config::{self, Accept, Config, Problems};
use sidegate::files::SecretFile;
use sidegate::secret::Secret;
use sidegate::tls::{HostName, RootsFrom};
use sidegate::token::{
    Algorithm, ClientAuth, Endpoint, EndpointAt, Grant, KeysFrom, Present, Proof,
};
use sidegate::web::HttpsUrl;

/// A name on the network of ours, without SPIFFE.
const OUTSIDE: &str = "\
tenant: acme
policy: /p
inbound:
  - listen: 0.0.0.0:8443
    forward_to: 127.0.0.1:8080
    accept: [jwt]
    certificate: { chain: tls.crt, key: /tls/tls.key, danger_key_readable_by_others: true }
    routes: [{ path: /a, methods: [GET], scopes: [a:read] }]
outbound:
  - listen: 127.0.0.1:9001
    connect_to: billing.example.com:8443
    authenticate_with: [jwt]
jwt:
  issuers: [{ issuer: https://auth.example.com/, audience: orders }]
  present: { file: token }
";

const AGENT: (&str, &str) = ("SPIFFE_ENDPOINT_SOCKET", "unix:///run/api.sock");

/// Nothing is in the environment but what is given.
fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
    config::parse(text, "/etc/sidegate/sidegate.yaml", variables(env))
}

fn variables(env: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    let given = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    given.collect::<Vec<_>>().into_iter()
}

fn parsed(text: &str, env: &[(&str, &str)]) -> Config {
    parse(text, env).unwrap_or_else(|problems| panic!("{problems}"))
}

fn private(path: &str) -> SecretFile {
    SecretFile { path: PathBuf::from(path), danger_readable_by_others: false }
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(text).unwrap()
}

/// [`OUTSIDE`] with something else to present.
fn presenting(present: &str) -> Present {
    let text = OUTSIDE.replace("{ file: token }", present);
    parsed(&text, &[AGENT]).outbound.remove(0).fallback.unwrap().present
}

#[test]
fn a_service_outside_spiffe_is_told_in_full() {
    let config = parsed(OUTSIDE, &[]);

    assert!(config.identity.is_none());
    let [issuer] = config.jwt.issuers.as_slice() else { panic!("{:?}", config.jwt) };
    assert_eq!(issuer.issuer, "https://auth.example.com/");
    assert_eq!(issuer.audience, ["orders"]);
    assert!(matches!(issuer.keys, KeysFrom::Discovery));
    assert_eq!(issuer.roots, RootsFrom::System);
    assert_eq!(issuer.algorithms, Algorithm::ALL);
    assert_eq!(issuer.max_lifetime, Duration::from_secs(3600));
    assert_eq!(issuer.keys_max_age, Duration::from_secs(24 * 3600));
    assert_eq!(issuer.tenants, None);
    assert_eq!(issuer.cross_tenant_max_lifetime, None);
    assert!(config.jwt.svid.is_none());

    let inbound = &config.inbound[0];
    assert_eq!(inbound.accept, Accept::Jwt);
    let certificate = inbound.certificate.as_ref().unwrap();
    assert_eq!(certificate.chain, PathBuf::from("/etc/sidegate/tls.crt"));
    assert_eq!(certificate.key.path, PathBuf::from("/tls/tls.key"));
    assert!(certificate.key.danger_readable_by_others);

    let outbound = &config.outbound[0];
    assert!(outbound.expect.is_empty());
    let fallback = outbound.fallback.as_ref().unwrap();
    assert_eq!(fallback.server, HostName::parse("billing.example.com").unwrap());
    assert_eq!(fallback.roots, RootsFrom::System);
    assert_eq!(fallback.present, Present::File(private("/etc/sidegate/token")));
}

#[test]
fn everything_about_an_issuer_can_be_said() {
    let said = "{ issuer: https://auth.example.com, audience: [a, b], keys: { url: https://k.example/j }, \
                ca: ca.pem, algorithms: [ES256, EdDSA], max_lifetime: 1s, keys_max_age: 168h, \
                tenants: [acme, beta], cross_tenant: true, cross_tenant_max_lifetime: 1h }, \
                { issuer: https://b.example, audience: a, keys: { file: jwks.json }, cross_tenant: true }";
    let config = parsed(
        &OUTSIDE.replace("{ issuer: https://auth.example.com/, audience: orders }", said),
        &[],
    );
    let [first, second] = config.jwt.issuers.as_slice() else { panic!("{:?}", config.jwt) };
    assert_eq!(first.audience, ["a", "b"]);
    assert!(matches!(&first.keys, KeysFrom::Url(it) if *it == url("https://k.example/j")));
    assert_eq!(first.roots, RootsFrom::File(PathBuf::from("/etc/sidegate/ca.pem")));
    assert_eq!(first.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
    assert_eq!(first.max_lifetime, Duration::from_secs(1));
    assert_eq!(first.keys_max_age, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(first.tenants, Some(vec!["acme".to_owned(), "beta".to_owned()]));
    assert_eq!(first.cross_tenant_max_lifetime, Some(Duration::from_secs(3600)));
    let jwks = PathBuf::from("/etc/sidegate/jwks.json");
    assert!(matches!(&second.keys, KeysFrom::File(path) if *path == jwks));
    assert_eq!(second.cross_tenant_max_lifetime, Some(Duration::from_secs(15 * 60)));
}

#[test]
fn an_issuer_that_is_not_asked_may_have_any_https_url() {
    let issuer = "https://auth.example.com/{tenant}?a=b#c";
    let text = OUTSIDE.replace(
        "{ issuer: https://auth.example.com/, audience: orders }",
        &format!("{{ issuer: \"{issuer}\", audience: a, keys: {{ file: /jwks }} }}"),
    );
    assert_eq!(parsed(&text, &[]).jwt.issuers[0].issuer, issuer);
}

#[test]
fn listeners_may_take_both_and_fall_back() {
    let text = OUTSIDE
        .replace("accept: [jwt]", "accept: [jwt, spiffe]")
        .replace(
            "authenticate_with: [jwt]",
            "authenticate_with: [spiffe, jwt]\n    expect: spiffe://example.org/billing\n    \
             server: { name: \"[::1]\", ca: /ca.pem }\n    present: { file: /own }",
        )
        .replace("  present: { file: token }\n", "  svid: { audience: [a, b] }\n");
    let config = parsed(&text, &[AGENT]);
    assert_eq!(config.inbound[0].accept, Accept::SpiffeOrJwt);
    assert_eq!(config.outbound[0].expect.len(), 1);
    let fallback = config.outbound[0].fallback.as_ref().unwrap();
    assert_eq!(fallback.server, HostName::parse("::1").unwrap());
    assert_eq!(fallback.roots, RootsFrom::File(PathBuf::from("/ca.pem")));
    assert_eq!(fallback.present, Present::File(private("/own")));
    let svid = config.jwt.svid.unwrap();
    assert_eq!(svid.audience, ["a", "b"]);
    assert_eq!(svid.max_lifetime, Duration::from_secs(3600));
    assert!(config.identity.unwrap().jwt_bundles);
}

#[test]
fn without_a_certificate_the_svid_is_shown() {
    let certificate = OUTSIDE.lines().find(|line| line.contains("certificate:")).unwrap();
    let text = OUTSIDE.replace(&format!("{certificate}\n"), "");
    let config = parsed(&text, &[AGENT]);
    assert!(config.inbound[0].certificate.is_none());
    assert!(parse(&text, &[]).is_err());

    let both = text.replace("accept: [jwt]", "accept: [spiffe, jwt]");
    assert!(parsed(&both, &[AGENT]).inbound[0].certificate.is_none());
}

#[test]
fn a_workload_api_that_is_there_is_used_whoever_needs_it() {
    let identity = parsed(OUTSIDE, &[AGENT]).identity.unwrap();
    assert_eq!(identity.endpoint, "unix:///run/api.sock");
    assert!(!identity.jwt_bundles);
    let text = format!("{OUTSIDE}identity: {{ workload_api: unix:///own.sock }}\n");
    assert_eq!(parsed(&text, &[]).identity.unwrap().endpoint, "unix:///own.sock");
}

#[test]
fn whoever_names_spiffe_needs_a_workload_api() {
    let inbound = OUTSIDE.replace("accept: [jwt]", "accept: [spiffe, jwt]");
    let outbound = OUTSIDE.replace(
        "authenticate_with: [jwt]",
        "authenticate_with: [spiffe, jwt]\n    expect: spiffe://example.org/billing",
    );
    for text in [inbound, outbound] {
        let problems = parse(&text, &[]).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["identity.workload_api"], "{problems}");
        assert!(parse(&text, &[AGENT]).is_ok());
    }
}

#[test]
fn a_token_endpoint_is_asked_with_a_secret() {
    let asked = |where_to: &str| {
        presenting(&format!(
            "{{ client_credentials: {{ issuer: https://auth.example.com, ca: ca.pem, client_id: me, \
             client_secret_file: s, danger_client_secret_readable_by_others: true{where_to}, \
             scope: [a, b], audience: billing, resource: urn:billing }} }}"
        ))
    };
    let secret =
        SecretFile { path: PathBuf::from("/etc/sidegate/s"), danger_readable_by_others: true };
    let mut expected = Endpoint {
        at: EndpointAt::Discovery { issuer: url("https://auth.example.com") },
        roots: RootsFrom::File(PathBuf::from("/etc/sidegate/ca.pem")),
        client: ClientAuth::SecretBasic { client_id: "me".to_owned(), secret: secret.clone() },
        grant: Grant::ClientCredentials,
        scope: vec!["a".to_owned(), "b".to_owned()],
        audience: Some("billing".to_owned()),
        resource: Some("urn:billing".to_owned()),
    };
    for basic in ["", ", client_secret_in: basic"] {
        assert_eq!(asked(basic), Present::Endpoint(Box::new(expected.clone())));
    }
    expected.client = ClientAuth::SecretPost { client_id: "me".to_owned(), secret };
    assert_eq!(asked(", client_secret_in: post"), Present::Endpoint(Box::new(expected)));
}

#[test]
fn a_token_endpoint_is_asked_with_an_assertion() {
    let present = presenting(
        "{ client_credentials: { token_endpoint: https://auth.example.com/t, \
         assertion: { file: /sa, danger_readable_by_others: true } } }",
    );
    let expected = Endpoint {
        at: EndpointAt::Url(url("https://auth.example.com/t")),
        roots: RootsFrom::System,
        client: ClientAuth::Assertion {
            client_id: None,
            assertion: Proof::File(SecretFile {
                path: PathBuf::from("/sa"),
                danger_readable_by_others: true,
            }),
            assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
        },
        grant: Grant::ClientCredentials,
        scope: Vec::new(),
        audience: None,
        resource: None,
    };
    assert_eq!(present, Present::Endpoint(Box::new(expected)));
}

#[test]
fn one_token_is_exchanged_for_another() {
    let exchanging = |more: &str| {
        let present = presenting(&format!(
            "{{ token_exchange: {{ token_endpoint: https://auth.example.com/t, \
             subject_token: {{ jwt_svid: {{ audience: auth }} }}{more} }} }}"
        ));
        let Present::Endpoint(endpoint) = present else { panic!("{present:?}") };
        (endpoint.client, endpoint.grant)
    };
    let grant = |subject_type: &str| Grant::Exchange {
        subject: Proof::JwtSvid { audience: "auth".to_owned() },
        subject_type: subject_type.to_owned(),
    };
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    assert_eq!(exchanging(""), (ClientAuth::None { client_id: None }, grant(jwt)));
    let client_id = Some("me".to_owned());
    assert_eq!(
        exchanging(", client_id: me, subject_token_type: urn:other"),
        (ClientAuth::None { client_id: client_id.clone() }, grant("urn:other"))
    );
    assert_eq!(
        exchanging(", client_id: me, client_secret_file: /s"),
        (ClientAuth::SecretBasic { client_id: "me".to_owned(), secret: private("/s") }, grant(jwt))
    );
    let assertion = Proof::File(private("/sa"));
    let assertion_type = "urn:kind".to_owned();
    assert_eq!(
        exchanging(", client_id: me, assertion: { file: /sa }, assertion_type: urn:kind"),
        (ClientAuth::Assertion { client_id, assertion, assertion_type }, grant(jwt))
    );
}

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.hunter2.hunter2";

#[test]
fn a_token_in_a_variable_is_taken_and_never_told() {
    let text = OUTSIDE.replace("{ file: token }", "{ env: ORDERS_TOKEN }");
    let given = format!(" {TOKEN}\n");
    let env = [("ORDERS_TOKEN", given.as_str())];
    let config = parsed(&text, &env);
    let fallback = config.outbound[0].fallback.as_ref().unwrap();
    let variable = "ORDERS_TOKEN".to_owned();
    let token = Secret::new(TOKEN.to_owned());
    assert_eq!(fallback.present, Present::Given { variable, token });
    assert!(!format!("{config:?}").contains("hunter2"));

    let effective = config::effective(&text, "sidegate.yaml", variables(&env)).unwrap();
    let shown = effective.iter().find(|it| it.key == "jwt.present.env").unwrap();
    assert_eq!(shown.value, "ORDERS_TOKEN");
    assert_eq!(shown.origin, "sidegate.yaml:15, where it is ***");
    assert!(!effective.to_string().contains("hunter2"));
    assert!(!serde_json::to_string(&effective).unwrap().contains("hunter2"));
}

#[test]
fn a_variable_that_no_key_names_does_not_matter() {
    let config = parsed(OUTSIDE, &[("ORDERS_TOKEN", TOKEN)]);
    assert!(!format!("{config:?}").contains("ORDERS_TOKEN"));
}

#[test]
fn the_environment_says_what_the_file_does_not() {
    let env = [
        ("SIDEGATE__JWT__ISSUERS__0__KEYS__URL", "https://k.example/j"),
        ("SIDEGATE__JWT__ISSUERS__0__AUDIENCE__0", "other"),
        ("SIDEGATE__JWT__ISSUERS__1", "{ issuer: https://b.example, audience: a }"),
        ("SIDEGATE__OUTBOUND__0__PRESENT__ENV", "ORDERS_TOKEN"),
        ("SIDEGATE__OUTBOUND__0__SERVER__NAME", "other.example"),
        ("SIDEGATE__INBOUND__0__CERTIFICATE__KEY", "/other.key"),
        ("ORDERS_TOKEN", TOKEN),
    ];
    let config = parsed(OUTSIDE, &env);
    assert!(matches!(config.jwt.issuers[0].keys, KeysFrom::Url(_)));
    assert_eq!(config.jwt.issuers[0].audience, ["other"]);
    assert_eq!(config.jwt.issuers.len(), 2);
    let fallback = config.outbound[0].fallback.as_ref().unwrap();
    assert!(
        matches!(&fallback.present, Present::Given { variable, .. } if variable == "ORDERS_TOKEN")
    );
    assert_eq!(fallback.server, HostName::parse("other.example").unwrap());
    let certificate = config.inbound[0].certificate.as_ref().unwrap();
    assert_eq!(certificate.key.path, PathBuf::from("/other.key"));
}

/// What is worked out is shown, too, and a configuration like the first.
#[test]
fn the_effective_configuration_of_tokens_can_be_used_as_a_file() {
    let text = OUTSIDE.replace("audience: orders }", "audience: orders, cross_tenant: true }");
    let effective = config::effective(&text, "sidegate.yaml", variables(&[])).unwrap();
    let said = |key: &str| {
        let setting = effective.iter().find(|it| it.key == key).expect(key);
        (setting.value.clone(), setting.origin.clone())
    };
    let default = |value: &str| (value.into(), "default".to_owned());
    assert_eq!(said("outbound[0].server.name"), default("billing.example.com"));
    assert_eq!(said("jwt.issuers[0].cross_tenant_max_lifetime"), default("15m"));
    assert_eq!(said("jwt.issuers[0].keys"), default("discovery"));
    assert_eq!(said("inbound[0].accept").0, serde_json::json!(["jwt"]));

    let first = parsed(&text, &[]);
    let mut second = parsed(&effective.to_string(), &[]);
    second.inbound[0].routes[0].line = first.inbound[0].routes[0].line;
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

#[test]
fn the_file_lists_the_algorithms_that_are_known() {
    let schema = config::schema();
    let algorithms = "/properties/jwt/properties/issuers/items/properties/algorithms";
    let known: Vec<&str> = Algorithm::ALL.into_iter().map(Algorithm::as_str).collect();
    for list in ["items/enum", "default"] {
        let listed = schema.pointer(&format!("{algorithms}/{list}")).expect(list);
        assert_eq!(*listed, serde_json::json!(known));
    }
}

#[test]
fn every_file_that_cannot_be_used_is_told_at_once() {
    let text = OUTSIDE
        .replace("audience: orders }", "audience: orders, ca: /no/issuer.pem }")
        .replace(
            "authenticate_with: [jwt]",
            "authenticate_with: [jwt]\n    server: { ca: /no/server.pem }",
        )
        .replace(
            "{ file: token }",
            "{ client_credentials: { token_endpoint: https://a.example/t, ca: /no/endpoint.pem, \
             client_id: me, client_secret_file: /no/secret } }",
        );
    let told = format!("{:#}", sidegate::app::check(&parsed(&text, &[])).unwrap_err());
    for path in ["/etc/sidegate/tls.crt", "/no/issuer.pem", "/no/server.pem", "/no/endpoint.pem"] {
        assert!(told.contains(path), "no {path} in {told}");
    }
}

#[test]
fn the_query_of_an_address_that_may_hold_a_key_is_not_shown() {
    let text = OUTSIDE
        .replace(
            "audience: orders }",
            "audience: orders, keys: { url: \"https://k.example/j?key=hunter2\" } }",
        )
        .replace(
            "{ file: token }",
            "{ client_credentials: { token_endpoint: \"https://a.example/t?key=hunter2\", \
             client_id: me, client_secret_file: /s } }",
        );
    let effective = config::effective(&text, "sidegate.yaml", variables(&[])).unwrap();
    let said = |key: &str| effective.iter().find(|it| it.key == key).expect(key).value.clone();
    let endpoint = said("jwt.present.client_credentials.token_endpoint");
    assert_eq!(endpoint, "https://a.example/t?***");
    assert_eq!(said("jwt.issuers[0].keys.url"), "https://k.example/j?***");
    assert!(!effective.to_string().contains("hunter2"));
}
