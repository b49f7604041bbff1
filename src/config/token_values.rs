//! One written value, one type, for the keys on tokens: addresses of issuers, names, paths of
//! secrets.
//!
//! Where a secret may stand by mistake, no message repeats what was written.

use std::path::{Path, PathBuf};

use super::problems::{Wrong, shown};
use super::values;
use crate::tls::HostName;
use crate::token::Algorithm;
use crate::web::HttpsUrl;

/// Of an issuer, an audience, a scope: nobody has longer ones.
const LONGEST: usize = 2048;

/// Where something is asked for over HTTPS.
pub(super) fn https_url(text: &str) -> Result<HttpsUrl, Wrong> {
    let hint = "write it in full, such as `https://auth.example.com`";
    if text.contains('@') {
        // What stands before it may be a password.
        return Err(Wrong::new("holds a user name or an `@`", hint));
    }
    if text.len() > LONGEST {
        return Err(Wrong::new(format!("{} is longer than {LONGEST} bytes", shown(text)), hint));
    }
    HttpsUrl::parse(text).map_err(|error| {
        Wrong::new(format!("{} is not an `https` address: {error}", shown(text)), hint)
    })
}

/// An issuer whose discovery document is to be found (OpenID Connect Discovery section 3).
pub(super) fn discoverable(text: &str) -> Result<HttpsUrl, Wrong> {
    let url = https_url(text)?;
    if url.as_uri().query().is_some() {
        let message = format!("{} has a query, and a discovery document has none", shown(text));
        return Err(Wrong::new(message, "write the issuer without `?` and what follows"));
    }
    Ok(url)
}

/// The `iss` claim of an issuer, as it is written. The standards want an `https` URL (RFC 9068
/// section 4, RFC 8414 section 2), which also keeps it apart from every SPIFFE ID.
pub(super) fn issuer(text: &str) -> Result<String, Wrong> {
    let hint =
        "write the `iss` of its tokens letter for letter, such as `https://auth.example.com`";
    if text.contains('@') {
        return Err(Wrong::new("holds a user name or an `@`", hint));
    }
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let plain = rest.bytes().all(|it| it.is_ascii_graphic());
    if rest.is_empty() || !plain || rest.starts_with(['/', '?', '#', ':']) || text.len() > LONGEST {
        return Err(Wrong::new(format!("{} is not an `https` URL", shown(text)), hint));
    }
    Ok(text.to_owned())
}

/// Something that an issuer calls by a name of its own choice: an audience, a client.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let blank = text.trim() != text || text.is_empty();
    if blank || text.len() > LONGEST || text.chars().any(char::is_control) {
        let message = format!("{} is not a name", shown(text));
        let hint = "write it as the issuer does, at most 2048 bytes, without space around it";
        return Err(Wrong::new(message, hint));
    }
    Ok(text.to_owned())
}

/// A user name of HTTP (RFC 6749 appendix A.1).
pub(super) fn client_id(text: &str) -> Result<String, Wrong> {
    let name = name(text)?;
    if !name.bytes().all(|it| (0x20..=0x7e).contains(&it)) {
        let message = format!("{} is not in plain ASCII", shown(text));
        return Err(Wrong::new(message, "write it as the issuer gave it"));
    }
    Ok(name)
}

/// One scope that is asked for (`scope-token` of RFC 6749 section 3.3).
pub(super) fn asked_scope(text: &str) -> Result<String, Wrong> {
    let plain = |it: u8| it.is_ascii_graphic() && !matches!(it, b'"' | b'\\');
    if text.is_empty() || text.len() > LONGEST || !text.bytes().all(plain) {
        let message = format!("{} is not one scope", shown(text));
        return Err(Wrong::new(message, "list each scope by itself, as the issuer calls it"));
    }
    Ok(text.to_owned())
}

/// An absolute URI without a fragment (RFC 3986 section 4.3), as far as its look goes.
pub(super) fn uri(text: &str) -> Result<String, Wrong> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.');
    let begins = scheme.bytes().next().is_some_and(|it| it.is_ascii_alphabetic());
    let sound = begins && scheme.bytes().all(letter);
    let plain = text.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
    if !sound || !plain || text.len() > LONGEST {
        let message = format!("{} is not an absolute URI", shown(text));
        let hint = "write such as `https://billing.example.com`, without `#`";
        return Err(Wrong::new(message, hint));
    }
    Ok(text.to_owned())
}

/// What the certificate of a server must be good for.
pub(super) fn host_name(text: &str) -> Result<HostName, Wrong> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    HostName::parse(bare).ok_or_else(|| {
        let message = format!("{} is not a name that a certificate can be good for", shown(text));
        Wrong::new(message, "write a DNS name or an IP address, without scheme and port")
    })
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, Wrong> {
    Algorithm::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Algorithm::ALL.into_iter().map(Algorithm::as_str).collect();
        let hint = format!("write one of {}", known.join(", "));
        Wrong::new(format!("{} is not a known algorithm", shown(text)), hint)
    })
}

/// A path, also of a secret: what looks like the secret itself is refused unseen.
pub(super) fn path(text: &str, base: &Path) -> Result<PathBuf, Wrong> {
    if holds_secret(text) {
        let hint = "write it into a file and name that, such as `/var/run/secrets/sidegate/token`";
        return Err(Wrong::new("holds a secret or a certificate, not the path of a file", hint));
    }
    values::absolute_path(text, base).map_err(|wrong| {
        Wrong::new(wrong.message, "write the path of a file, such as `/etc/sidegate/ca.pem`")
    })
}

fn holds_secret(text: &str) -> bool {
    // Three parts of base64 that begin with `{"` are a JWT, and a file's name never is.
    let token = text.starts_with("eyJ") && !text.contains('/') && text.split('.').count() >= 3;
    token || text.contains("-----BEGIN") || text.contains(['\n', '\r'])
}

/// The name of an environment variable. Not repeated when it is none: it may be the value.
pub(super) fn variable(text: &str) -> Result<String, Wrong> {
    let hint = "write the name of the variable that holds the token, such as `ORDERS_TOKEN`";
    let letter = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    let begins = text.bytes().next().is_some_and(|it| !it.is_ascii_digit());
    if !begins || text.len() > 128 || !text.bytes().all(letter) {
        return Err(Wrong::new("is not the name of an environment variable", hint));
    }
    Ok(text.to_owned())
}
