//! Project Wycheproof's JSON Web Signatures, through the envelope and the keys that judge tokens.
//!
//! The vectors are not part of this repository. `SIDEGATE_WYCHEPROOF` names the file
//! (`json_web_signature_test.json`); without it a place beside the repository is tried.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sidegate::token::inspect_jws;

const FILE: &str = "SIDEGATE_WYCHEPROOF";
const BESIDE: &str = "../shared/data/wycheproof-jws.json";
/// Set it to write the documented table anew instead of comparing.
const BLESS: &str = "SIDEGATE_BLESS";
const DOCUMENT: &str = "docs/conformance.md";
const HEADING: &str = "## JSON Web Signatures: Wycheproof\n";

/// What is called valid and refused here, on purpose.
const DIFFERENCES: &[Difference] = &[
    Difference {
        vectors: &[1, 348, 352, 357, 358, 359, 372, 373, 376, 377],
        cause: "the set holds a private or symmetric key",
        why: "The key is a secret for HS256. Whoever can verify such a token can also make it, so no \
              symmetric algorithm is known here, and a published set with a secret in it is refused \
              as a whole. Two of them (372, 373) also have a `?` amid their base64url, which other \
              libraries may pass over.",
    },
    Difference {
        vectors: &[346, 350],
        cause: "algorithm",
        why: "Figure 20 of RFC 7520 with a key that says `\"alg\": \"PS256\"` and a token that says \
              PS384. What a key says of its use binds (RFC 8725 section 3.1).",
    },
    Difference {
        vectors: &[347, 351],
        cause: "the set has no key that can verify a token",
        why: "Figure 27 of RFC 7520 with a key that says `\"alg\": \"ES521\"`, which is no algorithm: \
              P-521 goes with ES512. Such a key is left out. The same signature holds where the key \
              says `ES512` or nothing, which is tried in this test, too.",
    },
];

struct Difference {
    vectors: &'static [u64],
    /// The code of the refusal, or what is wrong with the key.
    cause: &'static str,
    why: &'static str,
}

/// One group of vectors: how many were what they should be.
#[derive(Default)]
struct Group {
    name: String,
    key: String,
    accepted: usize,
    refused_on_purpose: usize,
    refused: usize,
}

#[test]
fn no_bad_signature_is_accepted_and_every_good_one_that_is_refused_is_explained() {
    let Some(vectors) = vectors() else { return };
    let mut groups = Vec::new();
    let mut causes: BTreeMap<u64, String> = BTreeMap::new();
    let mut false_accepts = Vec::new();
    for listed in vectors["testGroups"].as_array().unwrap() {
        let key = listed.get("public").unwrap_or(&listed["private"]);
        let mut group = Group {
            name: listed["comment"].as_str().unwrap().to_owned(),
            key: described(key),
            ..Group::default()
        };
        for vector in listed["tests"].as_array().unwrap() {
            let id = vector["tcId"].as_u64().unwrap();
            let verdict = inspect_jws(vector["jws"].as_str().unwrap(), &key.to_string());
            match (vector["result"].as_str().unwrap(), verdict) {
                ("valid", Ok(())) => group.accepted += 1,
                ("valid", Err(cause)) => {
                    causes.insert(id, cause);
                    group.refused_on_purpose += 1;
                }
                ("invalid", Ok(())) => false_accepts.push(id),
                ("invalid", Err(_)) => group.refused += 1,
                (other, _) => panic!("vector {id} is neither valid nor invalid but `{other}`"),
            }
        }
        groups.push(group);
    }
    assert_eq!(false_accepts, [0_u64; 0]);
    let explained = DIFFERENCES
        .iter()
        .flat_map(|it| it.vectors.iter().map(|vector| (*vector, it.cause.to_owned())));
    assert_eq!(causes, explained.collect());
    documented(&section(&groups));
}

