//! `jwt`: whose machine tokens are believed, and the token that we present unless told otherwise.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Jwt;
use super::file_jwt::{IssuerFile, JwtFile, KeysFile, KeysSourceFile, SvidFile};
use super::file_values::OneOrSeveral;
use super::present::present;
use super::problems::{Problems, shown};
use super::reading::{Surroundings, each, exactly_one, one_or_several, period_within};
use super::token_values;
use super::tree::Place;
use super::values;
use crate::token::{Algorithm, Issuer, KeysFrom, Present, Svids};

/// Of any token, as standards and our requirements have it.
const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const LIFETIME_HINT: &str = "from 1s to 1h";
const KEYS_AGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 3600);

/// How long a token that acts in other tenants may live, unless the file says otherwise.
const CROSS_TENANT_LIFETIME: Duration = Duration::from_secs(15 * 60);
pub(super) const CROSS_TENANT_LIFETIME_TEXT: &str = "15m";

/// What listeners need to know of `jwt`.
pub(super) struct Tokens {
    /// `None` where something is wrong with it.
    pub jwt: Option<Jwt>,
    /// Somebody's tokens are believed, or would be if nothing were wrong.
    pub believed: bool,
    pub present: DefaultPresent,
}

/// `jwt.present`.
pub(super) enum DefaultPresent {
    Absent,
    /// It is on record what is wrong with it.
    Faulty,
    Given(Present),
}

