//! The customer or organization to which a workload belongs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

const LENGTH_MAX: usize = 63;

/// A tenant's name: `[a-z0-9][a-z0-9-]{0,62}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// What is wrong with a tenant's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a tenant: lower-case letters, digits and `-`, at most 63, not `-` first", given.escape_debug())]
pub struct TenantError {
    given: String,
}

impl Tenant {
    pub fn parse(text: &str) -> Result<Self, TenantError> {
        let well_formed = text.len() <= LENGTH_MAX
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.is_empty()
            && !text.starts_with('-');
        if well_formed {
            Ok(Self(Arc::from(text)))
        } else {
            Err(TenantError { given: text.chars().take(LENGTH_MAX + 1).collect() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_fit_a_dns_label_are_tenants() {
        let longest = "a".repeat(63);
        for good in ["acme", "a", "0", "a-b", "9-", longest.as_str()] {
            assert_eq!(Tenant::parse(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "Acme", "a_b", "a.b", "a b", "ä", "*", "a\n", too_long.as_str()] {
            assert!(Tenant::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_names_what_was_given_and_stays_short() {
        let error = Tenant::parse(&"X\n".repeat(10_000)).unwrap_err().to_string();
        assert!(error.starts_with("`X\\nX"), "{error}");
        assert!(error.len() < 300);
    }
}
