//! What a policy is asked, as plain facts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spiffe::SpiffeId;

/// A workload by its SPIFFE ID, with the parts that a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Workload {
    uri: Arc<str>,
    id: SpiffeId,
}

/// Whom a question is about, whichever way they proved it. Cheap to share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `spiffe`, `jwt` or `jwt-svid`.
    pub method: &'static str,
    pub subject: Arc<str>,
    pub workload: Option<Workload>,
    /// Who issued the token, if it was one.
    pub issuer: Option<Arc<str>>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Local {
    pub workload: Option<Workload>,
    pub tenant: Arc<str>,
    pub direction: Direction,
}

/// Which way the traffic goes that the question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// "Who is this to us?"
#[derive(Debug, Clone, Copy)]
pub struct IdentityQuestion<'a> {
    pub subject: &'a Subject,
    pub address: Option<IpAddr>,
    pub local: &'a Local,
    /// The policy sees the minute, nothing finer.
    pub now: SystemTime,
}

/// What somebody asks for: the part of [`RequestQuestion`] that is about the request alone.
#[derive(Debug, Clone, Copy)]
pub struct AskedFor<'a> {
    /// `http` or `grpc`.
    pub protocol: &'a str,
    pub method: &'a str,
    /// In normal form, without the query.
    pub path: &'a str,
    /// Names and values, decoded.
    pub query: &'a [(String, String)],
    pub host: &'a str,
    pub route: &'a str,
    /// Lower-case names; never one that carries a secret. Values of one name may stand apart.
    pub headers: &'a [(&'a str, &'a str)],
    pub grpc: Option<(&'a str, &'a str)>,
    pub scopes_required: &'a [String],
}

/// "Is anything against this request?"
#[derive(Debug, Clone, Copy)]
pub struct RequestQuestion<'a> {
    pub identity: IdentityQuestion<'a>,
    /// `http` or `grpc`.
    pub protocol: &'a str,
    pub method: &'a str,
    /// In normal form, without the query.
    pub path: &'a str,
    /// Names and values, decoded.
    pub query: &'a [(String, String)],
    pub host: &'a str,
    pub route: &'a str,
    /// Lower-case names; never one that carries a secret. Values of one name may stand apart.
    pub headers: &'a [(&'a str, &'a str)],
    pub grpc: Option<(&'a str, &'a str)>,
    pub scopes_required: &'a [String],
    pub scopes: &'a [String],
    pub tenant: Option<&'a str>,
}

impl<'a> RequestQuestion<'a> {
    pub fn asked_for(&self) -> AskedFor<'a> {
        let Self { protocol, method, path, query, host, route, headers, .. } = *self;
        let Self { grpc, scopes_required, .. } = *self;
        AskedFor { protocol, method, path, query, host, route, headers, grpc, scopes_required }
    }
}

impl<'a> AskedFor<'a> {
    /// The whole question, about somebody who holds `scopes` and belongs to `tenant`.
    pub fn by(
        &self,
        identity: IdentityQuestion<'a>,
        scopes: &'a [String],
        tenant: Option<&'a str>,
    ) -> RequestQuestion<'a> {
        let Self { protocol, method, path, query, host, route, headers, .. } = *self;
        let Self { grpc, scopes_required, .. } = *self;
        RequestQuestion {
            identity,
            protocol,
            method,
            path,
            query,
            host,
            route,
            headers,
            grpc,
            scopes_required,
            scopes,
            tenant,
        }
    }
}

impl Workload {
    pub fn new(id: &SpiffeId) -> Self {
        Self { uri: id.to_string().into(), id: id.clone() }
    }

    /// Without writing the ID anew; `uri` must be the text of `id`.
    pub fn with_uri(id: &SpiffeId, uri: Arc<str>) -> Self {
        Self { uri, id: id.clone() }
    }

    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }

    pub fn trust_domain(&self) -> &str {
        self.id.trust_domain_name()
    }

    /// With its leading slash; empty when the ID is that of a trust domain.
    pub fn path(&self) -> &str {
        self.id.path()
    }

    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// The two parts of `/<environment>/<service>`; `None` for any other shape.
    pub fn environment_and_service(&self) -> Option<(&str, &str)> {
        let (environment, service) = self.path().strip_prefix('/')?.split_once('/')?;
        (!service.contains('/')).then_some((environment, service))
    }
}

impl Subject {
    /// A workload that proved itself by X.509-SVID.
    pub fn spiffe(workload: Workload) -> Self {
        let subject = Arc::clone(workload.uri());
        Self { method: "spiffe", subject, workload: Some(workload), issuer: None }
    }

    /// A workload that proved itself by JWT-SVID.
    pub fn jwt_svid(workload: Workload) -> Self {
        Self { method: "jwt-svid", ..Self::spiffe(workload) }
    }

    /// Whom a machine token names. Never a SPIFFE ID, whatever the text looks like.
    pub fn jwt(subject: Arc<str>, issuer: Arc<str>) -> Self {
        Self { method: "jwt", subject, workload: None, issuer: Some(issuer) }
    }
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Minutes since 1970, as the policy sees the time.
pub(super) fn unix_minute(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60)
}

/// When the next minute begins: until then an answer that depends on the time holds.
pub fn minute_end(now: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs((unix_minute(now) + 1) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_segments_are_environment_and_service() {
        for (uri, expected) in [
            ("spiffe://example.org/prod/orders", Some(("prod", "orders"))),
            ("spiffe://example.org/orders", None),
            ("spiffe://example.org/ns/a/sa/b", None),
            ("spiffe://example.org", None),
        ] {
            let workload = Workload::new(&SpiffeId::new(uri).unwrap());
            assert_eq!(workload.environment_and_service(), expected, "{uri}");
            assert_eq!(&**workload.uri(), uri);
        }
    }

    #[test]
    fn a_minute_ends_at_the_next_full_one() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(minute_end(at(60)), at(120));
        assert_eq!(minute_end(at(119)), at(120));
    }
}
