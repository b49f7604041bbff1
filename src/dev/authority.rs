//! A throw-away certificate authority of one trust domain.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::error::DevError;
use super::jws::{PublicKey, SigningKey, jwks};
use crate::secret::Secret;

/// The organization in the subject of every certificate made here. `identity` knows an authority
/// of the development agent by it.
pub const DEV_AGENT_MARKER: &str = "sidegate dev-agent, not for production";

/// How the `kid` of every key for JWT-SVIDs made here begins. `identity` knows both bundles and
/// tokens of the development agent by it.
pub const DEV_KEY_PREFIX: &str = "sidegate-dev-agent/";

/// How long an authority's own certificate is valid, both ways from its making.
pub(super) const CA_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
pub(super) const CA_BACKDATE: Duration = Duration::from_secs(24 * 3600);

/// How far a certificate is backdated at most, for clocks that differ a little.
pub(super) const BACKDATE: Duration = Duration::from_secs(5);

/// One trust domain's authority. Clones are the same authority.
#[derive(Clone)]
pub struct Authority(Arc<Shared>);

struct Shared {
    trust_domain: TrustDomain,
    keys: Mutex<Keys>,
    /// Agents that deliver this authority's trust bundle, to be told when it changes.
    bells: Mutex<Vec<Weak<Bell>>>,
}

/// Rung when what an agent would answer has changed.
pub(super) type Bell = watch::Sender<u64>;

struct Keys {
    made: u32,
    current: CertifiedIssuer<'static, KeyPair>,
    old: Vec<CertificateDer<'static>>,
    jwt: SigningKey,
    old_jwt: Vec<PublicKey>,
}

/// An X.509-SVID and its key, as the Workload API delivers them.
pub struct Issued {
    pub id: SpiffeId,
    /// The leaf alone: the authority signs without intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Authority {
    pub fn new(trust_domain: TrustDomain) -> Result<Self, DevError> {
        let current = certify(&trust_domain, 1)?;
        let jwt = SigningKey::generate(DEV_KEY_PREFIX)?;
        Ok(Self(Arc::new(Shared {
            trust_domain,
            keys: Mutex::new(Keys { made: 1, current, old: Vec::new(), jwt, old_jwt: Vec::new() }),
            bells: Mutex::default(),
        })))
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// An X.509-SVID strictly to the letter of X509-SVID sections 2 to 4, valid until `now + ttl`.
    pub fn issue(&self, id: &SpiffeId, now: SystemTime, ttl: Duration) -> Result<Issued, DevError> {
        self.vouches_for(id)?;
        // Certificates count whole seconds: widen, so that the SVID lives no shorter than asked.
        let not_before = whole_seconds(now - BACKDATE.min(ttl / 10), Duration::ZERO);
        let not_after = whole_seconds(now + ttl, Duration::from_nanos(999_999_999));
        let mut params = subject(&id.to_string(), not_before, not_after)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;

        let key = KeyPair::generate()?; // ECDSA P-256
        let leaf = params.signed_by(&key, &self.keys().current)?;
        Ok(Issued {
            id: id.clone(),
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            not_before,
            not_after,
        })
    }

    /// An SVID names a workload of this trust domain.
    pub(super) fn vouches_for(&self, id: &SpiffeId) -> Result<(), DevError> {
        if !id.is_member_of(self.trust_domain()) {
            let trust_domain = self.trust_domain().clone();
            return Err(DevError::ForeignId { id: id.clone(), trust_domain });
        }
        if id.path().is_empty() {
            return Err(DevError::NoPath(id.clone()));
        }
        Ok(())
    }

    /// Signs with new keys from now on. The old certificate and the old key for JWT-SVIDs stay in
    /// the trust bundles until [`Authority::forget_old`].
    pub fn rotate(&self) -> Result<(), DevError> {
        {
            let mut keys = self.keys();
            keys.made += 1;
            let new = certify(self.trust_domain(), keys.made)?;
            let new_jwt = SigningKey::generate(DEV_KEY_PREFIX)?;
            let old = std::mem::replace(&mut keys.current, new);
            keys.old.push(old.der().clone());
            let old_jwt = std::mem::replace(&mut keys.jwt, new_jwt);
            keys.old_jwt.push(old_jwt.public().clone());
        }
        self.ring();
        Ok(())
    }

    /// Takes all but the current certificate and key out of the trust bundles.
    pub fn forget_old(&self) {
        {
            let mut keys = self.keys();
            keys.old.clear();
            keys.old_jwt.clear();
        }
        self.ring();
    }

    /// The trust bundle, current authority first.
    pub fn bundle(&self) -> Vec<CertificateDer<'static>> {
        let keys = self.keys();
        std::iter::once(keys.current.der()).chain(&keys.old).cloned().collect()
    }

    /// The trust bundle as the Workload API delivers it: concatenated DER.
    pub fn bundle_der(&self) -> Vec<u8> {
        self.bundle().iter().flat_map(|certificate| certificate.iter().copied()).collect()
    }

    /// The JWT trust bundle as the Workload API delivers it: a JWK set, the current key first.
    pub fn jwt_bundle(&self) -> String {
        jwks(self.jwt_keys().iter(), &[("use", "jwt-svid")])
    }

    pub(super) fn jwt_keys(&self) -> Vec<PublicKey> {
        let keys = self.keys();
        std::iter::once(keys.jwt.public()).chain(&keys.old_jwt).cloned().collect()
    }

    pub(super) fn sign_jwt(&self, claims: &Value) -> Result<Secret, DevError> {
        let keys = self.keys();
        // No other header (JWT-SVID section 2).
        let header = json!({ "alg": "ES256", "kid": keys.jwt.kid(), "typ": "JWT" });
        keys.jwt.sign(&header.to_string(), &claims.to_string())
    }

    /// `bell` rings whenever a trust bundle changes, for as long as its owner lives.
    pub(super) fn tell(&self, bell: &Arc<Bell>) {
        let mut bells = lock(&self.0.bells);
        bells.retain(|known| known.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    fn ring(&self) {
        for bell in lock(&self.0.bells).iter().filter_map(Weak::upgrade) {
            ring(&bell);
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        lock(&self.0.keys)
    }
}

pub(super) fn ring(bell: &Bell) {
    bell.send_modify(|rung| *rung = rung.wrapping_add(1));
}

/// A panic elsewhere cannot leave these values half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn certify(
    trust_domain: &TrustDomain,
    number: u32,
) -> Result<CertifiedIssuer<'static, KeyPair>, DevError> {
    let now = SystemTime::now();
    let mut params = subject(&trust_domain.id_string(), now - CA_BACKDATE, now + CA_LIFE)?;
    // Successive authorities differ by name as well as by key.
    params.distinguished_name.push(DnType::CommonName, format!("{trust_domain} {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// What all certificates of SPIFFE have in common here.
fn subject(
    uri: &str,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, DevError> {
    let mut params = certificate(not_before, not_after);
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    Ok(params)
}

/// What all certificates here have in common.
pub(super) fn certificate(not_before: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, DEV_AGENT_MARKER);
    params.serial_number = Some(serial());
    params.not_before = OffsetDateTime::from(not_before);
    params.not_after = OffsetDateTime::from(not_after);
    params
}

/// Random and positive: the first byte is neither zero nor negative (RFC 5280 section 4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn whole_seconds(time: SystemTime, round: Duration) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs((since + round).as_secs())
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust_domain = self.trust_domain().as_str();
        f.debug_struct("Authority").field("trust_domain", &trust_domain).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("id", &self.id.to_string())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
