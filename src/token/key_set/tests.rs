//! Which keys of a set verify, and which never do.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{Signer, base64, jwks};
use super::*;

fn of_issuer(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::of_issuer(&jwks(keys))
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

#[test]
fn each_algorithm_verifies_with_its_own_kind_of_key_and_no_other() {
    let signers =
        [Signer::rsa(), Signer::p256(), Signer::p384(), Signer::p521(), Signer::ed25519()];
    let fits = |signer: &Signer, algorithm| match signer {
        Signer::Rsa(_) => !matches!(
            algorithm,
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 | Algorithm::EdDsa
        ),
        other => other.algorithm() == algorithm,
    };
    for signer in &signers {
        let keys = of_issuer(&[signer.jwk("a")]).unwrap();
        for algorithm in Algorithm::ALL {
            if fits(signer, algorithm) {
                let good = signer.sign(algorithm, b"message");
                assert_eq!(
                    keys.verify(Some("a"), algorithm, b"message", &good).map(|_| ()),
                    Ok(())
                );
                let fault = keys.verify(Some("a"), algorithm, b"massage", &good);
                assert_eq!(fault, Err(KeyFault::Signature));
            } else {
                let fault = keys.verify(Some("a"), algorithm, b"message", &[0; 64]);
                assert_eq!(fault, Err(KeyFault::Algorithm), "{algorithm:?}");
            }
        }
    }
}

/// As `openssl pkey -pubout` writes it.
fn pem(der: &[u8]) -> String {
    use base64::engine::general_purpose::STANDARD;
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn the_key_of_a_file_verifies_whatever_name_it_has() {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::KeyPair;
    for signer in [Signer::rsa(), Signer::p256(), Signer::p384(), Signer::p521()] {
        let der: PublicKeyX509Der<'_> = match &signer {
            Signer::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Signer::Ecdsa(pair, ..) => pair.public_key().as_der().unwrap(),
            Signer::Ed25519(_) => unreachable!(),
        };
        let keys = KeySet::of_pem(pem(der.as_ref()).as_bytes()).unwrap();
        for algorithm in Algorithm::ALL {
            let family = |it: Algorithm| it.as_str().starts_with("ES");
            let fits = match &signer {
                Signer::Rsa(_) => !family(algorithm) && algorithm != Algorithm::EdDsa,
                other => other.algorithm() == algorithm,
            };
            let signature = if fits { signer.sign(algorithm, b"m") } else { vec![0; 64] };
            assert_eq!(
                keys.verify(None, algorithm, b"m", &signature).is_ok(),
                fits,
                "{algorithm:?}"
            );
            assert!(keys.verify(None, algorithm, b"n", &signature).is_err());
        }
    }
}

#[test]
fn a_file_with_none_or_several_keys_is_refused() {
    let whole = pem(&[1, 2, 3]);
    for text in [
        "",
        "x",
        &whole,
        &whole.replace("PUBLIC", "PRIVATE"),
        &format!("{whole}{whole}"),
        &whole.replace("END", "ENDS"),
    ] {
        KeySet::of_pem(text.as_bytes()).expect_err(text);
    }
}

#[test]
fn an_algorithm_that_the_key_names_is_the_only_one() {
    let signer = Signer::rsa();
    let keys = of_issuer(&[with(signer.jwk("a"), "alg", "RS512")]).unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Ps512] {
        let signature = signer.sign(algorithm, b"m");
        assert_eq!(keys.verify(Some("a"), algorithm, b"m", &signature), Err(KeyFault::Algorithm));
    }
    let signature = signer.sign(Algorithm::Rs512, b"m");
    assert_eq!(keys.verify(Some("a"), Algorithm::Rs512, b"m", &signature).map(|_| ()), Ok(()));
}