pub(super) fn jwt(
    file: Option<&JwtFile>,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Tokens {
    let Some(file) = file else {
        return Tokens { jwt: None, believed: true, present: DefaultPresent::Faulty };
    };
    let list = file.issuers.as_deref().unwrap_or_default();
    let issuers = issuers(list, &at.key("issuers"), around, problems);
    let svid = file.svid.as_ref().map(|it| svids(it, &at.key("svid"), around, problems));
    let faulty = at.key("issuers").is_faulty() || at.key("svid").is_faulty();
    let default = match &file.present {
        Some(given) => match present(given, &at.key("present"), around, problems) {
            Some(present) => DefaultPresent::Given(present),
            None => DefaultPresent::Faulty,
        },
        None if at.key("present").is_faulty() => DefaultPresent::Faulty,
        None => DefaultPresent::Absent,
    };
    let believed = !list.is_empty() || svid.is_some() || faulty;
    let jwt = match (issuers, svid) {
        (Some(issuers), None) => Some(Jwt { issuers, svid: None }),
        (Some(issuers), Some(Some(svid))) => Some(Jwt { issuers, svid: Some(svid) }),
        (None, _) | (_, Some(None)) => None,
    };
    Tokens { jwt, believed, present: default }
}

fn issuers(
    list: &[Option<IssuerFile>],
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Vec<Issuer>> {
    let mut issuers = Vec::new();
    let mut names: Vec<(&str, String)> = Vec::new();
    for (index, file) in list.iter().enumerate() {
        let Some(file) = file else { continue };
        let at = at.item(index);
        if let Some(name) = file.issuer.as_deref() {
            if let Some((_, first)) = names.iter().find(|(other, _)| *other == name) {
                let message = format!("{} is the issuer of {first} already", shown(name));
                let hint = "keep one of the two; `audience` and `tenants` may be lists";
                at.key("issuer").report(problems, message, hint);
            }
            names.push((name, at.path().to_owned()));
        }
        issuers.extend(issuer(file, &at, around, problems));
    }
    (issuers.len() == list.len()).then_some(issuers)
}

fn issuer(
    file: &IssuerFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Issuer> {
    let keys = keys(file, at, around, problems);
    let name = name(file, keys.as_ref(), &at.key("issuer"), problems);
    let audience = audience(file.audience.as_ref(), &at.key("audience"), problems);
    let roots = around.roots(file.ca.as_deref(), at, problems);
    if matches!(keys, Some(KeysFrom::File(_))) && file.ca.is_some() {
        let hint = "remove it; nobody is asked for the keys";
        at.key("ca").report(problems, "does not go with `keys: { file: ... }`", hint);
    }
    let algorithms = algorithms(file, &at.key("algorithms"), problems);
    let place = at.key("max_lifetime");
    let max_lifetime =
        period_within(file.max_lifetime.as_deref(), &place, &LIFETIME, LIFETIME_HINT, problems);
    let place = at.key("keys_max_age");
    let hint = "from 1m to 168h, which is seven days";
    let keys_max_age =
        period_within(file.keys_max_age.as_deref(), &place, &KEYS_AGE, hint, problems);
    let tenants = tenants(file, &at.key("tenants"), problems);
    let cross_tenant_max_lifetime = cross_tenant(file, at, problems);
    Some(Issuer {
        issuer: name?,
        audience: audience?,
        keys: keys?,
        roots: roots?,
        algorithms: algorithms?,
        max_lifetime: max_lifetime?,
        keys_max_age: keys_max_age?,
        tenants: tenants?,
        cross_tenant_max_lifetime: cross_tenant_max_lifetime?,
    })
}

/// Any `https` URL names an issuer; one that is to be asked has to be an address, too.
fn name(
    file: &IssuerFile,
    keys: Option<&KeysFrom>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let text = file.issuer.as_deref()?;
    let name = at.accept(problems, token_values::issuer(text))?;
    if matches!(keys, Some(KeysFrom::Discovery)) {
        at.accept(problems, token_values::discoverable(text))?;
    }
    Some(name)
}

fn keys(
    file: &IssuerFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<KeysFrom> {
    let at = at.key("keys");
    let source: &KeysSourceFile = match file.keys.as_ref()? {
        KeysFile::Word(_) => return Some(KeysFrom::Discovery),
        KeysFile::Source(source) => source,
    };
    let hint = "write `discovery`, `{ url: https://... }` or `{ file: /path }`";
    match exactly_one(&["url", "file"], &at, hint, problems)? {
        "url" => {
            let url = token_values::https_url(source.url.as_deref()?);
            at.key("url").accept(problems, url).map(KeysFrom::Url)
        }
        _ => {
            let path = around.path(source.file.as_deref(), &at.key("file"), problems)?;
            Some(KeysFrom::File(path))
        }
    }
}

fn audience(
    file: Option<&OneOrSeveral>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Vec<String>> {
    let empty = (
        "is empty, so no token could be for us",
        "name at least one: what the issuer calls this service",
    );
    one_or_several(file, at, empty, problems, token_values::name)
}

fn algorithms(
    file: &IssuerFile,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Vec<Algorithm>> {
    let list = file.algorithms.as_deref()?;
    if list.is_empty() {
        let hint = "name at least one, such as `ES256`, or leave the key out";
        at.report(problems, "is empty, so no signature could hold", hint);
        return None;
    }
    each(list, at, problems, token_values::algorithm)
}

fn tenants(
    file: &IssuerFile,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Option<Vec<String>>> {
    let Some(list) = file.tenants.as_deref() else {
        return if at.is_faulty() { None } else { Some(None) };
    };
    if list.is_empty() {
        let hint = "name at least one, or leave the key out for any";
        at.report(problems, "is empty, so the issuer could speak for nobody", hint);
        return None;
    }
    each(list, at, problems, |text| values::label(text, "tenant")).map(Some)
}

/// `Some(None)`: this issuer's tokens may not act in other tenants.
fn cross_tenant(
    file: &IssuerFile,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Option<Duration>> {
    let place = at.key("cross_tenant_max_lifetime");
    let text = file.cross_tenant_max_lifetime.as_deref();
    if !file.cross_tenant? {
        if text.is_some() {
            let hint = "remove it, or say `cross_tenant: true`";
            place.report(problems, "means nothing without `cross_tenant: true`", hint);
        }
        return Some(None);
    }
    if text.is_none() && !place.is_faulty() {
        return Some(Some(CROSS_TENANT_LIFETIME));
    }
    period_within(text, &place, &LIFETIME, LIFETIME_HINT, problems).map(Some)
}

fn svids(
    file: &SvidFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Svids> {
    around.needs_agent(at, problems);
    let audience = audience(file.audience.as_ref(), &at.key("audience"), problems);
    let place = at.key("max_lifetime");
    let max_lifetime =
        period_within(file.max_lifetime.as_deref(), &place, &LIFETIME, LIFETIME_HINT, problems);
    Some(Svids { audience: audience?, max_lifetime: max_lifetime? })
}
