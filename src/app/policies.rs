//! Brings policies into force: the enforced one, and the one in its shadow.

use std::sync::Arc;

use anyhow::Context as _;
use tracing::{info, warn};

use crate::admin::Reason;
use crate::config::{Config, PolicyFrom};
use crate::live::Live;
use crate::opa::{self, BundleFrom, BundleSettings, BundleStatus, Trust};
use crate::policy::{
    self, Desk, Examined, Examiner, Intake, Lane, Policy, PolicyStatus, Rules, Source,
};

/// What decisions are made by, and how it stands with that.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) desk: Desk,
    pub(super) rules: Live<Rules>,
    pub(super) enforced: Live<PolicyStatus>,
    pub(super) shadow: Option<Live<PolicyStatus>>,
    /// Of each lane, where it takes bundles.
    pub(super) bundle: Option<Live<BundleStatus>>,
    pub(super) shadow_bundle: Option<Live<BundleStatus>>,
}

impl Policies {
    /// Call it within a runtime. The first policy is in force when this returns, unless it has to be
    /// fetched: until then everything is refused.
    pub(super) fn start(config: &Config, examiner: &Examiner) -> anyhow::Result<Self> {
        let first = first(&config.policy, examiner)?.unwrap_or_else(Policy::closed);
        let (desk, rules) = policy::rules(first);
        let in_force = rules.snapshot();
        let (intake, enforced) =
            Intake::new(desk.clone(), Lane::Enforced, examiner.clone(), Some(&in_force.policy));
        let bundle = follow(&config.policy, intake)?;
        let (mut shadow, mut shadow_bundle) = (None, None);
        if let Some(from) = &config.shadow {
            let (intake, status) = Intake::new(desk.clone(), Lane::Shadow, examiner.clone(), None);
            shadow_bundle = follow(from, intake)?;
            shadow = Some(status);
        }
        Ok(Self { desk, rules, enforced, shadow, bundle, shadow_bundle })
    }

    /// Of either lane.
    pub(super) fn bundles(&self) -> impl Iterator<Item = &Live<BundleStatus>> {
        self.bundle.iter().chain(&self.shadow_bundle)
    }

    /// What is not as it should be with bundles, while the policy in force is as good as ever.
    pub(super) fn notes(&self) -> Vec<Reason> {
        let mut notes = Vec::new();
        for bundle in self.bundles() {
            let status = bundle.load();
            let name = &status.name;
            if let Some(trouble) = &status.trouble {
                let (code, what) = if trouble.refused {
                    ("bundle_refused", "is refused")
                } else {
                    ("bundle_unavailable", "cannot be had")
                };
                let message = format!("the bundle `{name}` {what}: {}", trouble.message);
                let since = status.last_successful_activation;
                notes.push(Reason { code, message, since });
            }
            if status.from_kept {
                let message = format!("the bundle `{name}` is the one that was kept");
                notes.push(Reason { code: "bundle_kept", message, since: None });
            }
        }
        notes
    }
}

/// `None` where it may come later: a bundle that has to be fetched, or verified by keys that have
/// to be fetched.
fn first(from: &PolicyFrom, examiner: &Examiner) -> anyhow::Result<Option<Policy>> {
    let source = match from {
        PolicyFrom::Files(path) => Source::read(path).context("the policy is not usable")?,
        PolicyFrom::Bundle(BundleSettings {
            from: BundleFrom::File(path),
            trust: Trust::Anybody,
            ..
        }) => opa::read(path).context("the bundle is not usable")?,
        PolicyFrom::Bundle(_) => return Ok(None),
    };
    // There is no traffic yet that should come first.
    let examined =
        examiner.clone().at_start().look(Arc::new(source)).context("the policy is not usable")?;
    tell(&examined);
    Ok(Some(examined.policy))
}

fn follow(from: &PolicyFrom, intake: Intake) -> anyhow::Result<Option<Live<BundleStatus>>> {
    match from {
        PolicyFrom::Files(path) => {
            policy::follow(path.clone(), intake);
            Ok(None)
        }
        PolicyFrom::Bundle(settings) => {
            let status = opa::follow(settings.clone(), intake);
            status.context("the authorities of the bundle server").map(Some)
        }
    }
}

fn tell(examined: &Examined) {
    let (tests, took_ms) = (examined.tests, examined.took_ms());
    let revision = examined.policy.revision();
    info!(%revision, lane = Lane::Enforced.as_str(), tests, took_ms, "policy in force");
    for remark in &examined.remarks {
        warn!(%revision, "policy in force, but {remark}");
    }
}

/// What `start` would refuse. No server is asked.
pub(super) fn check(config: &Config, examiner: &Examiner) -> anyhow::Result<()> {
    first(&config.policy, examiner)?;
    for from in [Some(&config.policy), config.shadow.as_ref()].into_iter().flatten() {
        if let PolicyFrom::Bundle(settings) = from {
            opa::check(settings).context("the bundle")?;
        }
    }
    Ok(())
}