#[test]
fn keys_that_cannot_be_used_are_left_out_and_the_rest_serves() {
    let rsa = Signer::rsa().jwk("a");
    let curve = Signer::p256().jwk("a");
    let even = |name: &str| {
        let mut bytes = URL_SAFE_NO_PAD.decode(rsa[name].as_str().unwrap()).unwrap();
        *bytes.last_mut().unwrap() &= 0xfe;
        base64(bytes)
    };
    let odd = [
        json!("no object"),
        json!({}),
        json!({"kty": "oct", "kid": "a"}),
        json!({"kty": "AKP", "kid": "a", "pub": "AA"}),
        with(rsa.clone(), "use", "enc"),
        with(rsa.clone(), "use", "jwt-svid"),
        with(rsa.clone(), "use", Value::Null),
        with(rsa.clone(), "key_ops", json!(["encrypt"])),
        with(rsa.clone(), "key_ops", json!([])),
        with(rsa.clone(), "key_ops", "verify"),
        with(rsa.clone(), "alg", "RSA-OAEP"),
        with(rsa.clone(), "alg", "ES256"),
        with(rsa.clone(), "alg", "HS256"),
        with(rsa.clone(), "alg", 1),
        with(rsa.clone(), "kid", 1),
        with(rsa.clone(), "kid", ""),
        with(rsa.clone(), "kid", "k".repeat(257)),
        without(rsa.clone(), "kty"),
        without(rsa.clone(), "n"),
        with(rsa.clone(), "n", base64([0x81; 128])),
        with(rsa.clone(), "n", base64([0x7f; 256])),
        with(rsa.clone(), "n", base64([0x81; 1025])),
        with(rsa.clone(), "n", base64([&[0][..], &[0x81; 256]].concat())),
        with(rsa.clone(), "n", even("n")),
        with(rsa.clone(), "n", ""),
        with(rsa.clone(), "n", rsa["n"].as_str().unwrap().to_owned() + "=="),
        with(rsa.clone(), "e", base64([1])),
        with(rsa.clone(), "e", base64([2])),
        with(rsa.clone(), "e", even("e")),
        with(rsa.clone(), "e", base64([0, 1, 0, 1])),
        with(rsa.clone(), "e", base64([0x81; 8])),
        with(rsa.clone(), "e", base64([0x81; 9])),
        with(curve.clone(), "crv", "secp256k1"),
        with(curve.clone(), "crv", "P-384"),
        without(curve.clone(), "y"),
        with(curve.clone(), "x", base64([1; 32])),
        with(curve.clone(), "x", base64([1; 31])),
        with(curve.clone(), "x", base64([1; 33])),
        with(curve, "y", base64([0; 32])),
        with(Signer::ed25519().jwk("a"), "x", base64([0; 31])),
        with(Signer::ed25519().jwk("a"), "crv", "X25519"),
    ];
    for jwk in &odd {
        let alone = of_issuer(std::slice::from_ref(jwk)).unwrap_err();
        assert_eq!(alone, KeySetError::NOTHING_LEFT, "{jwk}");
        let keys = of_issuer(&[jwk.clone(), Signer::p256().jwk("good")]).unwrap();
        assert_eq!((keys.len(), keys.left_out()), (1, 1), "{jwk}");
    }
}

#[test]
fn a_set_with_a_private_or_symmetric_key_is_refused_as_a_whole() {
    let good = Signer::p256().jwk("good");
    for name in PRIVATE {
        let jwk = with(Signer::rsa().jwk("a"), name, "AQ");
        assert_eq!(of_issuer(&[good.clone(), jwk]).unwrap_err(), KeySetError::PRIVATE, "{name}");
    }
    let symmetric = json!({"kty": "oct", "kid": "a", "k": "AAAA"});
    assert_eq!(of_issuer(&[good, symmetric]).unwrap_err(), KeySetError::PRIVATE);
}

#[test]
fn a_trust_domain_is_served_by_its_jwt_keys_alone() {
    let jwk = Signer::p256().jwk("a");
    let of = |jwk: Value| KeySet::of_trust_domain(&jwks(&[jwk])).map(|keys| keys.len());
    assert_eq!(of(with(jwk.clone(), "use", "jwt-svid")), Ok(1));
    assert_eq!(of(jwk.clone()), Ok(1), "as agents of SPIRE send them");
    for other in ["x509-svid", "wit-svid", "sig", "JWT-SVID", ""] {
        assert_eq!(of(with(jwk.clone(), "use", other)), Err(KeySetError::NOTHING_LEFT));
    }
    for other in [json!(null), json!(["jwt-svid"]), json!(1)] {
        assert_eq!(of(with(jwk.clone(), "use", other)), Err(KeySetError::NOTHING_LEFT));
    }
}

#[test]
fn what_is_no_set_is_an_error() {
    for text in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", "{\"keys\":[{]}"] {
        assert_eq!(KeySet::of_issuer(text.as_bytes()).unwrap_err(), KeySetError::MALFORMED);
    }
    assert_eq!(of_issuer(&[]).unwrap_err(), KeySetError::NOTHING_LEFT);
    let many = vec![json!({}); 257];
    assert_eq!(of_issuer(&many).unwrap_err(), KeySetError::TOO_MANY);
    let doubled = br#"{"keys":[{"kty":"OKP","kty":"OKP","crv":"Ed25519","x":""}]}"#;
    assert_eq!(KeySet::of_issuer(doubled).unwrap_err(), KeySetError::MALFORMED);
}