#[test]
fn the_figure_for_p521_holds_with_the_right_algorithm_in_its_key() {
    let Some(vectors) = vectors() else { return };
    let groups = vectors["testGroups"].as_array().unwrap();
    let group = groups.iter().find(|it| it["public"]["alg"] == "ES521").unwrap();
    let jws = group["tests"][0]["jws"].as_str().unwrap();
    let mut key = group["public"].clone();
    key["alg"] = "ES512".into();
    assert_eq!(inspect_jws(jws, &key.to_string()), Ok(()));
    key.as_object_mut().unwrap().remove("alg");
    assert_eq!(inspect_jws(jws, &key.to_string()), Ok(()));
    assert!(inspect_jws(&jws.replacen('.', ".A", 1), &key.to_string()).is_err());
}

fn vectors() -> Option<Value> {
    let path = match std::env::var_os(FILE) {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(BESIDE),
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if std::env::var_os(FILE).is_some() => panic!("{}: {error}", path.display()),
        Err(_) => {
            eprintln!("skipped: {FILE} is not set and {} is not there", path.display());
            return None;
        }
    };
    Some(serde_json::from_str(&text).unwrap())
}

/// What tells the key of one group from that of another.
fn described(key: &Value) -> String {
    let said = ["kty", "crv", "alg", "use"].into_iter().filter_map(|name| key[name].as_str());
    let operations = key["key_ops"].as_array().into_iter().flatten().filter_map(Value::as_str);
    said.chain(operations).collect::<Vec<_>>().join(" ")
}

fn section(groups: &[Group]) -> String {
    let sum = |of: fn(&Group) -> usize| groups.iter().map(of).sum::<usize>();
    let (accepted, on_purpose) = (sum(|it| it.accepted), sum(|it| it.refused_on_purpose));
    let refused = sum(|it| it.refused);
    let symmetric = groups.iter().filter(|it| it.key.starts_with("oct"));
    let for_the_key = symmetric.map(|it| it.refused).sum::<usize>();
    let mut text = format!(
        "{HEADING}\n\
         Vectors: Project Wycheproof, `json_web_signature_test.json`, {} of them, each with one JWK. \
         Tried without\nclaims: the compact envelope, the key set, the signature. Test: \
         `tests/it/wycheproof.rs`.\n\n\
         - **No invalid signature is accepted** (0 of {refused}). {for_the_key} of them come with a symmetric \
         key and are refused\n  for that alone, so they prove nothing more.\n\
         - Of {} valid ones, {accepted} are accepted and {on_purpose} are refused on purpose; each \
         of those is explained below.\n\n\
         | group | key | valid, accepted | valid, refused on purpose | invalid, refused |\n\
         | --- | --- | ---: | ---: | ---: |\n",
        accepted + on_purpose + refused,
        accepted + on_purpose,
    );
    for group in groups {
        let Group { name, key, accepted, refused_on_purpose, refused } = group;
        writeln!(text, "| {name} | {key} | {accepted} | {refused_on_purpose} | {refused} |")
            .unwrap();
    }
    writeln!(text, "| **all** | | **{accepted}** | **{on_purpose}** | **{refused}** |\n").unwrap();
    text += "| valid and refused | said to be wrong | why |\n| --- | --- | --- |\n";
    for Difference { vectors, cause, why } in DIFFERENCES {
        let vectors: Vec<_> = vectors.iter().map(u64::to_string).collect();
        writeln!(text, "| {} | {cause} | {why} |", vectors.join(", ")).unwrap();
    }
    text
}

/// The section of the document is this one.
fn documented(section: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let document = fs::read_to_string(&path).unwrap();
    let begin = document.find(HEADING).expect("the document has the section");
    let end = document[begin + HEADING.len()..].find("\n## ").map(|at| begin + HEADING.len() + at);
    let end = end.unwrap_or(document.len());
    if std::env::var_os(BLESS).is_some() {
        let whole = format!("{}{section}{}", &document[..begin], &document[end..]);
        fs::write(&path, whole).unwrap();
        return;
    }
    assert!(
        document[begin..end] == *section,
        "{DOCUMENT} says something else; run with {BLESS}=1 to write:\n{section}"
    );
}
