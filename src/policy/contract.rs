//! The names that a policy may answer under. A misspelled one is refused: otherwise a layer that
//! was meant to narrow would silently not apply.

/// The one entry point that every policy has.
pub(super) const GRANT: &str = "data.sidegate.global.grant";
pub(super) const REQUEST_DENY: &str = "data.sidegate.request.deny";

/// Where in the data stands who is believed no longer. Never answered by a rule.
pub(super) const REVOCATIONS: &str = "revocations";

/// Asked about events of the decision log, never about who may do what.
pub(super) const LOG_MASK: &str = "data.system.log.mask";
pub(super) const LOG_DROP: &str = "data.system.log.drop";

/// The entry points of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub name: &'static str,
    pub limit: &'static str,
    pub deny: &'static str,
}

/// From the widest to the narrowest.
pub(super) const LAYERS: [Layer; 4] = [
    Layer {
        name: "global",
        limit: "data.sidegate.global.limit",
        deny: "data.sidegate.global.deny",
    },
    Layer { name: "team", limit: "data.sidegate.team.limit", deny: "data.sidegate.team.deny" },
    Layer {
        name: "resource",
        limit: "data.sidegate.resource.limit",
        deny: "data.sidegate.resource.deny",
    },
    Layer {
        name: "tenant",
        limit: "data.sidegate.tenant.limit",
        deny: "data.sidegate.tenant.deny",
    },
];