#[test]
fn a_kid_that_two_keys_share_for_one_algorithm_names_neither() {
    let (first, second) = (Signer::p256(), Signer::p256());
    let shared = of_issuer(&[first.jwk("a"), second.jwk("a")]);
    assert_eq!(shared.unwrap_err(), KeySetError::NOTHING_LEFT);

    let keys = of_issuer(&[first.jwk("a"), second.jwk("a"), Signer::rsa().jwk("a")]).unwrap();
    assert_eq!((keys.len(), keys.left_out()), (1, 2));
    let signature = first.sign(Algorithm::Es256, b"m");
    let fault = keys.verify(Some("a"), Algorithm::Es256, b"m", &signature);
    assert_eq!(fault, Err(KeyFault::Algorithm));
}

#[test]
fn keys_of_different_kinds_may_share_a_kid() {
    let (curve, rsa) = (Signer::p256(), Signer::rsa());
    let keys = of_issuer(&[curve.jwk("a"), rsa.jwk("a")]).unwrap();
    for signer in [curve, rsa] {
        let signature = signer.sign(signer.algorithm(), b"m");
        assert_eq!(
            keys.verify(Some("a"), signer.algorithm(), b"m", &signature).map(|_| ()),
            Ok(())
        );
    }
}

#[test]
fn a_key_is_known_again_by_its_material_and_its_name_alone() {
    for signer in [Signer::rsa(), Signer::p256(), Signer::p384(), Signer::p521(), Signer::ed25519()]
    {
        let jwk = signer.jwk("a");
        let signature = signer.sign(signer.algorithm(), b"m");
        let with_it = |jwk: Value| {
            of_issuer(&[jwk]).unwrap().verify(None, signer.algorithm(), b"m", &signature).unwrap()
        };
        let used = with_it(jwk.clone());
        for same in [jwk.clone(), with(jwk.clone(), "use", "sig"), with(jwk.clone(), "x5t", "b")] {
            let keys = of_issuer(&[Signer::p256().jwk("b"), same.clone()]).unwrap();
            assert!(keys.has(&used) && with_it(same) == used);
        }
        for other in [signer.jwk("b"), without(jwk, "kid")] {
            assert!(!of_issuer(std::slice::from_ref(&other)).unwrap().has(&used));
            assert!(with_it(other) != used);
        }
        assert!(!KeySet::default().has(&used));
    }
    let fresh = [Signer::rsa().jwk("a"), Signer::p256().jwk("a"), Signer::ed25519().jwk("a")];
    let again = [Signer::rsa().jwk("a"), Signer::p256().jwk("a"), Signer::ed25519().jwk("a")];
    let [fresh, again] = [fresh, again].map(|keys| of_issuer(&keys).unwrap());
    assert!(fresh.keys.iter().zip(&again.keys).all(|(one, two)| one.thumbprint != two.thumbprint));
}

#[test]
fn without_a_kid_exactly_one_key_must_fit() {
    let (first, second) = (Signer::p256(), Signer::p256());
    let signature = first.sign(Algorithm::Es256, b"m");
    let judge = |keys: &[Value]| {
        of_issuer(keys).unwrap().verify(None, Algorithm::Es256, b"m", &signature).map(|_| ())
    };
    let nameless = without(first.jwk("a"), "kid");
    assert_eq!(judge(&[first.jwk("a"), Signer::rsa().jwk("b")]), Ok(()));
    assert_eq!(judge(std::slice::from_ref(&nameless)), Ok(()));
    assert_eq!(judge(&[first.jwk("a"), second.jwk("b")]), Err(KeyFault::Unknown));
    assert_eq!(judge(&[Signer::rsa().jwk("a")]), Err(KeyFault::Unknown));
    // And a key without a name is not found by one.
    let keys = of_issuer(&[nameless]).unwrap();
    let fault = keys.verify(Some("a"), Algorithm::Es256, b"m", &signature);
    assert_eq!(fault, Err(KeyFault::Unknown));
}

#[test]
fn it_shows_names_and_counts_only() {
    let keys = of_issuer(&[Signer::p256().jwk("a"), json!({})]).unwrap();
    assert_eq!(format!("{keys:?}"), r#"KeySet { kids: [Some("a")], left_out: 1 }"#);
}

proptest! {
    #[test]
    fn no_document_is_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(KeySet::of_issuer(&bytes));
        drop(KeySet::of_trust_domain(&bytes));
    }
}
