//! By what we prove ourselves to another service. Pure.

use std::time::SystemTime;

use super::lifetime::is_nearly_over;

/// How a call goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WayOut {
    /// mTLS by X.509-SVID.
    Svid,
    /// TLS to a server that proves its name, and our machine token with each request.
    Token,
}

impl WayOut {
    /// By SVID while we have one. A token stands in for none, and for one in the last moments of
    /// its life, so that what is asked then is not cut off with it. `svid` is the validity of ours,
    /// where it may be used; `token` says whether one is at hand.
    pub fn choose(
        svid: Option<(SystemTime, SystemTime)>,
        token: bool,
        now: SystemTime,
    ) -> Option<Self> {
        let valid = svid.filter(|(_, not_after)| now < *not_after);
        let Some((not_before, not_after)) = valid else {
            return token.then_some(Self::Token);
        };
        let leave = token && is_nearly_over(not_before, not_after, now);
        Some(if leave { Self::Token } else { Self::Svid })
    }

    /// As in logs, metrics and readiness.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Svid => "spiffe",
            Self::Token => "jwt",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_token_stands_in_only_for_an_svid_that_is_not_there_or_nearly_over() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let svid = Some((at(1_000), at(1_100)));
        for (svid, token, now, expected) in [
            (svid, true, 1_000, Some(WayOut::Svid)),
            (svid, true, 1_079, Some(WayOut::Svid)),
            (svid, true, 1_080, Some(WayOut::Token)),
            (svid, false, 1_080, Some(WayOut::Svid)),
            (svid, false, 1_099, Some(WayOut::Svid)),
            (svid, true, 1_100, Some(WayOut::Token)),
            (svid, false, 1_100, None),
            (None, true, 1_000, Some(WayOut::Token)),
            (None, false, 1_000, None),
        ] {
            assert_eq!(WayOut::choose(svid, token, at(now)), expected, "{token} {now}");
        }
    }
}
