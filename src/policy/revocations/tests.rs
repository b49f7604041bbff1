//! What is revoked, what is not, and what is refused as a list.

use proptest::prelude::{prop_assert_eq, proptest};
use regorus::Value;
use serde_json::json;

use super::{ENTRIES_MAX, Revocations, read};

fn revoking(revocations: &serde_json::Value) -> Result<Revocations, String> {
    let data = json!({ "revocations": revocations });
    read(&Value::from_json_str(&data.to_string()).unwrap())
}

#[test]
fn nothing_revokes_nothing() {
    for data in ["{}", r#"{"revocations": {}}"#, r#"{"revocations": {"tokens": []}}"#] {
        let revocations = read(&Value::from_json_str(data).unwrap()).unwrap();
        assert!(revocations.is_empty(), "{data}");
        assert_eq!(revocations.spiffe_id("spiffe://td/prod/x"), None);
        assert!(!revocations.subject("robot") && !revocations.serial("ab"));
        assert!(!revocations.token(Some("j"), "0123") && !revocations.token(None, ""));
    }
}

#[test]
fn one_entry_of_any_list_is_not_nothing() {
    for revocations in [
        json!({"spiffe_ids": ["spiffe://td/x"]}),
        json!({"spiffe_ids": ["spiffe://td/*"]}),
        json!({"subjects": ["robot"]}),
        json!({"tokens": ["j"]}),
        json!({"serials": ["0"]}),
    ] {
        assert!(!revoking(&revocations).unwrap().is_empty(), "{revocations}");
    }
}

#[test]
fn a_spiffe_id_is_revoked_by_itself_or_by_a_path_above() {
    let entries = ["spiffe://td/prod/x", "spiffe://td/dev/*", "spiffe://gone/*", "spiffe://Caps/y"];
    let revocations = revoking(&json!({ "spiffe_ids": entries })).unwrap();
    for (id, entry) in [
        ("spiffe://td/prod/x", Some("spiffe://td/prod/x")),
        ("spiffe://td/prod/x/y", None),
        ("spiffe://td/prod/xy", None),
        ("spiffe://td/prod", None),
        ("spiffe://td/dev/x", Some("spiffe://td/dev/*")),
        ("spiffe://td/dev/a/b/c", Some("spiffe://td/dev/*")),
        ("spiffe://td/dev", None),
        ("spiffe://td/development/x", None),
        ("spiffe://gone/x", Some("spiffe://gone/*")),
        ("spiffe://gone/a/b", Some("spiffe://gone/*")),
        ("spiffe://gone.example/a", None),
        ("spiffe://caps/y", Some("spiffe://caps/y")),
        ("robot", None),
        ("", None),
        ("/td/dev/x", None),
    ] {
        assert_eq!(revocations.spiffe_id(id), entry, "{id}");
    }
}

#[test]
fn a_token_is_revoked_by_its_id_or_fingerprint() {
    let fingerprint = "0123456789abcdef0123456789ABCDEF";
    let revocations = revoking(&json!({"tokens": ["job-7", fingerprint]})).unwrap();
    let lower = fingerprint.to_lowercase();
    for (id, shown, revoked) in [
        (Some("job-7"), "other", true),
        (Some("Job-7"), "other", false),
        (None, "job-7", false),
        (Some("job-8"), lower.as_str(), true),
        (None, lower.as_str(), true),
        (Some(fingerprint), "other", true),
        (Some("job-8"), "other", false),
    ] {
        assert_eq!(revocations.token(id, shown), revoked, "{id:?} {shown}");
    }
}

#[test]
fn subjects_are_compared_as_they_are_written() {
    let revocations = revoking(&json!({"subjects": ["client-17", "a@b"]})).unwrap();
    assert!(revocations.subject("client-17") && revocations.subject("a@b"));
    assert!(!revocations.subject("client-1") && !revocations.subject("Client-17"));
}

#[test]
fn a_serial_number_may_be_written_as_tools_write_it() {
    let revocations = revoking(&json!({"serials": ["00:AB:cd:0f", "7", "0A1B"]})).unwrap();
    for serial in ["abcd0f", "00abcd0f", "07", "7", "0a1b"] {
        assert!(revocations.serial(serial), "{serial}");
    }
    for serial in ["abcd0", "70", "a1b0", ""] {
        assert!(!revocations.serial(serial), "{serial}");
    }
}

