//! Machine tokens: who issues them, and an agent that keeps courier's fresh in a file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::folder::write_private;
use crate::dev::{TokenIssuer, WebAuthority};
use crate::secret::Secret;

/// By what a sidecar is known to callers without an SVID.
pub(super) fn server_name(service: &str) -> String {
    format!("{service}.demo.test")
}

/// Who takes machine tokens.
const SERVERS: [&str; 2] = ["orders", "ledger"];
const SERVER_LIFE: Duration = Duration::from_secs(24 * 3600);

const ISSUER: &str = "https://issuer.demo.test";
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(15);
/// Long before it is needed, and often enough to be seen.
pub(super) const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// Renews courier's token for as long as it lives.
#[derive(Debug)]
pub(super) struct Issuer {
    tokens: Arc<TokenIssuer>,
    agent: JoinHandle<()>,
}

impl Issuer {
    /// Puts everything into the folder that sidecars need for the fallback, and begins to renew
    /// the token on the current runtime.
    pub(super) fn start(folder: &Path) -> anyhow::Result<Self> {
        let servers = WebAuthority::new()?;
        write_private(&folder.join("servers-ca.pem"), &servers.certificate_pem())?;
        for service in SERVERS {
            let (chain, key) = servers.issue(&[&server_name(service)], SERVER_LIFE)?;
            write_private(&folder.join(format!("{service}.crt")), &chain)?;
            write_private(&folder.join(format!("{service}.key")), key.expose())?;
        }

        let tokens = Arc::new(TokenIssuer::new(ISSUER)?);
        write_private(&folder.join("issuer-keys.json"), &tokens.jwks())?;
        let place = folder.join("courier.token");
        renew(&tokens, &place)?;
        let renewed = Arc::clone(&tokens);
        let agent = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWED_EVERY).await;
                if let Err(error) = renew(&renewed, &place) {
                    tracing::warn!(error = format!("{error:#}"), "the token is not renewed");
                }
            }
        });
        Ok(Self { tokens, agent })
    }

    /// What a true token says, under the name of the key that signs them, and signed by another.
    pub(super) fn forged(&self) -> anyhow::Result<Secret> {
        let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": self.tokens.kid() });
        let mut claims = claims();
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("iss".to_owned(), json!(ISSUER));
            claims.insert("iat".to_owned(), json!(seconds(SystemTime::now())));
            claims.insert("jti".to_owned(), json!("forged"));
        }
        let stranger = TokenIssuer::new(ISSUER)?;
        Ok(stranger.signed_with(&header, &claims)?)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.agent.abort();
    }
}

fn renew(tokens: &TokenIssuer, place: &Path) -> anyhow::Result<()> {
    let token = tokens.mint(claims()).context("no token for courier")?;
    write_private(place, token.expose())
}

/// Who courier is by its token: the same rights as by its SVID, under another name.
fn claims() -> Value {
    json!({
        "sub": "courier",
        "aud": SERVERS,
        "scope": "orders:read ledger:read",
        "tenant": "acme",
        "exp": seconds(SystemTime::now() + TOKEN_LIFE),
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
