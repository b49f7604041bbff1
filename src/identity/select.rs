//! Which of the SVIDs that the agent offers is ours (ID-7).

use spiffe::SpiffeId;

use super::Settings;

/// What the agent offers, as far as the choice goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) id: &'a SpiffeId,
    pub(super) hint: Option<&'a str>,
}

/// The position of ours: the configured SPIFFE ID, else the first with the configured hint
/// (Workload API section 5.2.1), else the first (section 8). What is configured and not offered
/// is never replaced by something else.
pub(super) fn select(offers: &[Offer<'_>], settings: &Settings) -> Option<usize> {
    match (&settings.spiffe_id, &settings.hint) {
        (Some(id), _) => offers.iter().position(|offer| offer.id == id),
        (None, Some(hint)) => offers.iter().position(|offer| offer.hint == Some(hint)),
        (None, None) => (!offers.is_empty()).then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_id_comes_before_the_hint_and_the_hint_before_the_first() {
        let [a, b, c] = ["a", "b", "c"]
            .map(|name| SpiffeId::new(format!("spiffe://example.org/{name}")).unwrap());
        let offers = [
            Offer { id: &a, hint: Some("internal") },
            Offer { id: &b, hint: Some("external") },
            Offer { id: &c, hint: Some("external") },
        ];
        let elsewhere = SpiffeId::new("spiffe://example.org/B").unwrap();
        let cases = [
            (None, None, Some(0)),
            (None, Some("external"), Some(1)),
            (None, Some("EXTERNAL"), None),
            (Some(&c), None, Some(2)),
            (Some(&c), Some("internal"), Some(2)),
            (Some(&elsewhere), None, None),
            (Some(&elsewhere), Some("internal"), None),
        ];
        for (id, hint, wanted) in cases {
            let settings = Settings {
                endpoint: String::new(),
                spiffe_id: id.cloned(),
                hint: hint.map(str::to_owned),
                federates_with: Vec::new(),
                danger_accept_dev_agent: false,
                jwt_bundles: false,
            };
            assert_eq!(select(&offers, &settings), wanted, "{id:?} {hint:?}");
            assert_eq!(select(&[], &settings), None);
        }
    }
}
