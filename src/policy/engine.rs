//! Compiles a policy and asks it. Only the tree interpreter, with strict builtin errors: the
//! faster virtual machine turns errors into "undefined", and a `not` over that opens the door.

use std::fmt;
use std::sync::Arc;

use regorus::{Engine, Value};

use super::answer::{Ceiling, DenyReason, EvalError, IdentityAnswer, Roles};
use super::budget::{Budget, Pace};
use super::contract::{GRANT, LAYERS, LOG_DROP, LOG_MASK, REQUEST_DENY, REVOCATIONS};
use super::entry::Entry;
use super::error::{LoadError, Problem};
use super::holds::{EntryReads, Reads};
use super::input::{self, KeptRequest};
use super::memory::Memory;
use super::prepare::{checked, documents};
use super::question::{IdentityQuestion, RequestQuestion};
use super::reads::Findings;
use super::revocations::{self, Revocations};
use super::roles;
use super::source::Source;

/// The revision of no policy at all.
const NO_REVISION: &str = "none";

/// A compiled policy: immutable, shared by all workers.
pub struct Policy {
    revision: Arc<str>,
    /// Digests of all that is enforced, and of that with its tests.
    enforced: Arc<str>,
    content: Arc<str>,
    /// `None` while no policy has been had.
    grant: Option<Entry>,
    bundle_revision: Option<Arc<str>>,
    layers: Vec<LayerRules>,
    request_deny: Option<Entry>,
    roles: Roles,
    revocations: Revocations,
    identity_reads: Reads,
    log_rules: LogRules,
    pub(super) memory: Memory,
    request_reads: Reads,
    reads: Vec<EntryReads>,
    pace: Pace,
}

/// Questions to a policy that have to be answered within one budget together.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'p> {
    policy: &'p Policy,
    budget: Budget,
}

struct LayerRules {
    layer: &'static str,
    limit: Option<Entry>,
    deny: Option<Entry>,
}

/// What the decision log asks, as far as the policy defines it.
pub(super) struct LogRules {
    pub mask: Option<Entry>,
    pub drop: Option<Entry>,
}

/// Runs the checks and compiles what stands in `source`. Needs a big stack.
pub(super) fn compile(source: &Source) -> Result<Policy, LoadError> {
    compile_over(source, || documents(source))
}

/// The same with the data files as `documents` gives them, asked once the rules are sound.
pub(super) fn compile_over(
    source: &Source,
    documents: impl FnOnce() -> Result<Vec<Value>, LoadError>,
) -> Result<Policy, LoadError> {
    let (engine, findings) = checked(source, documents)?;
    assemble(&engine, &findings, source)
}

/// For tools that ask something of their own: the policy as it is enforced, refused if it could not
/// be. Needs a big stack.
pub(super) fn enforced(source: &Source) -> Result<Engine, LoadError> {
    let (engine, findings) = checked(source, || documents(source))?;
    assemble(&engine, &findings, source)?;
    Ok(engine)
}

fn assemble(engine: &Engine, findings: &Findings, source: &Source) -> Result<Policy, LoadError> {
    let in_data = |message| Problem::in_file("data", message);
    let data = engine.get_data();
    let roles = roles::expand(&data).map_err(in_data)?;
    let revocations = revocations::read(&data).map_err(in_data)?;
    let entry = |path: &'static str| -> Result<Option<Entry>, LoadError> {
        if !findings.defines(path) {
            return Ok(None);
        }
        Entry::new(path, engine.clone()).map(Some)
    };
    let Some(grant) = entry(GRANT)? else {
        let message = format!("`{GRANT}` is not defined, so nobody could be let in");
        return Err(Problem::in_file("policy", message).into());
    };
    let mut layers = Vec::new();
    for layer in LAYERS {
        let (limit, deny) = (entry(layer.limit)?, entry(layer.deny)?);
        if limit.is_some() || deny.is_some() {
            layers.push(LayerRules { layer: layer.name, limit, deny });
        }
    }
    Ok(Policy {
        revision: Arc::clone(&source.revision),
        enforced: Arc::clone(&source.enforced),
        content: Arc::clone(&source.content),
        grant: Some(grant),
        bundle_revision: source.bundle_revision.clone(),
        layers,
        request_deny: entry(REQUEST_DENY)?,
        roles,
        revocations,
        identity_reads: findings.identity_reads,
        log_rules: LogRules { mask: entry(LOG_MASK)?, drop: entry(LOG_DROP)? },
        memory: Memory::default(),
        request_reads: findings.request_reads,
        reads: findings.entries.clone(),
        pace: Pace::default(),
    })
}

