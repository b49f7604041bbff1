//! What an issuer says about itself (OpenID Connect Discovery 1.0 section 4, RFC 8414).

use serde::Deserialize;
use tokio::time::Instant;

use super::failure::{Failure, printable, shown};
use super::pace::fresh_for;
use crate::web::{Client, HttpsUrl};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
const DOCUMENT_MOST: usize = 256 * 1024;
const SHOWN_MOST: usize = 100;

/// One issuer's document, kept for as long as it is fresh.
#[derive(Debug)]
pub(super) struct Discovery {
    client: Client,
    issuer: String,
    /// It may say its name with a slash at the end, too.
    or_slash: bool,
    known: Option<(Document, Instant)>,
}

/// Of the document, what we use. Other members are for others.
#[derive(Debug, Clone, Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Option<String>,
    token_endpoint: Option<String>,
}

impl Discovery {
    /// Of the issuer of exactly this name.
    pub(super) fn new(client: Client, issuer: String) -> Self {
        Self { client, issuer, or_slash: false, known: None }
    }

    /// Of the issuer at this address. A bare host is the same address with and without a slash.
    pub(super) fn at(client: Client, issuer: &HttpsUrl) -> Self {
        let text = issuer.to_string();
        let bare = issuer.as_uri().path() == "/" && issuer.as_uri().query().is_none();
        let issuer = if bare { text.trim_end_matches('/').to_owned() } else { text };
        Self { client, issuer, or_slash: bare, known: None }
    }

    /// Where its keys are. On whatever host, as long as that proves its name.
    pub(super) async fn jwks(&mut self) -> Result<HttpsUrl, Failure> {
        address_of("jwks_uri", self.document().await?.jwks_uri.as_deref())
    }

    pub(super) async fn token_endpoint(&mut self) -> Result<HttpsUrl, Failure> {
        address_of("token_endpoint", self.document().await?.token_endpoint.as_deref())
    }

    /// What the document led to was of no use: it may have changed.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    async fn document(&mut self) -> Result<Document, Failure> {
        if let Some((document, until)) = &self.known
            && Instant::now() < *until
        {
            return Ok(document.clone());
        }
        let url = well_known(&self.issuer)?;
        let answer = self.client.get(&url, DOCUMENT_MOST).await?;
        if answer.status != 200 {
            return Err(Failure::status(&url, answer.status, answer.retry_after));
        }
        let document = read(&answer.body, |name| self.is(name))
            .map_err(|cause| Failure::new(format!("`{}` {cause}", shown(&url))))?;
        let until = Instant::now() + fresh_for(answer.max_age);
        self.known = Some((document.clone(), until));
        Ok(document)
    }

    fn is(&self, name: &str) -> bool {
        name == self.issuer || (self.or_slash && name.strip_suffix('/') == Some(&self.issuer))
    }
}

/// Section 4.1: a slash at the end of the issuer is left out first.
fn well_known(issuer: &str) -> Result<HttpsUrl, Failure> {
    let refused = |cause: &str| {
        Failure::new(format!("the issuer `{}` {cause}", printable(issuer, SHOWN_MOST)))
    };
    if issuer.contains(['?', '#']) {
        return Err(refused("has a query or fragment, so it has no discovery document"));
    }
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    HttpsUrl::parse(&format!("{base}{WELL_KNOWN}"))
        .map_err(|error| refused(&format!("has no discovery document: {error}")))
}

/// Section 4.3: the document must be that of the very issuer that was asked, lest one issuer speak
/// for another.
fn read(body: &[u8], is_asked: impl Fn(&str) -> bool) -> Result<Document, String> {
    // The error would quote the document.
    let document: Document = serde_json::from_slice(body)
        .map_err(|error| format!("is no discovery document (line {})", error.line()))?;
    if !is_asked(&document.issuer) {
        let found = printable(&document.issuer, SHOWN_MOST);
        return Err(format!("is the document of another issuer, `{found}`"));
    }
    Ok(document)
}

fn address_of(member: &str, text: Option<&str>) -> Result<HttpsUrl, Failure> {
    let Some(text) = text else {
        return Err(Failure::new(format!("the discovery document has no `{member}`")));
    };
    HttpsUrl::parse(text).map_err(|error| {
        let text = printable(text, SHOWN_MOST);
        Failure::new(format!("`{member}` of the discovery document, `{text}`, is refused: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    const ISSUER: &str = "https://auth.example.com/tenant";

    fn refusal(body: &str) -> String {
        read(body.as_bytes(), |it| it == ISSUER).unwrap_err()
    }

    #[test]
    fn the_document_is_below_the_issuer_whatever_slash_that_ends_with() {
        for issuer in [ISSUER, "https://auth.example.com/tenant/"] {
            assert_eq!(
                well_known(issuer).unwrap().to_string(),
                "https://auth.example.com/tenant/.well-known/openid-configuration"
            );
        }
    }

    #[test]
    fn an_issuer_that_is_no_bare_https_address_has_no_document() {
        for issuer in ["http://auth.example.com", "auth", "https://a.example/?x=y", ""] {
            assert!(well_known(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn only_the_issuers_own_document_is_taken() {
        let own =
            r#"{"issuer":"https://auth.example.com/tenant","jwks_uri":"https://k.example/j"}"#;
        let document = read(own.as_bytes(), |it| it == ISSUER).unwrap();
        assert_eq!(document.jwks_uri.unwrap(), "https://k.example/j");
        let others = [
            r#"{"issuer":"https://auth.example.com/tenant/","jwks_uri":"https://k.example/j"}"#,
            r#"{"issuer":"https://auth.example.com/Tenant","jwks_uri":"https://k.example/j"}"#,
            r#"{"issuer":"https://evil.example\u000a","jwks_uri":"https://k.example/j"}"#,
        ];
        for other in others {
            let refusal = refusal(other);
            assert!(refusal.contains("another issuer"), "{refusal}");
            assert!(!refusal.contains('\n'), "{refusal:?}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_or_of_the_wrong_type_is_refused() {
        let twice = r#"{"issuer":"https://auth.example.com/tenant","issuer":"https://b.example"}"#;
        let typed = r#"{"issuer":"https://auth.example.com/tenant","jwks_uri":["hunter2"]}"#;
        for body in [twice, typed, "", "[]", "null", "{}"] {
            let refusal = refusal(body);
            assert!(refusal.contains("no discovery document"), "{body}: {refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn keys_and_tokens_are_had_over_https_alone() {
        assert!(address_of("jwks_uri", Some("https://elsewhere.example/keys")).is_ok());
        for text in [Some("http://auth.example.com/keys"), Some("file:///etc/passwd"), None] {
            assert!(address_of("jwks_uri", text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_document_makes_us_stumble(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            issuer in ".{0,60}",
        ) {
            drop(read(&body, |it| it == issuer));
            drop(well_known(&issuer));
        }
    }
}
