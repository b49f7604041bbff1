//! One certificate authority and a leaf for each side, in every form that a peer asks for.
//!
//! The leafs are X.509-SVIDs: one SPIFFE ID as URI. Peers that only know DNS names get one too.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// The client side of a pair, and what the server side expects.
pub(crate) const CLIENT: &str = "shop";
/// The server side of a pair, and what the client side expects.
pub(crate) const SERVER: &str = "orders";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write. Made if absent.
    dir: PathBuf,
    #[arg(long, default_value = "example.org")]
    trust_domain: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = &args.dir;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let authority = authority(&args.trust_domain)?;
    write(dir, "ca.pem", &authority.pem())?;
    for (file, name) in [("client", CLIENT), ("server", SERVER)] {
        let key = KeyPair::generate()?;
        let leaf = leaf(&args.trust_domain, name)?.signed_by(&key, &authority)?;
        let (leaf, key) = (leaf.pem(), key.serialize_pem());
        write(dir, &format!("{file}.pem"), &leaf)?;
        write(dir, &format!("{file}.key"), &key)?;
        write(dir, &format!("{file}.both.pem"), &format!("{leaf}{key}"))?;
    }
    Ok(())
}

pub(crate) fn spiffe_id(trust_domain: &str, name: &str) -> String {
    format!("spiffe://{trust_domain}/dev/{name}")
}

fn authority(trust_domain: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = params("Side by side")?;
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn leaf(trust_domain: &str, name: &str) -> Result<CertificateParams> {
    let mut params = params(name)?;
    params.subject_alt_names = vec![
        uri(&spiffe_id(trust_domain, name))?,
        SanType::DnsName(format!("{name}.internal").try_into()?),
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    Ok(params)
}

fn uri(uri: &str) -> Result<SanType> {
    Ok(SanType::URI(uri.try_into()?))
}

/// Keys too: none but their owner may read them.
fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
