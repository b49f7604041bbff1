//! One audit line, as far as it says on what a decision rested. It borrows from the text.

use std::borrow::Cow;

use serde::Deserialize;

/// A text that is borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// What later versions may add is passed over; what is missing here was unknown.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) time: Text<'a>,
    #[serde(borrow)]
    pub(super) direction: Text<'a>,
    #[serde(borrow)]
    pub(super) decision: Text<'a>,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
    #[serde(borrow)]
    pub(super) protocol: Text<'a>,
    #[serde(borrow, default)]
    pub(super) request_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) listener: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) source: Source<'a>,
    #[serde(borrow, default)]
    pub(super) local: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) tenant: Option<Text<'a>>,
    #[serde(default)]
    pub(super) cross_tenant: bool,
    #[serde(borrow, default)]
    pub(super) route: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) required_scopes: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) held_scopes: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) method: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) path: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) policy_revision: Option<Text<'a>>,
    /// It ends what was let in before.
    #[serde(default)]
    pub(super) again: bool,
    #[serde(default)]
    pub(super) shadow: Option<Shadow>,
}

/// What the shadow policy said.
#[derive(Debug, Deserialize)]
pub(super) struct Shadow {
    /// The line is the second one about its decision.
    #[serde(default)]
    pub(super) late: bool,
}

/// Who asked.
#[derive(Debug, Deserialize)]
pub(super) struct Source<'a> {
    #[serde(borrow, default)]
    pub(super) spiffe_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) method: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) subject: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) issuer: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) token: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) address: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) serial: Option<Text<'a>>,
}
