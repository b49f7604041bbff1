//! What a token claims (RFC 7519, RFC 9068, JWT-SVID), judged once its signature holds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use spiffe::SpiffeId;

use super::json::{Json, Object};
use super::refusal::TokenError;
use super::settings::{Issuer, Svids};
use super::verified::{Kind, Verified};

/// How far the clocks of issuers may be ahead of ours. There is none for `exp`.
const LEEWAY: Duration = Duration::from_secs(30);
/// Whatever is configured, no token lives longer.
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// The end of the year 9999. Later dates, and those before 1970, are mistakes.
const DATE_MAX: f64 = 253_402_300_799.0;

const AUDIENCES_MAX: usize = 32;
const SUBJECT_MAX: usize = 512;
const SPIFFE_ID_MAX: usize = 2048;
const SCOPES_MAX: usize = 256;
const TENANT_MAX: usize = 63;
const NAMES_MAX: usize = 64;
/// Bytes of one scope, team, role or token id.
const NAME_MAX: usize = 256;

/// What would hold at the moment of the verdict, if somebody vouches for it.
#[derive(Debug)]
pub(super) struct Judged {
    pub verified: Verified,
    /// Before this it does not hold: asked again when the clock was set back.
    pub holds_from: SystemTime,
}

/// The claims about time.
struct Times {
    issued: Option<SystemTime>,
    expires: SystemTime,
    holds_from: SystemTime,
}

/// By the rules for tokens of a configured issuer, which `iss` has named already. `signed` is the
/// part of the token that the signature is of.
pub(super) fn machine(
    claims: &Object,
    signed: &[u8],
    issuer: &Issuer,
    now: SystemTime,
) -> Result<Judged, TokenError> {
    bound_to_nothing(claims)?;
    if required(claims, "iss")?.as_text() != Some(&*issuer.issuer) {
        return Err(TokenError::unknown_issuer(""));
    }
    audience(claims, &issuer.audience)?;
    let times = times(claims, issuer.max_lifetime, now)?;
    let issued = times.issued.ok_or(TokenError::ClaimMissing { name: "iat" })?;
    let subject = text(required(claims, "sub")?, "sub", SUBJECT_MAX)?;
    // It would pose as a workload before whoever reads no more than the subject; and a header that
    // carries it loses spaces around it on the way.
    if looks_like_spiffe(&subject) || subject.trim() != &*subject {
        return Err(TokenError::Subject);
    }
    let tenant = text(required(claims, "tenant")?, "tenant", TENANT_MAX)?;
    if issuer.tenants.as_ref().is_some_and(|may| !may.iter().any(|it| **it == *tenant)) {
        return Err(TokenError::Tenant);
    }
    let lifetime = times.expires.duration_since(issued).map_err(|_later| TokenError::Lifetime)?;
    let id = id(claims)?;
    let verified = Verified {
        kind: Kind::Machine,
        subject,
        issuer: Some(Arc::from(&*issuer.issuer)),
        scopes: scopes(required(claims, "scope")?)?,
        tenant: Some(tenant),
        teams: names(claims, "teams")?,
        roles: names(claims, "roles")?,
        cross_tenant: cross_tenant(claims, issuer, lifetime)?,
        issued: Some(issued),
        expires: times.expires,
        fingerprint: fingerprint(id.as_deref(), signed),
        id,
        signer: None,
    };
    Ok(Judged { verified, holds_from: times.holds_from })
}

/// By the rules for JWT-SVIDs (JWT-SVID section 3). `id` is what [`spiffe_id`] read of these claims.
pub(super) fn svid(
    claims: &Object,
    signed: &[u8],
    id: SpiffeId,
    svids: &Svids,
    now: SystemTime,
) -> Result<Judged, TokenError> {
    bound_to_nothing(claims)?;
    audience(claims, &svids.audience)?;
    let times = times(claims, svids.max_lifetime, now)?;
    let token_id = self::id(claims)?;
    let verified = Verified {
        subject: Arc::from(id.to_string()),
        kind: Kind::Svid(id),
        issuer: None,
        scopes: Vec::new(),
        tenant: None,
        teams: Vec::new(),
        roles: Vec::new(),
        cross_tenant: false,
        issued: times.issued,
        expires: times.expires,
        fingerprint: fingerprint(token_id.as_deref(), signed),
        id: token_id,
        signer: None,
    };
    Ok(Judged { verified, holds_from: times.holds_from })
}

/// `sub` where it means to be a SPIFFE ID. It must be a workload's, and written the one way there is:
/// the parser folds the case of scheme and trust domain.
pub(super) fn spiffe_id(claims: &Object) -> Option<Result<SpiffeId, TokenError>> {
    let subject = claims.get("sub")?.as_text().filter(|subject| looks_like_spiffe(subject))?;
    let id = (subject.len() <= SPIFFE_ID_MAX).then(|| SpiffeId::new(subject).ok()).flatten();
    let id = id.filter(|id| !id.path().is_empty() && id.to_string() == subject);
    Some(id.ok_or(TokenError::Subject))
}

/// `exp` of claims that nobody has verified.
pub(super) fn expiry(claims: &Object) -> Option<SystemTime> {
    date(claims, "exp").ok().flatten()
}

fn looks_like_spiffe(subject: &str) -> bool {
    let start = subject.trim_start().get(..7);
    start.is_some_and(|start| start.eq_ignore_ascii_case("spiffe:"))
}

/// A token with `cnf` is worth something only together with a key (RFC 7800, RFC 8705), and nothing
/// here asks for a proof of that.
fn bound_to_nothing(claims: &Object) -> Result<(), TokenError> {
    if claims.has("cnf") { Err(TokenError::BoundToken) } else { Ok(()) }
}

