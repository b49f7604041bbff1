//! `policy`, `bundle` and `shadow`: where policies come from, and what is believed of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::PolicyFrom;
use super::file::File;
use super::file_opa::{BundleFile, SignedByFile};
use super::problems::{Problems, Wrong, shown};
use super::reading::{Surroundings, exactly_one, optional, period_within};
use super::token_values;
use super::tree::Place;
use super::values;
use crate::files::SecretFile;
use crate::opa::{BundleFrom, BundleServer, BundleSettings, Signer, SignerKeys, Trust, is_archive};
use crate::tls::RootsFrom;
use crate::token::{Algorithm, KeysFrom};

const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const LONG_POLL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(15 * 60);

/// Both policies; the outer `None` where something is wrong.
pub(super) fn policies(
    file: &File,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<(PolicyFrom, Option<PolicyFrom>)> {
    let enforced =
        policy(file.policy.as_deref(), file.bundle.as_ref(), "policy", at, around, problems);
    let place = at.key("shadow");
    let shadow = match &file.shadow {
        Some(shadow) => {
            let (path, bundle) = (shadow.policy.as_deref(), shadow.bundle.as_ref());
            policy(path, bundle, "shadow", &place, around, problems).map(Some)
        }
        None if place.is_faulty() => None,
        None => Some(None),
    };
    let (enforced, shadow) = (enforced?, shadow?);
    if let Some(shadow) = &shadow {
        names_differ(&enforced, shadow, at, problems)?;
    }
    Some((enforced, shadow))
}

/// What is kept of a bundle goes by its name: the next start would take one policy for the other.
fn names_differ(
    enforced: &PolicyFrom,
    shadow: &PolicyFrom,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<()> {
    let (PolicyFrom::Bundle(enforced), PolicyFrom::Bundle(shadow)) = (enforced, shadow) else {
        return Some(());
    };
    if enforced.name != shadow.name {
        return Some(());
    }
    let (own, other) = (at.key("bundle").key("name"), at.key("shadow").key("bundle").key("name"));
    let place = if other.is_written() { other } else { own };
    let message = format!("{} is the name of both bundles", shown(&shadow.name));
    place.report(problems, message, "give the shadow policy's bundle a name of its own");
    None
}

fn policy(
    path: Option<&str>,
    bundle: Option<&BundleFile>,
    name: &str,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<PolicyFrom> {
    let hint = "add `policy: /path`, or `bundle: { url: https://... }`";
    let way = exactly_one(&["policy", "bundle"], at, hint, problems);
    let path = path.and_then(|path| {
        at.key("policy").accept(problems, values::absolute_path(path, around.base))
    });
    let place = at.key("bundle");
    let bundle = bundle.and_then(|it| self::bundle(it, name, &place, around, problems));
    if way? == "bundle" {
        return bundle.map(PolicyFrom::Bundle);
    }
    let path = path?;
    if !is_archive(&path) {
        return Some(PolicyFrom::Files(path));
    }
    let (name, from) = (name.to_owned(), BundleFrom::File(path));
    Some(PolicyFrom::Bundle(BundleSettings { name, from, trust: Trust::Anybody }))
}

fn bundle(
    file: &BundleFile,
    name: &str,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<BundleSettings> {
    let given = |text: &str| values::label(text, "name");
    let given = optional(file.name.as_deref(), &at.key("name"), problems, given);
    let trust = trust(file, at, around, problems);
    let hint = "add `url: https://bundles.example.com/orders.tar.gz`, or `file: /path`";
    let from = match exactly_one(&["url", "file"], at, hint, problems) {
        None => None,
        Some("url") => server(file, at, around, problems).map(Box::new).map(BundleFrom::Server),
        Some(_) => {
            for key in ["ca", "token_file", "long_poll", "keep"] {
                beside_a_file(key, at, problems);
            }
            if at.key("poll").key("every").is_written() {
                beside_a_file("poll", at, problems);
            }
            around.path(file.file.as_deref(), &at.key("file"), problems).map(BundleFrom::File)
        }
    };
    let name = given?.unwrap_or_else(|| name.to_owned());
    Some(BundleSettings { name, from: from?, trust: trust? })
}

fn beside_a_file(key: &str, at: &Place<'_>, problems: &mut Problems) {
    let place = at.key(key);
    if place.is_written() {
        place.report(problems, "means nothing beside `file`", "remove it; nobody is asked");
    }
}

fn server(
    file: &BundleFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<BundleServer> {
    let url = file.url.as_deref().map(token_values::https_url);
    let url = url.and_then(|url| at.key("url").accept(problems, url));
    let roots = around.roots(file.ca.as_deref(), at, problems);
    let token = token(file, at, around, problems);
    let poll = file.poll.as_ref();
    let place = at.key("poll").key("every");
    let hint = "from 1s to 24h";
    let every =
        period_within(poll.and_then(|it| it.every.as_deref()), &place, &EVERY, hint, problems);
    let place = at.key("long_poll");
    let long_poll = match file.long_poll.as_deref() {
        None if place.is_faulty() => None,
        None => Some(None),
        text => period_within(text, &place, &LONG_POLL, "from 1s to 15m", problems).map(Some),
    };
    let place = at.key("keep");
    let keep = optional(file.keep.as_deref(), &place, problems, |text| {
        values::absolute_path(text, around.base)
    });
    Some(BundleServer {
        url: url?,
        roots: roots?,
        token: token?,
        every: every?,
        long_poll: long_poll?,
        keep: keep?,
    })
}

fn token(
    file: &BundleFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Option<SecretFile>> {
    let place = at.key("token_file");
    let danger = file.danger_token_readable_by_others;
    match file.token_file.as_deref() {
        None if place.is_faulty() => None,
        None if danger == Some(true) => {
            let place = at.key("danger_token_readable_by_others");
            let hint = "add `token_file`, or remove it";
            place.report(problems, "means nothing without `token_file`", hint);
            None
        }
        None => Some(None),
        text => around.secret_file(text, danger, &place, problems).map(Some),
    }
}

fn trust(
    file: &BundleFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Trust> {
    let place = at.key("signed_by");
    let signer = file.signed_by.as_ref().map(|it| signer(it, &place, around, problems));
    match (signer, file.danger_accept_unsigned?) {
        (Some(_), true) => {
            let hint =
                "remove it: whoever could leave the signature off could also change the rest";
            let message = "stands next to `signed_by`";
            at.key("danger_accept_unsigned").report(problems, message, hint);
            None
        }
        (Some(signer), false) => signer.map(Trust::SignedBy),
        (None, _) if place.is_faulty() => None,
        (None, true) => Some(Trust::Anybody),
        (None, false) => {
            let hint = "add `signed_by: { key: /path/to/public-key.pem }`, or say \
                        `danger_accept_unsigned: true`";
            at.report(problems, "does not say who has to have signed it", hint);
            None
        }
    }
}

fn signer(
    file: &SignedByFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Signer> {
    let keys = keys(file, at, around, problems);
    let place = at.key("algorithm");
    let algorithm = optional(file.algorithm.as_deref(), &place, problems, algorithm);
    let key_id = optional(file.key_id.as_deref(), &at.key("key_id"), problems, token_values::name);
    let scope = optional(file.scope.as_deref(), &at.key("scope"), problems, token_values::name);
    Some(Signer { keys: keys?, algorithm: algorithm?, key_id: key_id?, scope: scope? })
}

fn keys(
    file: &SignedByFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<SignerKeys> {
    let hint = "add `key: /path/to/public-key.pem`, or `jwks: https://...`";
    let way = exactly_one(&["key", "jwks"], at, hint, problems);
    let text = file.jwks.as_deref();
    let over_the_web = way == Some("jwks") && text.is_some_and(|text| text.contains("://"));
    if file.ca.is_some() && !over_the_web {
        let hint = "remove it; nobody is asked for the keys";
        at.key("ca").report(problems, "means nothing without `jwks: https://...`", hint);
    }
    let place = at.key("jwks");
    match way? {
        "key" => around.path(file.key.as_deref(), &at.key("key"), problems).map(SignerKeys::Pem),
        _ if over_the_web => {
            let url = place.accept(problems, token_values::https_url(text?));
            let roots = around.roots(file.ca.as_deref(), at, problems);
            Some(SignerKeys::Jwks { from: KeysFrom::Url(url?), roots: roots? })
        }
        _ => {
            let from = around.path(text, &place, problems).map(KeysFrom::File)?;
            Some(SignerKeys::Jwks { from, roots: RootsFrom::System })
        }
    }
}

/// What OPA signs by, as far as it is asymmetric.
fn algorithm(text: &str) -> Result<Algorithm, Wrong> {
    match token_values::algorithm(text) {
        Ok(known) if known != Algorithm::EdDsa => Ok(known),
        _ => {
            let message = format!("{} is none that a bundle may be signed by", shown(text));
            Err(Wrong::new(message, "name one of RS, PS and ES, such as `RS256`"))
        }
    }
}
