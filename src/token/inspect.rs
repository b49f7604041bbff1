//! For tests and fuzzing alone: this room's parsers, one by one. Nothing here makes a proof.

use std::time::{Duration, SystemTime};

use super::claims::{self, Judged};
use super::json::Object;
use super::jws::{Jws, Rules};
use super::key_set::KeySet;
use super::refusal::TokenError;
use super::settings::{Algorithm, Issuer, KeysFrom, Svids};
use super::verify::expiry_of;
use crate::tls::RootsFrom;

/// Whether a compact JWS holds by this one JWK, by the rules for tokens of issuers, whatever its
/// payload is.
#[doc(hidden)]
pub fn inspect_jws(jws: &str, jwk: &str) -> Result<(), String> {
    let keys = KeySet::of_issuer(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes())
        .map_err(|error| error.to_string())?;
    let judged = Jws::read(jws).and_then(|jws| {
        jws.keep(Rules::Machine)?;
        jws.verify(&keys)?;
        Ok(())
    });
    judged.map_err(|error| error.code().to_owned())
}

/// Bytes as a JWK set of either kind: the keys that are left, if any.
#[doc(hidden)]
pub fn inspect_jwks(jwks: &[u8]) -> [Option<usize>; 2] {
    [KeySet::of_issuer(jwks), KeySet::of_trust_domain(jwks)]
        .map(|keys| keys.ok().map(|keys| keys.len()))
}

/// A text as a token and as nothing but claims, at one second of the year 2027. The answer is how
/// long the claims alone would hold, as a machine token's and as a JWT-SVID's.
#[doc(hidden)]
pub fn inspect_token(text: &str) -> [Option<Duration>; 2] {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    drop((expiry_of(text), inspect_jws(text, KEY)));
    let Ok(claims) = Object::read(text.as_bytes()) else { return [None, None] };
    let left = |judged: Result<Judged, TokenError>| {
        let judged = judged.ok().filter(|judged| judged.holds_from <= now)?;
        judged.verified.expires.duration_since(now).ok()
    };
    let hour = Duration::from_secs(3600);
    let audience = vec!["orders".to_owned()];
    let issuer = Issuer {
        issuer: "https://auth.example.com".to_owned(),
        audience: audience.clone(),
        keys: KeysFrom::Discovery,
        roots: RootsFrom::System,
        algorithms: Algorithm::ALL.to_vec(),
        max_lifetime: hour,
        keys_max_age: hour,
        tenants: Some(vec!["acme".to_owned()]),
        cross_tenant_max_lifetime: Some(hour / 4),
    };
    let svids = Svids { audience, max_lifetime: hour };
    let svid = claims::spiffe_id(&claims)
        .map(|id| id.and_then(|id| claims::svid(&claims, &[], id, &svids, now)));
    [left(claims::machine(&claims, &[], &issuer, now)), svid.and_then(left)]
}

/// The public key of RFC 7515 appendix A.3.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7515 appendix A.3.1.
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    #[test]
    fn the_example_of_the_standard_holds() {
        assert_eq!(inspect_jws(TOKEN, KEY), Ok(()));
        assert_eq!(inspect_jws(&TOKEN.replace(".DtE", ".DtF"), KEY), Err("signature".to_owned()));
        assert_eq!(inspect_jwks(format!(r#"{{"keys":[{KEY}]}}"#).as_bytes()), [Some(1), Some(1)]);
    }

    #[test]
    fn claims_alone_are_judged_by_both_rules() {
        let times = r#""aud":"orders","iat":1799999990,"exp":1800000010"#;
        let machine = format!(
            r#"{{"iss":"https://auth.example.com","sub":"a","scope":"","tenant":"acme",{times}}}"#
        );
        let svid = format!(r#"{{"sub":"spiffe://example.org/a",{times}}}"#);
        let left = Some(Duration::from_secs(10));
        assert_eq!(inspect_token(&machine), [left, None]);
        assert_eq!(inspect_token(&svid), [None, left]);
        assert_eq!(inspect_token(TOKEN), [None, None]);
    }

    proptest! {
        #[test]
        fn claims_with_an_odd_byte_never_hold_for_longer_than_an_hour(
            place in any::<prop::sample::Index>(),
            byte in 0x20_u8..0x7f,
        ) {
            let claims = r#"{"iss":"https://auth.example.com","sub":"a","scope":["b"],"tenant":"acme","aud":["orders"],"iat":1799999990,"nbf":1799999990,"exp":1800000010,"cross_tenant":true}"#;
            prop_assert_eq!(inspect_token(claims), [Some(Duration::from_secs(10)), None]);
            let mut bytes = claims.as_bytes().to_vec();
            *place.get_mut(&mut bytes) = byte;
            let [machine, svid] = inspect_token(std::str::from_utf8(&bytes).unwrap());
            prop_assert!(machine.is_none_or(|left| left <= Duration::from_secs(3630)));
            prop_assert_eq!(svid, None);
        }
    }
}
