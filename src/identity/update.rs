//! From what the agent sent to what we use: chosen, checked, and filtered, or refused whole.
//!
//! The `spiffe` crate has parsed the message by then: every chain holds a leaf that is no
//! authority and has one SPIFFE ID with a path, every key is PKCS#8, every certificate is one.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use spiffe::{TrustDomain, X509Bundle, X509Context, X509Svid};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

use super::material::{Svid, TrustBundles};
use super::select::{Offer, select};
use super::{DEV_AGENT_MARKER, Settings};

/// Identities named in a refusal, at most.
const NAMED: usize = 5;

/// One complete update, fit for use.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) svid: Svid,
    pub(super) bundles: TrustBundles,
}

/// Why an update is not used.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// The message is at fault; what we have stays in use.
    #[error("update discarded: {0}")]
    Malformed(#[from] Flaw),

    /// The agent has spoken, and we are not who we should be; what we have goes.
    #[error("the agent does not offer {wanted}; it offers {offered}")]
    NotOffered { wanted: String, offered: String },

    #[error("this is a development agent; set identity.danger_accept_dev_agent")]
    DevAgent,
}

#[derive(Debug, Error)]
pub(super) enum Flaw {
    #[error("the SVID's certificate cannot be parsed")]
    Leaf,

    #[error("the SPIFFE ID is not in canonical form: `{0}`")]
    NotCanonical(String),

    #[error("the SVID has already expired")]
    Expired,

    #[error("the private key cannot be used")]
    Key,

    #[error("the private key is not that of the SVID")]
    OtherKey,

    #[error("the trust bundle of our own trust domain is empty")]
    NoTrustBundle,
}

/// Takes the message as the full state (Workload API section 4.4).
pub(super) fn read(
    context: &X509Context,
    settings: &Settings,
    now: SystemTime,
) -> Result<Update, Refusal> {
    let refused = |bundle: &X509Bundle| !settings.danger_accept_dev_agent && is_dev_agent(bundle);
    let svids = context.svids();
    let ours = svids
        .iter()
        .filter_map(|svid| context.bundle_set().get_ref(svid.spiffe_id().trust_domain()));
    if ours.into_iter().any(|bundle| refused(bundle)) {
        return Err(Refusal::DevAgent);
    }
    // A partner's mark is the partner's trouble: that bundle alone is not taken.
    let bundles = || {
        let all = context.bundle_set().iter().map(|(trust_domain, it)| (trust_domain, &**it));
        all.filter(|(_, bundle)| !refused(bundle))
    };
    let svid = choose(svids, settings)?;
    let svid = check(svid, now)?;
    let bundles = filter(bundles(), svid.id.trust_domain(), &settings.federates_with);
    if !bundles.contains_key(svid.id.trust_domain()) {
        return Err(Flaw::NoTrustBundle.into());
    }
    Ok(Update { svid, bundles })
}

fn choose<'a>(svids: &'a [Arc<X509Svid>], settings: &Settings) -> Result<&'a X509Svid, Refusal> {
    let offers: Vec<_> =
        svids.iter().map(|svid| Offer { id: svid.spiffe_id(), hint: svid.hint() }).collect();
    if let Some(svid) = select(&offers, settings).and_then(|position| svids.get(position)) {
        return Ok(svid);
    }
    let wanted = match (&settings.spiffe_id, &settings.hint) {
        (Some(id), _) => format!("`{id}`"),
        (None, Some(hint)) => format!("the hint `{hint}`"),
        (None, None) => "any SVID".to_owned(),
    };
    let named = offers.iter().take(NAMED).map(|offer| match offer.hint {
        Some(hint) => format!("`{}` (hint `{hint}`)", offer.id),
        None => format!("`{}`", offer.id),
    });
    let rest = offers.len().checked_sub(NAMED).filter(|rest| *rest > 0);
    let named: Vec<_> = named.chain(rest.map(|rest| format!("{rest} more"))).collect();
    Err(Refusal::NotOffered { wanted, offered: named.join(", ") })
}

fn check(svid: &X509Svid, now: SystemTime) -> Result<Svid, Flaw> {
    let der = svid.leaf().as_bytes();
    // A cause would repeat bytes of the certificate, and whose it is shows in the detail anyway.
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(der) else {
        return Err(Flaw::Leaf);
    };
    // The parser folds case; a presented ID that needs folding is not valid (SPIFFE-ID 2.1).
    let uri = uri(&leaf).ok_or(Flaw::Leaf)?;
    if uri != svid.spiffe_id().to_string() {
        return Err(Flaw::NotCanonical(uri.to_owned()));
    }
    let validity = leaf.validity();
    let not_before = system_time(validity.not_before).ok_or(Flaw::Leaf)?;
    let not_after = system_time(validity.not_after).ok_or(Flaw::Leaf)?;
    if not_after <= now {
        return Err(Flaw::Expired);
    }
    let key = PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec());
    let Ok(pair) = KeyPair::try_from(&key) else {
        return Err(Flaw::Key);
    };
    if pair.public_key_raw() != &*leaf.public_key().subject_public_key.data {
        return Err(Flaw::OtherKey);
    }
    let chain = svid.cert_chain().iter().map(|it| CertificateDer::from(it.as_bytes().to_vec()));
    Ok(Svid {
        id: svid.spiffe_id().clone(),
        chain: chain.collect(),
        key: key.into(),
        not_before,
        not_after,
    })
}

/// Our own trust domain, and the foreign ones that were opted in by name (ID-4).
fn filter<'a>(
    bundles: impl Iterator<Item = (&'a TrustDomain, &'a X509Bundle)>,
    own: &TrustDomain,
    federates_with: &[TrustDomain],
) -> TrustBundles {
    bundles
        .filter(|(trust_domain, bundle)| {
            let wanted = *trust_domain == own || federates_with.contains(trust_domain);
            wanted && !bundle.authorities().is_empty()
        })
        .map(|(trust_domain, bundle)| {
            let authorities = bundle.authorities().iter();
            let authorities = authorities.map(|it| CertificateDer::from(it.as_bytes().to_vec()));
            (trust_domain.clone(), authorities.collect())
        })
        .collect()
}

fn is_dev_agent(bundle: &X509Bundle) -> bool {
    bundle.authorities().iter().any(|authority| {
        x509_parser::parse_x509_certificate(authority.as_bytes()).is_ok_and(|(_, certificate)| {
            certificate
                .subject()
                .iter_organization()
                .any(|organization| organization.as_str().is_ok_and(|it| it == DEV_AGENT_MARKER))
        })
    })
}

fn uri<'a>(leaf: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = &leaf.subject_alternative_name().ok()??.value.general_names;
    names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
}

/// `None` before 1970.
fn system_time(time: ASN1Time) -> Option<SystemTime> {
    let seconds = u64::try_from(time.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
