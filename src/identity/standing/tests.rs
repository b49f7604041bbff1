//! The states one by one, with the time given.

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use spiffe::{SpiffeId, TrustDomain};

use super::super::TrustBundles;
use super::*;

/// An SVID of 300 s from the epoch on; agents should renew it at 150 s, and have by 201 s.
fn update(leaf: u8) -> Update {
    let svid = Svid {
        id: SpiffeId::new("spiffe://example.org/a").unwrap(),
        chain: vec![CertificateDer::from(vec![leaf])],
        key: PrivatePkcs8KeyDer::from(vec![0]).into(),
        not_before: at(0),
        not_after: at(300),
    };
    let authority = vec![CertificateDer::from(vec![1])];
    let trust_domain = TrustDomain::new("example.org").unwrap();
    Update { svid, bundles: TrustBundles::from([(trust_domain, authority)]) }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn state(identity: &Identity) -> (AgentState, Option<String>, u64) {
    let (status, material) = (identity.status.snapshot(), identity.material.snapshot());
    (status.state, status.detail.clone(), material.generation)
}

#[test]
fn the_same_update_again_is_seen_but_is_no_new_generation() {
    let (mut standing, identity) = Standing::new(at(0));
    for second in [1, 2] {
        standing.accept(update(1), at(second));
    }
    assert_eq!(state(&identity), (AgentState::Fresh, None, 1));
    let status = identity.status.snapshot();
    assert_eq!((status.since, status.last_update), (at(1), Some(at(2))));
    assert_eq!(status.updates, 2);

    standing.accept(update(2), at(3));
    assert_eq!(state(&identity), (AgentState::Fresh, None, 2));
    let mut same_leaf = update(2);
    same_leaf.bundles.values_mut().for_each(|it| it.push(CertificateDer::from(vec![9])));
    standing.accept(same_leaf, at(4));
    assert_eq!(state(&identity), (AgentState::Fresh, None, 3));
}

#[test]
fn an_svid_that_comes_past_two_thirds_of_its_life_is_stale_at_once() {
    let (mut standing, identity) = Standing::new(at(0));
    standing.accept(update(1), at(200));
    assert_eq!(state(&identity).0, AgentState::Fresh);
    standing.accept(update(1), at(201));
    assert_eq!(state(&identity).0, AgentState::Stale);
    assert!(identity.material.load().svid.is_some());
}

#[test]
fn a_discarded_update_changes_nothing_but_the_detail() {
    let (mut standing, identity) = Standing::new(at(0));
    standing.discard("no key", at(1));
    assert_eq!(state(&identity), (AgentState::Starting, Some("no key".into()), 0));
    standing.accept(update(1), at(2));
    standing.discard("no key", at(3));
    assert_eq!(state(&identity), (AgentState::Fresh, Some("no key".into()), 1));
    assert_eq!(identity.status.load().last_update, Some(at(2)));
    standing.accept(update(1), at(4));
    assert_eq!(state(&identity), (AgentState::Fresh, None, 1));
}

#[test]
fn an_svid_is_used_up_to_its_last_second_and_no_longer() {
    let (mut standing, identity) = Standing::new(at(0));
    standing.accept(update(1), at(1));
    standing.lose("gone", true, at(10));
    standing.expire(at(299));
    assert_eq!(state(&identity), (AgentState::Stale, Some("gone".into()), 1));

    standing.expire(at(300));
    let told = Some("the SVID has expired: gone".to_owned());
    assert_eq!(state(&identity), (AgentState::Expired, told, 2));
    let material = identity.material.snapshot();
    assert!(material.svid.is_none() && material.bundles.len() == 1);

    standing.lose("still gone", false, at(301));
    let told = Some("the SVID has expired: still gone".to_owned());
    assert_eq!(state(&identity), (AgentState::Expired, told, 2));
    assert_eq!(identity.status.load().disconnects, 1);
}

#[test]
fn a_rejection_leaves_what_we_have_in_use_and_stale() {
    let (mut standing, identity) = Standing::new(at(0));
    standing.accept(update(1), at(1));
    standing.reject("unimplemented", at(2));
    assert_eq!(state(&identity), (AgentState::Stale, Some("unimplemented".into()), 1));
}

#[test]
fn a_denial_takes_everything_once_and_outlasts_the_loss_of_the_agent() {
    let (mut standing, identity) = Standing::new(at(0));
    standing.accept(update(1), at(1));
    for second in [2, 3] {
        standing.deny("nobody", at(second));
    }
    standing.lose("gone", true, at(4));
    standing.expire(at(300));
    assert_eq!(state(&identity), (AgentState::Denied, Some("nobody".into()), 2));
    assert_eq!(identity.status.load().since, at(2));
}

#[test]
fn what_an_agent_says_is_cut_to_one_short_line() {
    let (mut standing, identity) = Standing::new(at(0));
    standing.deny(&format!("no\r\n{}", "x".repeat(1000)), at(1));
    let told = state(&identity).1.unwrap();
    assert!(told.starts_with("no  x") && told.chars().count() == 300, "{told}");
}
