//! A JSON Web Signature in compact form (RFC 7515), and what its header may say.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;

use super::json::{Json, Object};
use super::key_set::{KID_MAX, KeyFault, KeySet, SignedWith};
use super::refusal::TokenError;
use super::settings::Algorithm;

/// Of a whole token.
pub(super) const TOKEN_MAX: usize = 16 * 1024;
/// Of a header, decoded.
const HEADER_MAX: usize = 1024;

/// Parameters that let a token say how it is to be judged, or that it is more than a signed text:
/// keys of its own (RFC 8725 section 3.10), extensions that we would have to understand
/// (RFC 7515 section 4.1.11, RFC 7797), and encryption (RFC 7516).
const NEVER: [&str; 8] = ["crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"];
const OURS: [&str; 3] = ["alg", "typ", "kid"];

/// The rules for a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Tokens of issuers. Parameters that we do not know are ignored, as RFC 7515 section 4 demands:
    /// issuers send harmless ones of their own (`x5t`, for example), and none of them can change how
    /// a token is judged. Those that could, by a standard, are refused by name.
    Machine,
    /// JWT-SVIDs: nothing but `alg`, `kid` and `typ` may be there (JWT-SVID section 2).
    Svid,
}

/// A token taken apart; nothing in it is verified.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    kind: Option<String>,
    /// The header has parameters besides those three.
    more: bool,
    payload: Vec<u8>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub fn read(token: &'a str) -> Result<Self, TokenError> {
        Self::read_within(token, TOKEN_MAX)
    }

    /// The same for what is no token and may be longer: `most` bytes.
    pub fn read_within(token: &'a str, most: usize) -> Result<Self, TokenError> {
        if token.len() > most {
            return Err(TokenError::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        // The decoder takes neither a fourth part nor padding, whitespace or bits that stand for
        // nothing: what is signed has one spelling. The signature may have two (of ECDSA's, `s` and
        // `n - s` both hold), so nothing must tell tokens apart by it.
        let [header, payload, signature] = [header, payload, signature].map(decode);
        let (header, payload, signature) = (header?, payload?, signature?);
        if header.len() > HEADER_MAX {
            return Err(TokenError::TooLarge);
        }
        let header = Object::read(&header)?;
        if NEVER.iter().any(|name| header.has(name)) {
            return Err(TokenError::Header);
        }
        let algorithm = header.get("alg").and_then(Json::as_text).and_then(Algorithm::parse);
        let kid = text(&header, "kid", TokenError::Header)?;
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
            return Err(TokenError::Header);
        }
        Ok(Self {
            algorithm: algorithm.ok_or(TokenError::Algorithm)?,
            kid,
            kind: text(&header, "typ", TokenError::Type)?,
            more: header.names().any(|name| !OURS.contains(&name)),
            payload,
            signed: signed.as_bytes(),
            signature,
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Header and payload, as they are written.
    pub fn signed(&self) -> &[u8] {
        self.signed
    }

    /// What remains to be said of the header once it is settled whose rules hold.
    pub fn keep(&self, rules: Rules) -> Result<(), TokenError> {
        let kind = self.kind.as_deref();
        let right = match rules {
            Rules::Machine => kind.is_none_or(|kind| {
                let known = ["JWT", "at+jwt", "application/at+jwt"];
                known.iter().any(|it| it.eq_ignore_ascii_case(kind))
            }),
            Rules::Svid => matches!(kind, None | Some("JWT" | "JOSE")),
        };
        if !right {
            return Err(TokenError::Type);
        }
        match rules {
            Rules::Svid if self.more => Err(TokenError::Header),
            // JWT-SVID section 2.1 lists what it allows, and this is not on it.
            Rules::Svid if self.algorithm == Algorithm::EdDsa => Err(TokenError::Algorithm),
            Rules::Svid | Rules::Machine => Ok(()),
        }
    }

    pub fn verify(&self, keys: &KeySet) -> Result<SignedWith, KeyFault> {
        self.verify_as(self.kid.as_deref(), keys)
    }

    /// By the key of that name, whatever the header says.
    pub fn verify_as(&self, kid: Option<&str>, keys: &KeySet) -> Result<SignedWith, KeyFault> {
        keys.verify(kid, self.algorithm, self.signed, &self.signature)
    }
}

/// Whether a text that begins like a JWT is all of one, as far as can be told without a key: three
/// parts, of which header and payload are JSON objects, or the five of an encrypted one (RFC 7516),
/// whose payload we cannot know. It need not be one that we would take.
pub(super) fn is_whole(token: &str) -> bool {
    let parts: Option<Vec<_>> = token.split('.').map(|part| decode(part).ok()).collect();
    match parts.as_deref() {
        Some([header, payload, signature]) => {
            is_object(header) && is_object(payload) && !signature.is_empty()
        }
        Some([header, _key, iv, text, tag]) => {
            is_object(header) && [iv, text, tag].iter().all(|it| !it.is_empty())
        }
        _ => false,
    }
}

fn is_object(bytes: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(bytes).is_ok()
}

/// The second of three parts, whatever the first and the third may be.
pub(super) fn payload_of(token: &str) -> Option<Vec<u8>> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then(|| decode(payload).ok()).flatten()
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_not_base64url| TokenError::Malformed)
}

fn text(header: &Object, name: &str, or: TokenError) -> Result<Option<String>, TokenError> {
    match header.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(or),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::base64;
    use super::*;

    fn fault(token: &str) -> TokenError {
        Jws::read(token).unwrap_err()
    }

    fn of(header: &str) -> String {
        format!("{}.{}.AAAA", base64(header), base64("{}"))
    }

    #[test]
    fn only_the_compact_form_is_read() {
        let good = of(r#"{"alg":"ES256"}"#);
        assert!(Jws::read(&good).is_ok());
        let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("not three parts");
        };
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}..{signature}."),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.AAAA"),
            format!("{good}.AAAA.AAAA"),
            format!("{good}="),
            format!("{header}=.{payload}.{signature}"),
            format!("{header}.{payload}==.{signature}"),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{header}.{payload}.AA+A"),
            format!("{header}.{payload}.AA/A"),
            format!("{header}.{payload}.AAé"),
            // Bits that stand for nothing.
            format!("{header}.{payload}.AB"),
            format!("{header}.{payload}.A"),
            format!("{header}.{payload}\0.{signature}"),
            format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"AAAA"}}"#),
        ] {
            assert_eq!(fault(&bad), TokenError::Malformed, "{bad}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let header = base64(r#"{"alg":"ES256"}"#);
        let fits = 16 * 1024 - header.len() - ".e30.".len();
        // Lengths of base64 that can be: not one more than a multiple of four.
        let signature = |length: usize| "A".repeat(length - usize::from(length % 4 == 1));
        assert!(Jws::read(&format!("{header}.e30.{}", signature(fits))).is_ok());
        let long = format!("{header}.e30.{}", "A".repeat(fits + 4));
        assert_eq!(fault(&long), TokenError::TooLarge);
        let filled = |length: usize| {
            let head = r#"{"alg":"ES256","x":""#;
            of(&format!("{head}{}\"}}", "x".repeat(length - head.len() - 2)))
        };
        assert!(Jws::read(&filled(1024)).is_ok());
        assert_eq!(fault(&filled(1025)), TokenError::TooLarge);
    }

    #[test]
    fn headers_that_say_how_to_judge_are_refused() {
        for name in NEVER {
            for value in ["null", "\"x\"", "[]", "false"] {
                let header = format!(r#"{{"alg":"ES256","{name}":{value}}}"#);
                assert_eq!(fault(&of(&header)), TokenError::Header, "{header}");
            }
        }
        let deep = r#"{"alg":"ES256","x":[[[[[[[[]]]]]]]]}"#;
        assert_eq!(fault(&of(deep)), TokenError::Malformed);
        for header in ["[]", "{", "\"\"", "{\"alg\":\"ES256\"}{}", ""] {
            assert_eq!(fault(&of(header)), TokenError::Malformed, "{header}");
        }
        for header in [r#"{"alg":"none","alg":"ES256"}"#, r#"{"alg":"ES256","a\u006cg":"ES256"}"#] {
            assert_eq!(fault(&of(header)), TokenError::DuplicateMember, "{header}");
        }
        for kid in ["1", "null", "[\"a\"]", &format!("\"{}\"", "k".repeat(257))] {
            let header = format!(r#"{{"alg":"ES256","kid":{kid}}}"#);
            assert_eq!(fault(&of(&header)), TokenError::Header, "{header}");
        }
    }

    #[test]
    fn algorithms_are_those_of_the_list_as_they_are_written() {
        for algorithm in Algorithm::ALL {
            let token = of(&format!(r#"{{"alg":"{}"}}"#, algorithm.as_str()));
            assert_eq!(Jws::read(&token).unwrap().algorithm(), algorithm);
        }
        let strange =
            ["none", "None", "HS256", "HS512", "es256", "ES256K", "ES256 ", "", "Ed25519"];
        for header in strange
            .map(|name| format!(r#"{{"alg":"{name}"}}"#))
            .into_iter()
            .chain(["{}", r#"{"alg":null}"#, r#"{"alg":["ES256"]}"#].map(str::to_owned))
        {
            assert_eq!(fault(&of(&header)), TokenError::Algorithm, "{header}");
        }
    }

    #[test]
    fn each_kind_of_token_has_its_own_rules_for_the_header() {
        let kept = |more: &str, rules| {
            let token = of(&format!(r#"{{"alg":"ES256"{more}}}"#));
            Jws::read(&token).and_then(|jws| jws.keep(rules))
        };
        for (more, machine, svid) in [
            ("", Ok(()), Ok(())),
            (r#","typ":"JWT""#, Ok(()), Ok(())),
            (r#","typ":"jwt""#, Ok(()), Err(TokenError::Type)),
            (r#","typ":"JOSE""#, Err(TokenError::Type), Ok(())),
            (r#","typ":"at+jwt""#, Ok(()), Err(TokenError::Type)),
            (r#","typ":"application/AT+JWT""#, Ok(()), Err(TokenError::Type)),
            (r#","typ":"wit+jwt""#, Err(TokenError::Type), Err(TokenError::Type)),
            (r#","typ":"dpop+jwt""#, Err(TokenError::Type), Err(TokenError::Type)),
            (r#","typ":null"#, Err(TokenError::Type), Err(TokenError::Type)),
            (r#","kid":"a""#, Ok(()), Ok(())),
            (r#","x5t":"a""#, Ok(()), Err(TokenError::Header)),
            (r#","cty":"JWT""#, Ok(()), Err(TokenError::Header)),
        ] {
            assert_eq!(kept(more, Rules::Machine), machine, "{more}");
            assert_eq!(kept(more, Rules::Svid), svid, "{more}");
        }
        let edwards = of(r#"{"alg":"EdDSA"}"#);
        let edwards = Jws::read(&edwards).unwrap();
        assert_eq!(edwards.keep(Rules::Machine), Ok(()));
        assert_eq!(edwards.keep(Rules::Svid), Err(TokenError::Algorithm));
    }

    #[test]
    fn a_token_that_was_cut_short_is_not_whole() {
        let whole =
            format!(r#"{}.{}.c2ln"#, base64(r#"{"alg":"X"}"#), base64(r#"{"a":[{}],"a":1}"#));
        assert!(is_whole(&whole), "whatever it says");
        let last = whole.rfind('.').unwrap();
        for end in 0..=last + 1 {
            assert!(!is_whole(whole.get(..end).unwrap()), "{end}");
        }
        let header = base64(r#"{"alg":"dir","enc":"A128GCM"}"#);
        assert!(is_whole(&format!("{header}..aXY.dGV4dA.dGFn")), "an encrypted one");
        for cut in
            ["..aXY.dGV4dA.", "..aXY.dGV4dA", "..aXY", "...", "....", ".e30.c2ln.", ".W10.c2ln"]
        {
            assert!(!is_whole(&format!("{header}{cut}")), "{cut}");
        }
        for none in ["", "opaque", "W10.e30.c2ln", "e30.e30.c2l+", "e30.e30.c2ln\n"] {
            assert!(!is_whole(none), "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in any::<String>(), dotted in "[A-Za-z0-9_.-]{0,60}") {
            drop(Jws::read(&text));
            drop(Jws::read(&dotted));
            let _ = (is_whole(&text), is_whole(&dotted));
        }
    }
}
