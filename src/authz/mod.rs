//! May they? Everything here is pure: the answer depends on the arguments alone.
//!
//! Mints [`Claims`], the rights of a verified identity, and [`Permit`], leave to forward one
//! request. No clock, no files, no waiting: `now` is an argument.

mod scopes;
mod tenant;
mod target;
mod required;
mod routes;
mod claims;
mod grant;
mod verdict;
mod request;
mod guard;

pub use claims::{Claims, Method, Refusal};
pub use grant::Grants;
pub use guard::Guard;
pub use request::HttpFacts;
pub use required::Required;
pub use routes::{Route, RouteError, RouteMatch, RouteSpec, RouteTable};
pub use scopes::{PATTERNS_MAX, Scope, ScopeError, ScopePattern, ScopeSet};
pub use target::{TARGET_MAX, Target, TargetError};
pub use tenant::{Tenant, TenantError};
pub use verdict::{Denial, DeniedRoute, Permit, Reason};
