//! Which bundles of a message are taken.

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;
use crate::dev::Authority;

const PLAIN: &str = r#"{"keys":[{"kty":"EC","kid":"a"}]}"#;

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

fn settings(federates_with: &[&str], danger_accept_dev_agent: bool) -> Settings {
    Settings {
        endpoint: String::new(),
        spiffe_id: None,
        hint: None,
        federates_with: federates_with.iter().map(|name| domain(name)).collect(),
        danger_accept_dev_agent,
        jwt_bundles: true,
    }
}

fn sent(bundles: &[(&str, &str)]) -> Sent {
    let entry = |(name, jwks): &(&str, &str)| ((*name).to_owned(), Arc::from(jwks.as_bytes()));
    bundles.iter().map(entry).collect()
}

fn names(bundles: &JwtBundles) -> Vec<&str> {
    bundles.keys().map(TrustDomain::as_str).collect()
}

fn marked(name: &str) -> String {
    Authority::new(domain(name)).unwrap().jwt_bundle()
}

#[test]
fn ours_and_those_opted_in_by_name_are_taken_and_no_others() {
    let sent = sent(&[
        ("spiffe://example.org", PLAIN),
        ("spiffe://partner.example", PLAIN),
        ("spiffe://stranger.example", PLAIN),
        ("spiffe://CASE.example", PLAIN),
        ("bare.example", PLAIN),
        ("spiffe://path.example/x", PLAIN),
    ]);
    let opted = ["partner.example", "case.example", "bare.example", "path.example"];
    let own = domain("example.org");
    let cases = [
        (Some(&own), &opted[..], vec!["example.org", "partner.example"]),
        (Some(&own), &[], vec!["example.org"]),
        (None, &opted[..], vec!["partner.example"]),
        (None, &[], vec![]),
    ];
    for (own, opted, wanted) in cases {
        let (fit, flaw) = select(&sent, own, &settings(opted, false));
        assert_eq!((names(&fit), flaw), (wanted, None));
    }
}

#[test]
fn a_development_agent_is_refused_whole_and_a_partner_alone() {
    let own = domain("example.org");
    let (ours, theirs) = (marked("example.org"), marked("partner.example"));
    let opted = ["partner.example"];
    let cases = [(ours.as_str(), PLAIN, vec![]), (PLAIN, theirs.as_str(), vec!["example.org"])];
    for (ours, theirs, wanted) in cases {
        let sent = sent(&[("spiffe://example.org", ours), ("spiffe://partner.example", theirs)]);
        let (fit, flaw) = select(&sent, Some(&own), &settings(&opted, false));
        assert_eq!(names(&fit), wanted);
        assert!(flaw.unwrap().contains("danger_accept_dev_agent"));
        let (fit, flaw) = select(&sent, Some(&own), &settings(&opted, true));
        assert_eq!((fit.len(), flaw), (2, None));
    }
}

#[test]
fn an_unfit_bundle_is_not_taken_and_an_odd_key_spoils_nothing() {
    let pad = |length: usize| format!("{{\"keys\":[],\"pad\":\"{}\"}}", "x".repeat(length));
    let longest = pad(MAX_BUNDLE - pad(0).len());
    let cases = [
        (PLAIN.to_owned(), None),
        (r#"{"keys":[7,null,{"kid":[]},{"kty":"??","x":{}}],"z":1}"#.to_owned(), None),
        (longest.clone(), None),
        (format!("{longest} "), Some("the bundle is too large")),
        (String::new(), Some("the bundle is not a JWK set")),
        ("{}".to_owned(), Some("the bundle is not a JWK set")),
        (r#"{"keys":{}}"#.to_owned(), Some("the bundle is not a JWK set")),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), Some("the bundle is not a JWK set")),
        (format!(r#"{{"keys":[{}]}}"#, "[".repeat(100_000)), Some("the bundle is not a JWK set")),
    ];
    let own = domain("example.org");
    for (jwks, why) in cases {
        let sent = sent(&[("spiffe://example.org", &jwks)]);
        let (fit, flaw) = select(&sent, Some(&own), &settings(&[], false));
        assert_eq!(fit.len(), usize::from(why.is_none()));
        assert_eq!(flaw, why.map(|why| format!("`example.org`: {why}")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_serves_for_a_day_after_the_stream_went_down_and_no_longer() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let settings = Settings {
        spiffe_id: SpiffeId::new("spiffe://example.org/a").ok(),
        ..settings(&[], false)
    };
    let endpoint = Endpoint::parse("unix:///nowhere/agent.sock").unwrap();
    let (_material, seen) = live(Material::nothing());
    let (mut follower, bundles) = Follower::new(settings, endpoint, Timing::DEFAULT, seen);
    follower.take(sent(&[("spiffe://example.org", PLAIN)]));
    follower.attentive(sleep(10 * DAY)).await;
    assert_eq!(names(&bundles.load()), ["example.org"], "the stream is up");

    follower.down();
    let second = Duration::from_secs(1);
    follower.attentive(sleep(DAY / 2)).await;
    // An attempt to open it again failed: that tells nothing new.
    follower.down();
    follower.attentive(sleep(DAY / 2 - second)).await;
    assert_eq!(names(&bundles.load()), ["example.org"]);
    let mut changes = bundles.changes();
    follower.attentive(sleep(2 * second)).await;
    assert!(bundles.load().is_empty());
    changes.changed().await;
    let again = follower.attentive(tokio::time::timeout(10 * DAY, changes.changed())).await;
    assert!(again.is_err(), "given up once");
}

proptest! {
    #[test]
    fn a_key_is_known_by_its_mark_wherever_it_stands(
        before in 0..4_usize,
        after in 0..4_usize,
        rest in any::<String>(),
    ) {
        let plain = serde_json::json!({ "kid": "plain" });
        let kid = format!("{DEV_KEY_PREFIX}{rest}");
        let mut keys = vec![plain.clone(); before];
        keys.push(serde_json::json!({ "kid": kid }));
        keys.extend(vec![plain; after]);
        let jwks = serde_json::json!({ "keys": keys }).to_string();
        prop_assert_eq!(check(jwks.as_bytes()), Ok(Marked(true)));
    }

    #[test]
    fn bytes_that_are_no_json_are_no_bundle(bytes in any::<Vec<u8>>()) {
        if serde_json::from_slice::<Value>(&bytes).is_err() {
            prop_assert_eq!(check(&bytes), Err("the bundle is not a JWK set"));
        }
    }
}
