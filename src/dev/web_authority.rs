//! A throw-away authority of server certificates for DNS names: what a sidecar shows to callers
//! without SPIFFE, and what an issuer shows to us.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::authority::{BACKDATE, CA_BACKDATE, CA_LIFE, certificate};
use super::error::DevError;
use crate::secret::Secret;

/// Knows nothing of any trust domain. Its key ends with it.
pub struct WebAuthority(CertifiedIssuer<'static, KeyPair>);

impl WebAuthority {
    pub fn new() -> Result<Self, DevError> {
        let now = SystemTime::now();
        let mut params = certificate(now - CA_BACKDATE, now + CA_LIFE);
        let name = format!("web servers {:08x}", fastrand::u32(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// What clients have to trust.
    pub fn certificate_pem(&self) -> String {
        self.0.pem()
    }

    /// A server certificate for these DNS names or IP addresses, valid for `ttl` from now on: chain
    /// and key (PKCS#8), both in PEM.
    pub fn issue(&self, names: &[&str], ttl: Duration) -> Result<(String, Secret), DevError> {
        let now = SystemTime::now();
        let mut params: CertificateParams = certificate(now - BACKDATE.min(ttl / 10), now + ttl);
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => Ok(SanType::DnsName((*name).try_into()?)),
            })
            .collect::<Result<_, DevError>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.0)?;
        Ok((leaf.pem(), Secret::new(key.serialize_pem())))
    }
}

impl fmt::Debug for WebAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebAuthority").finish_non_exhaustive()
    }
}
