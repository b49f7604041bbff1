//! Bundles as they come and go.

use super::*;
use crate::dev::Authority;
use crate::token::kit::{Log, until};

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

fn authority(name: &str) -> Authority {
    Authority::new(domain(name)).unwrap()
}

fn bundles(of: &[(&str, &str)]) -> JwtBundles {
    of.iter().map(|(name, jwks)| (domain(name), Arc::from(jwks.as_bytes()))).collect()
}

/// Which trust domains have how many keys.
fn shown(keys: &BTreeMap<TrustDomain, KeySet>) -> Vec<(&str, usize)> {
    keys.iter().map(|(name, keys)| (name.as_str(), keys.len())).collect()
}

#[tokio::test]
async fn what_the_agent_sends_is_followed_and_what_it_leaves_out_is_withdrawn() {
    let (ours, theirs) = (authority("ours.example"), authority("theirs.example"));
    let (publisher, live) = live(bundles(&[("ours.example", &ours.jwt_bundle())]));
    let keys = follow(live);
    assert_eq!(shown(&keys.load()), [("ours.example", 1)], "what is there already");
    ours.rotate().unwrap();
    let both =
        bundles(&[("ours.example", &ours.jwt_bundle()), ("theirs.example", &theirs.jwt_bundle())]);
    publisher.publish(both);
    let wanted = [("ours.example", 2), ("theirs.example", 1)];
    until(&keys, |it| shown(it) == wanted).await;
    publisher.publish(bundles(&[("theirs.example", &theirs.jwt_bundle())]));
    until(&keys, |it| shown(it) == [("theirs.example", 1)]).await;
    publisher.publish(JwtBundles::new());
    until(&keys, BTreeMap::is_empty).await;
}

#[test]
fn a_broken_bundle_leaves_its_last_good_one_and_all_others_and_is_told_once() {
    let log = Log::listen();
    let (ours, theirs) = (authority("ours.example").jwt_bundle(), authority("x.example"));
    let (mut follower, keys) = Follower::new();
    follower.take(&bundles(&[("ours.example", &ours), ("x.example", &theirs.jwt_bundle())]));
    theirs.rotate().unwrap();
    for broken in ["", "nonsense", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        follower.take(&bundles(&[("ours.example", broken), ("x.example", &theirs.jwt_bundle())]));
        assert_eq!(shown(&keys.load()), [("ours.example", 1), ("x.example", 2)], "{broken}");
    }
    assert_eq!((log.count("WARN"), log.count("INFO")), (1, 0), "{}", log.text());
    follower.take(&bundles(&[("ours.example", &ours)]));
    assert_eq!((log.count("WARN"), log.count("INFO")), (1, 1), "{}", log.text());
    follower.take(&bundles(&[("new.example", "nonsense")]));
    assert!(keys.load().is_empty(), "one that never was good, and one withdrawn");
}

#[test]
fn a_bundle_without_a_key_of_use_takes_the_old_keys_away() {
    let log = Log::listen();
    let ours = authority("ours.example").jwt_bundle();
    let other = ours.replace("jwt-svid", "x509-svid");
    assert_ne!(ours, other);
    for none in [r#"{"keys":[]}"#, other.as_str()] {
        let (mut follower, keys) = Follower::new();
        follower.take(&bundles(&[("ours.example", &ours)]));
        assert_eq!(shown(&keys.load()), [("ours.example", 1)]);
        follower.take(&bundles(&[("ours.example", none)]));
        assert!(keys.load().is_empty(), "{none}");
        follower.take(&bundles(&[("ours.example", &ours)]));
        assert_eq!(shown(&keys.load()), [("ours.example", 1)]);
    }
    assert_eq!((log.count("WARN"), log.count("INFO")), (2, 2), "{}", log.text());
}

#[test]
fn the_same_bundles_leave_the_keys_as_they_are() {
    let ours = authority("ours.example").jwt_bundle();
    let (mut follower, keys) = Follower::new();
    follower.take(&bundles(&[("ours.example", &ours)]));
    let first = keys.snapshot();
    follower.take(&bundles(&[("ours.example", &ours)]));
    follower.take(&bundles(&[("ours.example", &ours), ("x.example", "nonsense")]));
    assert!(Arc::ptr_eq(&first, &keys.snapshot()));
}
