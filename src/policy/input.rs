//! Questions as documents: every field of the contract is always there, `null` when unknown.
//!
//! That matters for safety: `not` over an undefined operand is true in this interpreter, so a
//! field that could be absent could open a door (design section 5).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use regorus::Value;

use super::question::{
    AskedFor, IdentityQuestion, Local, RequestQuestion, Subject, Workload, unix_minute,
};

const MINUTES_PER_DAY: u64 = 24 * 60;
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Every field of the input. A policy that reads another one is refused.
pub(super) const IDENTITY_FIELDS: &[(&str, &[&str])] = &[
    ("version", &[]),
    (
        "peer",
        &[
            "address",
            "environment",
            "issuer",
            "method",
            "path",
            "segments",
            "service",
            "spiffe_id",
            "subject",
            "trust_domain",
        ],
    ),
    ("local", &["direction", "environment", "service", "spiffe_id", "tenant"]),
    ("time", &["hour", "minute", "unix_minute", "weekday"]),
];

/// What the question about a request has beyond that.
pub(super) const REQUEST_FIELDS: &[(&str, &[&str])] = &[
    (
        "request",
        &[
            "grpc",
            "headers",
            "host",
            "method",
            "path",
            "protocol",
            "query",
            "route",
            "scopes_required",
            "segments",
        ],
    ),
    ("grant", &["scopes", "tenant"]),
];

pub(super) fn identity(question: &IdentityQuestion<'_>) -> Value {
    object(identity_fields(question))
}

/// What somebody asked for, as policies see it: kept to ask again whether anything is against it. Cheap
/// to clone.
#[derive(Clone)]
pub struct KeptRequest(Value);

impl KeptRequest {
    pub fn of(question: &AskedFor<'_>) -> Self {
        let keys = &*KEYS;
        let (service, method) = question.grpc.unzip();
        let fields = [
            (&keys.protocol, question.protocol.into()),
            (&keys.method, question.method.into()),
            (&keys.path, question.path.into()),
            (&keys.segments, strings(question.path.split('/').skip(1))),
            (&keys.query, multimap(question.query.iter().map(|(name, value)| (&**name, &**value)))),
            (&keys.host, question.host.into()),
            (&keys.route, question.route.into()),
            (&keys.headers, multimap(question.headers.iter().copied())),
            (&keys.grpc, object([(&keys.service, text(service)), (&keys.method, text(method))])),
            (&keys.scopes_required, strings(question.scopes_required.iter().map(String::as_str))),
        ];
        Self(object(fields))
    }
}

impl fmt::Debug for KeptRequest {
    /// Headers and query are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptRequest").finish_non_exhaustive()
    }
}

/// The whole question as one document.
pub(super) fn whole_request(question: &RequestQuestion<'_>) -> Value {
    let kept = KeptRequest::of(&question.asked_for());
    request(&question.identity, &kept, question.scopes, question.tenant)
}

/// The whole input of a question about a request; `scopes` and `tenant` as they are now.
pub(super) fn request(
    identity: &IdentityQuestion<'_>,
    request: &KeptRequest,
    scopes: &[String],
    tenant: Option<&str>,
) -> Value {
    let keys = &*KEYS;
    let mut fields = identity_fields(identity);
    let grant =
        [(&keys.scopes, strings(scopes.iter().map(String::as_str))), (&keys.tenant, text(tenant))];
    fields.push((&keys.request, request.0.clone()));
    fields.push((&keys.grant, object(grant)));
    object(fields)
}

fn identity_fields(question: &IdentityQuestion<'_>) -> Vec<(&'static Value, Value)> {
    let keys = &*KEYS;
    let minute = unix_minute(question.now);
    let day = usize::try_from(minute / MINUTES_PER_DAY % 7).unwrap_or_default();
    let time = [
        (&keys.unix_minute, minute.into()),
        (&keys.weekday, WEEKDAYS.get(day).map_or(Value::Null, |name| Value::from(*name))),
        (&keys.hour, (minute % MINUTES_PER_DAY / 60).into()),
        (&keys.minute, (minute % 60).into()),
    ];
    vec![
        (&keys.version, Value::from(1_u64)),
        (&keys.peer, peer(question.subject, question.address)),
        (&keys.local, local(question.local)),
        (&keys.time, object(time)),
    ]
}

fn peer(subject: &Subject, address: Option<IpAddr>) -> Value {
    let keys = &*KEYS;
    let workload = subject.workload.as_ref();
    let (environment, service) = workload.and_then(Workload::environment_and_service).unzip();
    object([
        (&keys.method, subject.method.into()),
        (&keys.spiffe_id, workload.map_or(Value::Null, |it| shared(it.uri()))),
        (&keys.trust_domain, text(workload.map(Workload::trust_domain))),
        (&keys.path, text(workload.map(Workload::path))),
        (&keys.segments, workload.map_or_else(|| strings([]), |it| strings(it.segments()))),
        (&keys.environment, text(environment)),
        (&keys.service, text(service)),
        (&keys.subject, shared(&subject.subject)),
        (&keys.issuer, subject.issuer.as_ref().map_or(Value::Null, shared)),
        (&keys.address, address.map_or(Value::Null, |it| it.to_string().into())),
    ])
}

fn local(local: &Local) -> Value {
    let keys = &*KEYS;
    let workload = local.workload.as_ref();
    let (environment, service) = workload.and_then(Workload::environment_and_service).unzip();
    object([
        (&keys.spiffe_id, workload.map_or(Value::Null, |it| shared(it.uri()))),
        (&keys.environment, text(environment)),
        (&keys.service, text(service)),
        (&keys.tenant, shared(&local.tenant)),
        (&keys.direction, local.direction.as_str().into()),
    ])
}

fn object<'k>(fields: impl IntoIterator<Item = (&'k Value, Value)>) -> Value {
    let fields: BTreeMap<Value, Value> =
        fields.into_iter().map(|(key, value)| (key.clone(), value)).collect();
    fields.into()
}

fn multimap<'v>(pairs: impl Iterator<Item = (&'v str, &'v str)>) -> Value {
    let mut fields: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, value) in pairs {
        fields.entry(name).or_default().push(value.into());
    }
    let fields: BTreeMap<Value, Value> =
        fields.into_iter().map(|(name, values)| (name.into(), values.into())).collect();
    fields.into()
}

fn strings<'v>(items: impl IntoIterator<Item = &'v str>) -> Value {
    items.into_iter().map(Value::from).collect::<Vec<_>>().into()
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

fn shared(text: &Arc<str>) -> Value {
    Value::String(Arc::clone(text))
}

macro_rules! keys {
    ($($name:ident),+) => {
        /// Field names made once, so that a question is built without writing them anew.
        struct Keys { $($name: Value),+ }

        static KEYS: LazyLock<Keys> =
            LazyLock::new(|| Keys { $($name: Value::from(stringify!($name))),+ });
    };
}

keys! {
    address, direction, environment, grant, grpc, headers, host, hour, issuer, local, method, minute,
    path, peer, protocol, query, request, route, scopes, scopes_required, segments, service,
    spiffe_id, subject, tenant, time, trust_domain, unix_minute, version, weekday
}

#[cfg(test)]
mod tests;
