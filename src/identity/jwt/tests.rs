//! What an agent may answer, and what is made of it.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::workload_api::pb::Jwtsvid;

fn token(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode(header), encode(payload))
}

fn checked(text: &str) -> Result<Option<u64>, String> {
    let svid = check(Secret::new(text.to_owned()), false)?;
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    Ok(svid.expires.map(seconds))
}

#[test]
fn the_expiry_is_read_where_it_makes_sense() {
    let cases = [
        (r#"{"exp":1700000000}"#, Some(1_700_000_000)),
        (r#"{"exp":1700000000.75}"#, Some(1_700_000_000)),
        (r#"{"exp":1.7e9}"#, Some(1_700_000_000)),
        (r#"{"exp":0}"#, Some(0)),
        (r#"{"exp":253402300799}"#, Some(253_402_300_799)),
        (r#"{"exp":253402300800}"#, None),
        (r#"{"exp":18446744073709551615}"#, None),
        (r#"{"exp":1e300}"#, None),
        (r#"{"exp":-1}"#, None),
        (r#"{"exp":"1700000000"}"#, None),
        (r#"{"exp":1,"exp":2}"#, None),
        (r#"{"sub":"x"}"#, None),
        ("[]", None),
        ("nonsense", None),
    ];
    for (payload, wanted) in cases {
        assert_eq!(checked(&token(r#"{"alg":"ES256"}"#, payload)), Ok(wanted), "{payload}");
    }
}

#[test]
fn only_a_compact_jws_of_bounded_length_passes() {
    let good = token("{}", "{}");
    assert_eq!(checked(&good), Ok(None));
    let padded = good.replacen('.', "=.", 1);
    let bad = [
        "",
        "a.b",
        "..",
        &format!("{good}."),
        &format!("{good}.x"),
        &format!("{good}\r\nx-evil: 1"),
        &format!(".{good}"),
        &padded,
        &token("nonsense", "{}"),
        &token(r#"{"kid":7}"#, "{}"),
    ];
    for text in bad {
        assert_eq!(checked(text), Err(NOT_COMPACT.to_owned()), "{text:?}");
    }
    let long = format!("{good}{}", "A".repeat(MAX_TOKEN - good.len()));
    assert_eq!(checked(&long), Ok(None));
    assert!(checked(&format!("{long}A")).unwrap_err().contains("16384 bytes"));
}

#[test]
fn an_answer_is_refused_whole_if_an_identity_in_it_is_none() {
    let settings = Settings {
        endpoint: String::new(),
        spiffe_id: None,
        hint: None,
        federates_with: Vec::new(),
        danger_accept_dev_agent: false,
        jwt_bundles: false,
    };
    let offer = |id: &str| Jwtsvid {
        spiffe_id: id.to_owned(),
        svid: token("{}", "{}"),
        hint: String::new(),
    };
    let answer = |ids: &[&str]| {
        let svids = ids.iter().map(|id| offer(id)).collect();
        pick(JwtsvidResponse { svids }, &settings).map(drop)
    };
    assert_eq!(answer(&["spiffe://example.org/a"]), Ok(()));
    let odd = "spiffe://EXAMPLE.org/a";
    assert_eq!(answer(&["spiffe://example.org/a", odd]), Err(format!("`{odd}` is no SPIFFE ID")));
    assert_eq!(answer(&["a\nb"]), Err("`a b` is no SPIFFE ID".to_owned()));
    assert_eq!(answer(&[]), Err("it offers none of the configured identity".to_owned()));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_can_stand_in_a_header(text in any::<String>()) {
        if checked(&text).is_ok() {
            prop_assert!(text.is_ascii() && !text.contains(char::is_whitespace));
        }
    }

    #[test]
    fn any_time_is_given_back_unless_out_of_range(exp in any::<u64>()) {
        let wanted = (exp <= MAX_TIME).then_some(exp);
        prop_assert_eq!(checked(&token("{}", &format!("{{\"exp\":{exp}}}"))), Ok(wanted));
    }
}
