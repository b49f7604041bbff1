//! Table 2: what a leaf certificate must and must not say.

use super::testkit::{
    ANY_PURPOSE, CLIENT_AUTH, CRL_SIGN, DIGITAL_SIGNATURE, Draft, HOUR, KEY_CERT_SIGN,
    KEY_ENCIPHERMENT, Name, SERVER_AUTH, extension, sequence, tlv, uri,
};
use super::world::{THEM, World};
use super::{Row, hold};
use crate::tls::inspect_leaf;

/// Rows whose certificate differs from a good one by one change.
macro_rules! rows {
    ($($row:literal => $want:literal, |$draft:ident| $change:expr;)*) => {
        &[$(Row {
            row: $row,
            want: $want,
            make: |world| world.root.issue(&Draft::leaf(THEM).with(|$draft| { $change; })),
        },)*]
    };
}

const OTHER: &str = "spiffe://example.org/other";
const HTTPS: &str = "https://example.org/";

const LEAVES: &[Row] = rows! {
    "good" => "ok", |draft| draft.trailing.clear();
    "X5-3 expired" => "expired", |draft| draft.valid = (-2 * HOUR, -HOUR);
    "X5-3 not yet" => "not_yet_valid", |draft| draft.valid = (HOUR, 2 * HOUR);
    "X5-3 never" => "not_yet_valid", |draft| draft.valid = (HOUR, -HOUR);
    "X5-3 critical" => "unknown_critical_extension",
        |draft| draft.more.push(extension(99, true, b"?"));
    "X5-3 not critical" => "ok", |draft| draft.more.push(extension(99, false, b"?"));
    "X5-4" => "leaf_is_ca", |draft| draft.constraints = Some((true, None));
    "X5-5" => "no_basic_constraints", |draft| draft.constraints = None;
    "X5-6" => "key_cert_sign",
        |draft| draft.usage = Some((true, DIGITAL_SIGNATURE | KEY_CERT_SIGN));
    "X5-7" => "crl_sign", |draft| draft.usage = Some((true, DIGITAL_SIGNATURE | CRL_SIGN));
    "X5-8" => "no_key_usage", |draft| draft.usage = None;
    "X5-9" => "key_usage_not_critical", |draft| draft.usage = Some((false, DIGITAL_SIGNATURE));
    "X5-10" => "no_digital_signature", |draft| draft.usage = Some((true, KEY_ENCIPHERMENT));
    "X5-11 two" => "several_uris", |draft| names(draft, [uri(THEM), uri(OTHER)]);
    "X5-11 same twice" => "several_uris", |draft| names(draft, [uri(THEM), uri(THEM)]);
    "X5-11 https last" => "several_uris", |draft| names(draft, [uri(THEM), uri(HTTPS)]);
    "X5-11 https first" => "several_uris", |draft| names(draft, [uri(HTTPS), uri(THEM)]);
    "X5-11 with DNS" => "several_uris",
        |draft| names(draft, [uri(THEM), Name::Dns("a.example"), uri(OTHER)]);
    "X5-12 DNS" => "no_uri", |draft| names(draft, [Name::Dns("a.example")]);
    "X5-12 no names" => "no_uri", |draft| draft.san = None;
    "X5-12 empty" => "no_uri", |draft| names(draft, []);
    "X5-13 DNS last" => "ok", |draft| names(draft, [uri(THEM), Name::Dns("a.example")]);
    "X5-13 DNS first" => "ok", |draft| names(draft, [Name::Dns("a.example"), uri(THEM)]);
    "X5-16" => "san_not_critical", |draft| draft.subject = "";
    "X5-16 critical" => "ok", |draft| {
        draft.subject = "";
        draft.san = Some((true, vec![uri(THEM)]));
    };
    "X5-21 client" => "extended_key_usage", |draft| draft.purposes = Some(vec![CLIENT_AUTH]);
    "X5-21 server" => "extended_key_usage", |draft| draft.purposes = Some(vec![SERVER_AUTH]);
    "X5-21 any" => "extended_key_usage", |draft| draft.purposes = Some(vec![ANY_PURPOSE]);
    "X5-21 more" => "ok",
        |draft| draft.purposes = Some(vec![SERVER_AUTH, ANY_PURPOSE, CLIENT_AUTH]);
    "X5-22" => "ok", |draft| draft.purposes = None;
    "X5-26 unknown twice" => "duplicate_extension", |draft| {
        draft.more = vec![extension(99, false, b"1"), extension(99, false, b"2")];
    };
    "X5-26 names twice" => "duplicate_extension", |draft| {
        draft.more.push(extension(17, false, &sequence(&tlv(0x86, OTHER.as_bytes()))));
    };
    "X5-26 trailing" => "trailing_bytes", |draft| draft.trailing = vec![0];
    "X5-26 version 1" => "not_version_3", |draft| draft.version = Some(0);
    "X5-26 version 2" => "not_version_3", |draft| draft.version = Some(1);
    "X5-26 serial" => "serial_too_long", |draft| draft.serial = vec![1; 21];
    "X5-26 constructed" => "parsers_disagree",
        |draft| names(draft, [Name::ConstructedUri(THEM)]);
    "X5-26 usage" => "unreadable", |draft| {
        draft.usage = None;
        draft.more.push(extension(15, true, &[0x03, 0x02, 0x07, 0x80, 0x00]));
    };
    "X5-26 purposes" => "unreadable", |draft| {
        draft.purposes = None;
        draft.more.push(extension(37, false, b"not DER"));
    };
};

fn names<const N: usize>(draft: &mut Draft, names: [Name; N]) {
    draft.san = Some((false, names.to_vec()));
}

#[tokio::test]
async fn a_leaf_keeps_every_rule_of_the_profile() {
    hold(LEAVES, &[THEM]).await;
}

#[test]
fn a_serial_number_of_20_octets_is_accepted_with_its_sign_octet() {
    let world = World::new();
    let draft = Draft::leaf(THEM).with(|draft| draft.serial = [vec![0], vec![0xff; 20]].concat());
    assert!(inspect_leaf(world.root.issue(&draft).leaf()).is_ok());
}