impl Policy {
    /// What is in force while no policy has ever been had: nobody is let in.
    pub fn closed() -> Self {
        Self {
            revision: NO_REVISION.into(),
            enforced: NO_REVISION.into(),
            content: NO_REVISION.into(),
            bundle_revision: None,
            grant: None,
            layers: Vec::new(),
            request_deny: None,
            roles: Roles::new(),
            revocations: Revocations::default(),
            identity_reads: Reads::default(),
            log_rules: LogRules { mask: None, drop: None },
            memory: Memory::default(),
            request_reads: Reads::default(),
            reads: Vec::new(),
            pace: Pace::default(),
        }
    }

    /// No policy has been had yet.
    pub fn is_closed(&self) -> bool {
        self.grant.is_none()
    }

    fn is_there(&self) -> Result<(), EvalError> {
        if self.is_closed() { Err(EvalError::NoPolicy) } else { Ok(()) }
    }

    /// The digest of everything that is enforced; the revision is its beginning.
    pub fn digest(&self) -> &Arc<str> {
        &self.enforced
    }

    /// The digest of everything, tests included.
    pub(super) fn content(&self) -> &Arc<str> {
        &self.content
    }

    /// What `before` narrowed by and this one does not.
    pub(super) fn drops_of(&self, before: &Self) -> Vec<String> {
        let parts = self.narrowing();
        before.narrowing().into_iter().filter(|part| !parts.contains(part)).collect()
    }

    fn narrowing(&self) -> Vec<String> {
        let entries = self.layers.iter().flat_map(|rules| rules.limit.iter().chain(&rules.deny));
        let entries = entries.chain(&self.request_deny).map(|entry| format!("`{}`", entry.path()));
        let revoked = (!self.revocations.is_empty()).then(|| format!("`data.{REVOCATIONS}`"));
        entries.chain(revoked).collect()
    }

    /// Short, and made from the content: the same files have the same revision everywhere.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// What the makers of the bundle count it by.
    pub fn bundle_revision(&self) -> Option<&Arc<str>> {
        self.bundle_revision.as_ref()
    }

