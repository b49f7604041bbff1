//! A world's machine tokens: who issues them, who holds which, and callers with nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use spiffe::SpiffeId;

use super::issuer::{Issuer, expiring, write_private};
use super::spec::Spec;
use super::stranger::Stranger;
use super::{World, secrets};

impl World {
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The keys of the issuer as they are now, for all who read them from the file.
    pub fn publish_keys(&self) {
        let aside = self.folder.path().join("jwks.new");
        std::fs::write(&aside, self.issuer.tokens().jwks()).unwrap();
        std::fs::rename(aside, self.folder.path().join("jwks.json")).unwrap();
    }

    pub(super) fn publish_authorities(&self) {
        self.publish_keys();
        std::fs::write(self.folder.path().join("ca.pem"), self.web.certificate_pem()).unwrap();
    }

    /// Puts certificate, key and token where the sidecar's configuration looks for them.
    pub(super) fn hand_out(&self, spec: &Spec, folder: &Path) {
        self.certify(&spec.name, folder, Duration::from_secs(3_600));
        if spec.tokens.authenticate.is_some() && spec.tokens.present.is_none() {
            let token = self.token_of(spec, spec.tokens.life);
            write_private(&folder.join("token"), &token);
        }
    }

    /// A certificate for `<name>.test` in its folder.
    pub fn certify(&self, name: &str, folder: &Path, ttl: Duration) {
        let (chain, key) = self.web.issue(&[&format!("{name}.test")], ttl).unwrap();
        secrets::keep("a sidecar's TLS key", &key);
        write_private(&folder.join("tls.key"), key.expose());
        write_private(&folder.join("tls.crt"), &chain);
    }

    /// A token with what policies grant the service by its SVID, for all that it calls.
    fn token_of(&self, spec: &Spec, life: Duration) -> String {
        let audience: Vec<_> = spec.calls.iter().map(|call| call.name.clone()).collect();
        let claims = json!({
            "sub": spec.name,
            "aud": audience,
            "scope": spec.grant["scopes"],
            "tenant": spec.grant.get("tenant").cloned().unwrap_or(json!(spec.tenant)),
        });
        self.mint(claims, life)
    }

    /// Gives the service a new token in its file.
    pub fn renew_token(&self, name: &str, life: Duration) {
        let service = self.service(name);
        let token = self.token_of(&service.spec, life);
        write_private(&service.folder.join("token"), &token);
    }

    pub fn take_token_away(&self, name: &str) {
        std::fs::remove_file(self.service(name).folder.join("token")).unwrap();
    }

    /// A token of the issuer with exactly these claims, beside what every token has.
    pub fn mint(&self, claims: Value, life: Duration) -> String {
        let token = self.issuer.tokens().mint(expiring(claims, life)).unwrap();
        secrets::keep("a machine token", &token)
    }

    /// Exactly these claims under a good signature.
    pub fn signed(&self, claims: &Value) -> String {
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": self.issuer.tokens().kid()});
        self.signed_with(&header, claims)
    }

    /// And exactly this header.
    pub fn signed_with(&self, header: &Value, claims: &Value) -> String {
        let token = self.issuer.tokens().signed_with(header, claims).unwrap();
        secrets::keep("a machine token", &token)
    }

    /// All that a good token for `service` says, for tokens that are to lack something.
    pub fn all_claims(&self, service: &str, scope: &str) -> Value {
        let mut all = expiring(claims(service, scope), Duration::from_secs(600));
        all["iss"] = json!(self.issuer.url);
        all["iat"] = json!(all["exp"].as_u64().unwrap() - 600);
        all["jti"] = json!(format!("jti-{:016x}", fastrand::u64(..)));
        all
    }

    /// The JWT-SVID that a workload gets from its agent for this audience.
    pub fn jwt_svid(&self, id: &str, audience: &str, ttl: Duration) -> String {
        let (audience, now) = ([audience.to_owned()], SystemTime::now());
        let id = SpiffeId::new(id).unwrap();
        let authority = self.agent_of(id.trust_domain().as_str()).authority();
        let token = authority.issue_jwt(&id, &audience, now, ttl).unwrap();
        secrets::keep("a JWT-SVID", &token)
    }

    /// A token of tenant `acme` for `service` that brings `scope`.
    pub fn token(&self, service: &str, scope: &str) -> String {
        self.mint(claims(service, scope), Duration::from_secs(600))
    }

    /// Somebody without any certificate, at the HTTP listener of `service`.
    pub fn without_svid(&self, service: &str) -> Stranger {
        Stranger::new(self.address(service), None)
    }
}

/// What a good token for `service` says, without `exp`.
pub fn claims(service: &str, scope: &str) -> Value {
    json!({"sub": "batch", "aud": service, "scope": scope, "tenant": "acme"})
}

/// A `GET` with this token.
pub fn get_with(token: &str, path: &str) -> http::Request<super::app::Body> {
    let mut request = super::client::get(path);
    let value = http::HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

/// Nothing that anybody could say may hold a secret: looked for when the world ends.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for service in self.services.values() {
            let name = &service.spec.name;
            let audit = std::fs::read(service.audit_path()).unwrap_or_default();
            secrets::none_in(&format!("the audit log of `{name}`"), &audit);
            if service.running.is_some() {
                for (address, path) in
                    [(service.metrics(), "/metrics"), (service.health(), "/ready")]
                {
                    let place = format!("{path} of `{name}`");
                    secrets::none_in(&place, &asked(address, path));
                }
            }
            secrets::none_in(&format!("the application of `{name}`"), &service.app.all_seen());
        }
        secrets::none_in_the_log();
    }
}

/// Without a runtime, which may be gone by now; a sidecar that has ended says nothing.
pub fn asked(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    let limit = Duration::from_secs(5);
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) {
        stream.set_read_timeout(Some(limit)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok();
        stream.read_to_end(&mut answer).ok();
    }
    answer
}