fn audience(claims: &Object, ours: &[String]) -> Result<(), TokenError> {
    let mistyped = TokenError::ClaimType { name: "aud" };
    let named = match required(claims, "aud")? {
        Json::Text(one) => vec![one.as_str()],
        Json::Array(several) if several.len() <= AUDIENCES_MAX => {
            several.iter().map(Json::as_text).collect::<Option<_>>().ok_or(mistyped)?
        }
        _ => return Err(mistyped),
    };
    let for_us = named.iter().any(|name| ours.iter().any(|our| our == name));
    if for_us { Ok(()) } else { Err(TokenError::Audience) }
}

fn times(claims: &Object, most: Duration, now: SystemTime) -> Result<Times, TokenError> {
    let most = most.min(LIFETIME_MAX);
    let expires = date(claims, "exp")?.ok_or(TokenError::ClaimMissing { name: "exp" })?;
    let (not_before, issued) = (date(claims, "nbf")?, date(claims, "iat")?);
    if now >= expires {
        return Err(TokenError::Expired);
    }
    let early = |date: SystemTime| date.checked_sub(LEEWAY).unwrap_or(SystemTime::UNIX_EPOCH);
    let not_before = not_before.map_or(SystemTime::UNIX_EPOCH, early);
    if now < not_before {
        return Err(TokenError::NotYetValid);
    }
    if issued.is_some_and(|issued| now < early(issued)) {
        return Err(TokenError::IssuedInFuture);
    }
    // Without `iat` it is judged by what is left of its life, which is least late in it.
    let lifetime = expires.duration_since(issued.unwrap_or(now)).unwrap_or_default();
    if lifetime.is_zero() || lifetime > most {
        return Err(TokenError::Lifetime);
    }
    let began = match issued {
        Some(issued) => early(issued),
        None => expires.checked_sub(most).unwrap_or(SystemTime::UNIX_EPOCH),
    };
    Ok(Times { issued, expires, holds_from: not_before.max(began) })
}

/// A `NumericDate` (RFC 7519 section 2). Fractions of a second are cut off.
fn date(claims: &Object, name: &'static str) -> Result<Option<SystemTime>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Json::Number(seconds) = value else { return Err(TokenError::ClaimType { name }) };
    if !(0.0..=DATE_MAX).contains(seconds) {
        return Err(TokenError::ClaimType { name });
    }
    let since = Duration::from_secs_f64(seconds.trunc());
    let date = SystemTime::UNIX_EPOCH.checked_add(since);
    date.map(Some).ok_or(TokenError::ClaimType { name })
}

/// A string of words with spaces between them (RFC 9068), or an array of words.
fn scopes(claim: &Json) -> Result<Vec<Arc<str>>, TokenError> {
    let mistyped = TokenError::ClaimType { name: "scope" };
    let words: Vec<&str> = match claim {
        Json::Text(text) => text.split(' ').filter(|word| !word.is_empty()).collect(),
        Json::Array(items) => {
            items.iter().map(Json::as_text).collect::<Option<_>>().ok_or(mistyped.clone())?
        }
        _ => return Err(mistyped),
    };
    // RFC 6749 section 3.3: printable ASCII but for quote and backslash.
    let well_formed = |word: &str| {
        (1..=NAME_MAX).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    if words.len() > SCOPES_MAX || !words.iter().all(|word| well_formed(word)) {
        return Err(mistyped);
    }
    Ok(words.into_iter().map(Arc::from).collect())
}

fn cross_tenant(claims: &Object, issuer: &Issuer, lifetime: Duration) -> Result<bool, TokenError> {
    match claims.get("cross_tenant") {
        None | Some(Json::Bool(false)) => Ok(false),
        Some(Json::Bool(true)) => {
            let may = issuer.cross_tenant_max_lifetime.is_some_and(|most| lifetime <= most);
            if may { Ok(true) } else { Err(TokenError::CrossTenant) }
        }
        Some(_) => Err(TokenError::ClaimType { name: "cross_tenant" }),
    }
}

fn names(claims: &Object, name: &'static str) -> Result<Vec<Arc<str>>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(Vec::new()) };
    let items = value.as_array().filter(|items| items.len() <= NAMES_MAX);
    let items = items.ok_or(TokenError::ClaimType { name })?;
    items.iter().map(|item| text(item, name, NAME_MAX)).collect()
}

fn id(claims: &Object) -> Result<Option<Arc<str>>, TokenError> {
    claims.get("jti").map(|value| text(value, "jti", NAME_MAX)).transpose()
}

fn required<'a>(claims: &'a Object, name: &'static str) -> Result<&'a Json, TokenError> {
    claims.get(name).ok_or(TokenError::ClaimMissing { name })
}

/// 1 to `most` bytes, none of them a control character: it may stand in a log or a header.
fn text(value: &Json, name: &'static str, most: usize) -> Result<Arc<str>, TokenError> {
    value
        .as_text()
        .filter(|text| (1..=most).contains(&text.len()) && !text.contains(char::is_control))
        .map(Arc::from)
        .ok_or(TokenError::ClaimType { name })
}

/// What audit lines call a token with this `jti`.
pub fn fingerprint_of_id(id: &str) -> Arc<str> {
    fingerprint(Some(id), &[])
}

/// Of the id, else of what is signed. Never of the signature: whoever holds a token can give an ECDSA
/// signature a second form that holds as well, and would be rid of a revocation by fingerprint.
fn fingerprint(id: Option<&str>, signed: &[u8]) -> Arc<str> {
    let digest = digest::digest(&digest::SHA256, id.map_or(signed, str::as_bytes));
    let hex: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Arc::from(hex)
}
