//! JWT-SVIDs of the development agent: made, and judged.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use spiffe::SpiffeId;

use super::authority::Authority;
use super::error::DevError;
use super::jws::Unverified;
use crate::secret::Secret;
use crate::workload_api::pb::google::protobuf::value::Kind;
use crate::workload_api::pb::google::protobuf::{ListValue, Struct, Value as ProtoValue};

/// No JWT-SVID lives longer: whoever reads one can use it.
const LONGEST: Duration = Duration::from_secs(300);

impl Authority {
    /// A JWT-SVID to the letter of JWT-SVID sections 2 and 3, for `ttl` or five minutes.
    pub fn issue_jwt(
        &self,
        id: &SpiffeId,
        audience: &[String],
        now: SystemTime,
        ttl: Duration,
    ) -> Result<Secret, DevError> {
        self.vouches_for(id)?;
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(DevError::NoAudience);
        }
        let issued = seconds(now);
        self.sign_jwt(&json!({
            "sub": id.to_string(),
            "aud": audience,
            "exp": issued + ttl.min(LONGEST).as_secs().max(1),
            "iat": issued,
            "jti": token_id(),
        }))
    }
}

/// Whose token it is and what it claims, if it holds for `audience` now.
pub(super) fn judge(
    token: &str,
    audience: &str,
    authorities: &[Authority],
    now: SystemTime,
) -> Option<(SpiffeId, Map<String, Value>)> {
    let token = Unverified::parse(token)?;
    let id = SpiffeId::new(token.claims.get("sub")?.as_str()?).ok()?;
    let authority = authorities.iter().find(|it| it.trust_domain() == id.trust_domain())?;
    let named = match token.claims.get("aud")? {
        Value::String(one) => one == audience,
        Value::Array(several) => several.iter().any(|it| it.as_str() == Some(audience)),
        _ => false,
    };
    let holds = named
        && token.claims.get("exp")?.as_u64()? > seconds(now)
        && authority.jwt_keys().iter().any(|key| key.signed(&token));
    holds.then_some((id, token.claims))
}

/// As protobuf has JSON objects.
pub(super) fn as_struct(claims: Map<String, Value>) -> Struct {
    Struct { fields: claims.into_iter().map(|(name, value)| (name, as_value(value))).collect() }
}

fn as_value(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(it),
        Value::Number(it) => Kind::NumberValue(it.as_f64().unwrap_or_default()),
        Value::String(it) => Kind::StringValue(it),
        Value::Array(it) => {
            Kind::ListValue(ListValue { values: it.into_iter().map(as_value).collect() })
        }
        Value::Object(it) => Kind::StructValue(as_struct(it)),
    };
    ProtoValue { kind: Some(kind) }
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Never the same twice.
pub(super) fn token_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