#[test]
fn what_could_never_match_is_refused_and_named() {
    let long = "a".repeat(2049);
    for (revocations, expected) in [
        (json!([]), "`revocations` is a list where an object belongs"),
        (json!(null), "`revocations` is null where an object belongs"),
        (json!({"spiffe_id": []}), "not `spiffe_id`"),
        (json!({"Tokens": []}), "not `Tokens`"),
        (json!({"tokens": "x"}), "`revocations.tokens` is a string where a list belongs"),
        (json!({"tokens": ["a", 7]}), "`revocations.tokens`: entry 2 is a number"),
        (json!({"tokens": [""]}), "entry 1 is empty"),
        (json!({"subjects": [""]}), "entry 1 is empty"),
        (json!({"subjects": [long]}), "entry 1 is longer than 2048 bytes"),
        (json!({"subjects": ["a", "a\u{0}b"]}), "entry 2 has a control character"),
        (json!({"tokens": ["a\n"]}), "entry 1 has a control character"),
        (json!({"serials": ["\u{85}"]}), "entry 1 has a control character"),
        (json!({"spiffe_ids": ["td/prod/x"]}), "`td/prod/x` is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["spiffe://td/*/x"]}), "is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["spiffe://td/prod*"]}), "is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["spiffe://td/prod/"]}), "is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["spiffe://td/../x"]}), "is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["spiffe://*"]}), "is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["*"]}), "is not a SPIFFE ID"),
        (json!({"spiffe_ids": ["spiffe://td"]}), "`spiffe://td/*` is all in it"),
        (json!({"serials": ["xyz"]}), "`xyz` is not a serial number"),
        (json!({"serials": ["0x12"]}), "`0x12` is not a serial number"),
        (json!({"serials": ["1:23"]}), "is not a serial number"),
        (json!({"serials": [":"]}), "is not a serial number"),
        (json!({"serials": ["a".repeat(41)]}), "is not a serial number"),
        (json!({"serials": ["ä"]}), "is not a serial number"),
    ] {
        let error = revoking(&revocations).unwrap_err();
        assert!(error.contains(expected), "{revocations}: {error}");
    }
}

#[test]
fn a_token_that_was_pasted_whole_is_refused_and_not_repeated() {
    let error = revoking(&json!({"tokens": ["eyJhbGciOi.eyJzdWIi.c2VjcmV0"]})).unwrap_err();
    assert!(error.contains("entry 1 is a whole token"), "{error}");
    assert!(!error.contains("eyJ") && !error.contains("c2VjcmV0"), "{error}");
}

#[test]
fn a_misspelled_name_of_the_whole_is_refused() {
    for name in ["revocation", "Revocations", "revoactions", "revocatons"] {
        let data = json!({ name: {"subjects": ["x"]} });
        let error = read(&Value::from_json_str(&data.to_string()).unwrap()).unwrap_err();
        assert!(error.contains("did you mean `revocations`?"), "{name}: {error}");
    }
    let data = r#"{"revoked": {}, "services": {}, "relations": {}}"#;
    assert!(read(&Value::from_json_str(data).unwrap()).unwrap().is_empty());
}

#[test]
fn all_lists_together_are_bounded() {
    let half: Vec<String> = (0..ENTRIES_MAX / 2).map(|n| format!("s{n}")).collect();
    let mut lists = json!({"subjects": half, "tokens": half});
    let revocations = revoking(&lists).unwrap();
    assert!(revocations.subject("s0") && revocations.token(Some("s49999"), ""));
    lists["serials"] = json!(["1"]);
    assert!(revoking(&lists).unwrap_err().contains("more than 100000 entries"));
}

#[test]
fn the_lists_are_not_shown() {
    let revocations = revoking(&json!({"tokens": ["job-7"], "subjects": ["a", "b"]})).unwrap();
    let shown = format!("{revocations:?}");
    assert!(shown.contains("subjects: 2") && !shown.contains("job-7"), "{shown}");
}

proptest! {
    #[test]
    fn everything_below_a_path_is_revoked_and_nothing_beside_it(
        above in "(/[a-c]{1,2}){0,3}",
        id in "(/[a-c]{1,2}){1,5}",
    ) {
        let revocations = revoking(&json!({"spiffe_ids": [format!("spiffe://td{above}/*")]}));
        let found = revocations.unwrap().spiffe_id(&format!("spiffe://td{id}")).is_some();
        prop_assert_eq!(found, id.starts_with(&format!("{above}/")));
    }

    #[test]
    fn no_entry_and_no_question_is_too_strange(entry in ".{0,40}", asked in ".{0,40}") {
        for list in ["spiffe_ids", "subjects", "tokens", "serials"] {
            if let Ok(revocations) = revoking(&json!({ list: [entry] })) {
                let other = revocations.spiffe_id(&asked).is_some()
                    || revocations.subject(&asked)
                    || revocations.token(Some(&asked), &asked);
                prop_assert_eq!(other, list != "serials" && entry == asked);
            }
        }
    }
}
