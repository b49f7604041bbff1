//! Whom we believe: the authorities of each trust domain, and chains that lead to them.
//!
//! A leaf is held against the bundle of its own trust domain and no other (X509-SVID section 5.1).
//! Whatever in a bundle is not an authority is left out, because the path builder below takes
//! every anchor at its word.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use spiffe::TrustDomain;
use webpki::{Cert, EndEntityCert, VerifiedPath};

use super::chain::Chain;
use super::error::SvidError;
use super::leaf::Leaf;
use super::memory::Memory;
use super::x509::{self, Validity};
use crate::identity::TrustBundles;

/// The authorities in force, by trust domain.
#[derive(Debug, Default)]
pub(super) struct Trust {
    authorities: BTreeMap<TrustDomain, Vec<Authority>>,
    /// Of chains that these authorities have been found to vouch for.
    memory: Memory,
}

/// A certificate of a bundle that may vouch for leaves.
#[derive(Debug)]
struct Authority {
    anchor: TrustAnchor<'static>,
    validity: Validity,
    /// How many intermediates it allows below itself.
    intermediates_max: Option<u32>,
}

/// A certificate of a bundle that may not.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
pub(super) struct LeftOut {
    pub trust_domain: TrustDomain,
    pub sha256: [u8; 32],
    pub why: SvidError,
}

impl Trust {
    /// An authority that is not valid yet is kept for when it will be: bundles name the next one
    /// ahead of its time. Validity is looked at again for every handshake.
    pub(super) fn of(bundles: &TrustBundles, now: SystemTime) -> (Self, Vec<LeftOut>) {
        let mut left_out = Vec::new();
        let mut trust = BTreeMap::new();
        for (trust_domain, certificates) in bundles {
            let mut authorities = Vec::new();
            for der in certificates {
                match Authority::read(der, now) {
                    Ok(authority) => authorities.push(authority),
                    Err(why) => left_out.push(LeftOut {
                        trust_domain: trust_domain.clone(),
                        sha256: x509::sha256(der).unwrap_or_default(),
                        why,
                    }),
                }
            }
            trust.insert(trust_domain.clone(), authorities);
        }
        (Self { authorities: trust, memory: Memory::default() }, left_out)
    }

    pub(super) fn has(&self, trust_domain: &TrustDomain) -> bool {
        self.authorities.get(trust_domain).is_some_and(|authorities| !authorities.is_empty())
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Does the leaf's own trust domain vouch for it now? And for how long, if nothing changes?
    pub(super) fn verify(
        &self,
        leaf: &Leaf,
        chain: &Chain<'_>,
        now: SystemTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Validity, SvidError> {
        let trust_domain = leaf.id.trust_domain();
        let bundle = self.authorities.get(trust_domain).ok_or(SvidError::UnknownTrustDomain)?;
        if now < leaf.validity.not_before {
            return Err(SvidError::NotYetValid);
        }
        if now > leaf.validity.not_after {
            return Err(SvidError::Expired);
        }
        let authorities: Vec<&Authority> =
            bundle.iter().filter(|authority| authority.validity.contains(now)).collect();
        if authorities.is_empty() && !bundle.is_empty() {
            return Err(SvidError::AuthorityOutOfTime);
        }
        let anchors: Vec<TrustAnchor<'_>> = authorities.iter().map(|it| it.borrowed()).collect();

        // The builder goes on with other paths after a refusal and knows only its own errors.
        let refused = Cell::new(None);
        let judge = |path: &VerifiedPath<'_>| {
            judge(path, &authorities, trust_domain).map_err(|reason| {
                refused.set(Some(reason));
                webpki::Error::UnknownIssuer
            })
        };
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let certificate = EndEntityCert::try_from(chain.leaf).map_err(|error| reason(&error))?;
        let path = certificate.verify_for_usage(
            algorithms.all,
            &anchors,
            chain.intermediates,
            UnixTime::since_unix_epoch(since),
            chain.role.usage(),
            None,
            Some(&judge),
        );
        let path = path.map_err(|error| refused.get().unwrap_or_else(|| reason(&error)))?;
        holds(&path, leaf, &authorities)
    }
}

impl Authority {
    fn read(der: &CertificateDer<'static>, now: SystemTime) -> Result<Self, SvidError> {
        let certificate = x509::read(der)?;
        let constraints =
            x509::basic_constraints(&certificate)?.ok_or(SvidError::NoBasicConstraints)?;
        if !constraints.value.ca {
            return Err(SvidError::IssuerNotAuthority);
        }
        // Section 4.3 demands key usage of every authority. Old roots go without, and what the
        // agent vouches for may; what says it must not sign, may not.
        if x509::key_usage(&certificate)?.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(SvidError::IssuerMayNotSign);
        }
        let validity = x509::validity(&certificate)?;
        if now > validity.not_after {
            return Err(SvidError::Expired);
        }
        let Ok(anchor) = webpki::anchor_from_trusted_cert(der) else {
            return Err(SvidError::Unreadable);
        };
        Ok(Self {
            anchor: anchor.to_owned(),
            validity,
            intermediates_max: constraints.value.path_len_constraint,
        })
    }

