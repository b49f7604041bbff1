//! Keys and values that are refused in words of their own, since somebody is bound to try them.

use super::problems::shown;

/// Keys of the design that this version refuses by name, with what to do instead.
/// `[]` stands for any element of a list.
const LATER_KEYS: &[(&str, &str)] =
    &[("forward_proxy", "declare each destination under `outbound`")];

/// Keys by which people write down a secret itself, and the keys of ours that name a file of it.
const SECRETS: &[(&str, &[&str])] = &[
    ("access_token", &["file"]),
    ("api_key", &["file"]),
    ("bearer", &["file"]),
    ("client_secret", &["client_secret_file"]),
    ("key_pem", &["key"]),
    ("password", &["client_secret_file", "file"]),
    ("private_key", &["key"]),
    ("secret", &["client_secret_file", "file"]),
    ("token", &["token_file", "file"]),
];

/// Keys in whose place somebody may write the secret that they lead to, and what to write instead.
const SECRET_PLACES: &[(&str, Option<&str>)] = &[
    ("assertion", Some(PROOF)),
    ("certificate", None),
    ("client_credentials", None),
    ("client_secret_file", Some(PATH)),
    ("env", Some("write the name of the variable that holds the token")),
    ("file", Some(PATH)),
    ("key", Some(PATH)),
    ("present", Some(PROOF)),
    ("subject_token", Some(PROOF)),
    ("token_exchange", None),
    ("token_file", Some(PATH)),
];
const PROOF: &str = "write it into a file and name that: `{ file: /path }`";
const PATH: &str = "write it into a file, and here the path of that";

/// Message and hint for a key of the design that is not there yet.
pub(super) fn key(path: &str, name: &str) -> Option<(String, String)> {
    let (_, instead) = LATER_KEYS.iter().find(|(later, _)| *later == path)?;
    let message = format!("{} is not supported by this version yet", shown(name));
    Some((message, (*instead).to_owned()))
}

/// A key that would hold a secret.
pub(super) struct InlineSecret {
    pub message: String,
    pub hint: String,
    /// The key that was meant, if there is one here.
    pub meant: Option<&'static str>,
}

/// Judges a key that is not one of `possible`.
pub(super) fn inline_secret(name: &str, possible: &[&str]) -> Option<InlineSecret> {
    let (_, ours) = SECRETS.iter().find(|(secret, _)| name.eq_ignore_ascii_case(secret))?;
    let meant = ours.iter().copied().find(|key| possible.contains(key));
    let hint = match meant {
        Some(key) => format!("write it into a file and name that: `{key}: /path`"),
        None => "write it into a file and name that".to_owned(),
    };
    let message = format!("{} would hold a secret, and no secret stands here", shown(name));
    Some(InlineSecret { message, hint, meant })
}

/// Whether what is written at a path must not be repeated.
pub(super) fn may_be_secret(path: &str) -> bool {
    secret_place(path).is_some()
}

/// What to do instead where a secret may have been meant.
pub(super) fn instead_of_secret(path: &str) -> Option<&'static str> {
    secret_place(path).and_then(|(_, instead)| *instead)
}

fn secret_place(path: &str) -> Option<&'static (&'static str, Option<&'static str>)> {
    let last = path.rsplit('.').next().unwrap_or(path);
    SECRET_PLACES.iter().find(|(key, _)| *key == last)
}

/// Message and hint for a value that its schema does not list.
pub(super) fn value(path: &str, text: &str) -> Option<(String, String)> {
    match path {
        "jwt.issuers[].algorithms[]" => algorithm(text),
        "jwt.issuers[].keys" => {
            let hint = "write `discovery`, `{ url: https://... }` or `{ file: /path }`";
            Some((format!("{} is not `discovery`", shown(text)), hint.to_owned()))
        }
        _ => None,
    }
}

fn algorithm(text: &str) -> Option<(String, String)> {
    if text.eq_ignore_ascii_case("none") {
        let message = format!("{} is no signature: anybody could make such a token", shown(text));
        return Some((message, "name asymmetric ones, such as `ES256`".to_owned()));
    }
    let family = text.get(..2).unwrap_or_default();
    if family.eq_ignore_ascii_case("HS") {
        let message = format!(
            "{} takes a shared secret: whoever can verify such a token can make one",
            shown(text)
        );
        return Some((message, "name asymmetric ones, such as `ES256`".to_owned()));
    }
    None
}