    /// All questions asked of the result have to be answered within `budget`.
    pub fn within(&self, budget: Budget) -> Asking<'_> {
        Asking { policy: self, budget }
    }

    /// Whether questions about identities are better not asked where others wait.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// [`Asking::identity`] with all the time that there is.
    pub fn identity(&self, question: &IdentityQuestion<'_>) -> Result<IdentityAnswer, EvalError> {
        self.within(Budget::whole()).identity(question)
    }

    /// [`Asking::ceiling`] with all the time that there is.
    pub fn ceiling(&self, question: &IdentityQuestion<'_>) -> Result<Ceiling, EvalError> {
        self.within(Budget::whole()).ceiling(question)
    }

    /// Who and what is believed no longer (AZ-11).
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What is against this request; nothing if the policy has no such rule.
    pub fn request_denials(
        &self,
        question: &RequestQuestion<'_>,
    ) -> Result<Vec<DenyReason>, EvalError> {
        let kept = KeptRequest::of(&question.asked_for());
        let RequestQuestion { identity, scopes, tenant, .. } = question;
        self.within(Budget::whole()).request_denials(identity, &kept, scopes, *tenant)
    }

    /// The policy wants to see every request.
    pub fn asks_requests(&self) -> bool {
        self.request_deny.is_some()
    }

    /// Answers about identities hold for a minute only.
    pub fn reads_time(&self) -> bool {
        self.identity_reads.time
    }

    /// Answers about identities differ by the peer's address.
    pub fn reads_address(&self) -> bool {
        self.identity_reads.address
    }

    pub(super) fn log_rules(&self) -> &LogRules {
        &self.log_rules
    }

    /// Answers about requests may change with the minute.
    pub fn reads_time_of_requests(&self) -> bool {
        self.request_reads.time
    }

    /// What the answers of each entry point depend on.
    pub fn reads(&self) -> &[EntryReads] {
        &self.reads
    }

    /// Any answer, that about requests included, differs by the minute.
    pub fn depends_on_time(&self) -> bool {
        self.identity_reads.time || self.request_reads.time
    }

    /// Any answer differs by the peer's address.
    pub fn depends_on_address(&self) -> bool {
        self.identity_reads.address || self.request_reads.address
    }

    /// Answers about identities differ by who asks.
    pub fn reads_local(&self) -> bool {
        self.identity_reads.local
    }

    /// The question about a request needs what no audit line holds: headers, query or host.
    pub fn reads_unlogged(&self) -> bool {
        self.request_reads.unlogged
    }

    /// The scope patterns of a role, includes expanded.
    pub fn role(&self, name: &str) -> Option<&[String]> {
        self.roles.get(name).map(Vec::as_slice)
    }

    /// The name of every role, sorted.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }
}

impl Asking<'_> {
    /// Who this is to us: grant, limits and denials of every layer.
    pub fn identity(&self, question: &IdentityQuestion<'_>) -> Result<IdentityAnswer, EvalError> {
        if let Some(answer) = self.policy.memory.identity(question) {
            return Ok(answer);
        }
        let input = input::identity(question);
        let grant = self.policy.grant.as_ref().ok_or(EvalError::NoPolicy)?;
        let grant = grant.ask(&input, self.budget, |answer| answer.grant())?;
        let Ceiling { limits, denials } = self.ceiling_over(&input)?;
        Ok(IdentityAnswer { grant, limits, denials })
    }

    /// What is left to somebody who brings rights of their own: limits and denials of every layer.
    pub fn ceiling(&self, question: &IdentityQuestion<'_>) -> Result<Ceiling, EvalError> {
        match self.policy.memory.ceiling(question) {
            Some(ceiling) => Ok(ceiling),
            None => self.ceiling_over(&input::identity(question)),
        }
    }

    fn ceiling_over(&self, input: &Value) -> Result<Ceiling, EvalError> {
        self.policy.is_there()?;
        let (mut limits, mut denials) = (Vec::new(), Vec::new());
        for rules in &self.policy.layers {
            if let Some(limit) = &rules.limit {
                limits.push(limit.ask(input, self.budget, |it| it.limit(rules.layer))?);
            }
            if let Some(deny) = &rules.deny {
                denials.extend(deny.ask(input, self.budget, |it| it.denials(rules.layer))?);
            }
        }
        Ok(Ceiling { limits, denials })
    }

    /// What is against this request of somebody who has `scopes` and belongs to `tenant`; nothing if
    /// the policy has no such rule.
    pub fn request_denials(
        &self,
        identity: &IdentityQuestion<'_>,
        request: &KeptRequest,
        scopes: &[String],
        tenant: Option<&str>,
    ) -> Result<Vec<DenyReason>, EvalError> {
        self.policy.is_there()?;
        let Some(deny) = &self.policy.request_deny else { return Ok(Vec::new()) };
        let input = input::request(identity, request, scopes, tenant);
        deny.ask(&input, self.budget, |answer| answer.denials("request"))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("revision", &self.revision).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