    fn is(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.anchor.subject == anchor.subject
            && self.anchor.subject_public_key_info == anchor.subject_public_key_info
    }

    fn borrowed(&self) -> TrustAnchor<'_> {
        TrustAnchor {
            subject: Der::from_slice(&self.anchor.subject),
            subject_public_key_info: Der::from_slice(&self.anchor.subject_public_key_info),
            name_constraints: self.anchor.name_constraints.as_deref().map(Der::from_slice),
        }
    }
}

/// When every certificate of a good path is valid.
fn holds(
    path: &VerifiedPath<'_>,
    leaf: &Leaf,
    authorities: &[&Authority],
) -> Result<Validity, SvidError> {
    let mut holds = leaf.validity;
    for issuer in path.intermediate_certificates() {
        holds = holds.and(x509::validity(&x509::read(&issuer.der())?)?);
    }
    let anchors = authorities.iter().filter(|authority| authority.is(path.anchor()));
    Ok(anchors.fold(holds, |holds, authority| holds.and(authority.validity)))
}

/// The rules that the path builder leaves to us, for a path that is otherwise good.
fn judge(
    path: &VerifiedPath<'_>,
    authorities: &[&Authority],
    trust_domain: &TrustDomain,
) -> Result<(), SvidError> {
    let intermediates = path.intermediate_certificates().count();
    let anchor = path.anchor();
    // Anchors are equal by name and key for the builder, so the most generous of them decides.
    let allowed = authorities.iter().any(|authority| {
        authority.is(anchor)
            && authority
                .intermediates_max
                .is_none_or(|max| usize::try_from(max).is_ok_and(|max| intermediates <= max))
    });
    if !allowed {
        return Err(SvidError::PathLength);
    }
    path.intermediate_certificates().try_for_each(|issuer| judge_issuer(issuer, trust_domain))
}

/// X509-SVID section 3.2: an issuer signs, and if it has an ID it is the trust domain's own.
fn judge_issuer(issuer: &Cert<'_>, trust_domain: &TrustDomain) -> Result<(), SvidError> {
    let der = issuer.der();
    let Ok(certificate) = x509::read(&der) else {
        return Err(SvidError::IssuerUnreadable);
    };
    let usage = x509::key_usage(&certificate)?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err(SvidError::IssuerMayNotSign);
    }
    let uris = x509::uris(&certificate)?.map(|names| names.value).unwrap_or_default();
    if !issuer.valid_uri_names().eq(uris.iter().copied()) {
        return Err(SvidError::ParsersDisagree);
    }
    let is_spiffe = |uri: &&str| uri.get(..7).is_some_and(|it| it.eq_ignore_ascii_case("spiffe:"));
    match uris[..] {
        [uri] if uri == trust_domain.id_string() => Ok(()),
        _ if uris.iter().any(is_spiffe) => Err(SvidError::IssuerId),
        _ => Ok(()),
    }
}

fn reason(error: &webpki::Error) -> SvidError {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::CertDistrusted => SvidError::UnknownAuthority,
        // The leaf's own validity has been checked before.
        webpki::Error::CertExpired { .. }
        | webpki::Error::CertNotValidYet { .. }
        | webpki::Error::InvalidCertValidity => SvidError::IssuerOutOfTime,
        webpki::Error::EndEntityUsedAsCa => SvidError::IssuerNotAuthority,
        webpki::Error::CaUsedAsEndEntity => SvidError::LeafIsAuthority,
        webpki::Error::PathLenConstraintViolated => SvidError::PathLength,
        webpki::Error::InvalidSignatureForPublicKey | webpki::Error::SignatureAlgorithmMismatch => {
            SvidError::BadSignature
        }
        webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            SvidError::UnsupportedSignature
        }
        webpki::Error::NameConstraintViolation | webpki::Error::MalformedNameConstraint => {
            SvidError::NameConstraints
        }
        webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumPathDepthExceeded
        | webpki::Error::MaximumSignatureChecksExceeded
        | webpki::Error::MaximumNameConstraintComparisonsExceeded => SvidError::PathTooComplex,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
            SvidError::ExtendedKeyUsage
        }
        webpki::Error::UnsupportedCriticalExtension => SvidError::UnknownCriticalExtension,
        _ => SvidError::IssuerUnreadable,
    }
}
