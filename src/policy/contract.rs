//! The names that a policy may answer under. A misspelled one is refused: otherwise a layer that
//! was meant to narrow would silently not apply.

/// The one entry point that every policy has.
pub(super) const GRANT: &str = "data.sidegate.global.grant";
pub(super) const REQUEST_DENY: &str = "data.sidegate.request.deny";

/// The entry points of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub name: &'static str,
    pub limit: Option<&'static str>,
    pub deny: &'static str,
}

/// From the widest to the narrowest.
pub(super) const LAYERS: [Layer; 4] = [
    Layer { name: "global", limit: None, deny: "data.sidegate.global.deny" },
    Layer {
        name: "team",
        limit: Some("data.sidegate.team.limit"),
        deny: "data.sidegate.team.deny",
    },
    Layer {
        name: "resource",
        limit: Some("data.sidegate.resource.limit"),
        deny: "data.sidegate.resource.deny",
    },
    Layer {
        name: "tenant",
        limit: Some("data.sidegate.tenant.limit"),
        deny: "data.sidegate.tenant.deny",
    },
];
