//! Looks after what is open on one connection whose caller is known by its certificate: judges it
//! again when the rules change or rights run out, and cuts what is refused by then.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::gate::to_be_judged_again;
use super::session::Session;
use crate::authz::Beside;

/// What ends by itself within this time after a change is left alone, so that a refusal is in force
/// within a second and short answers arrive whole.
const SHORT: Duration = Duration::from_millis(400);

/// At work until dropped.
#[derive(Debug)]
pub(super) struct Minder(Option<JoinHandle<()>>);

impl Minder {
    /// Callers by token are judged by each of their tokens, so there is nothing to do in common.
    pub(super) fn of(session: &Rc<Session>) -> Self {
        let by_certificate = session.caller.proof.peer().is_some();
        let session = Rc::clone(session);
        Self(by_certificate.then(|| tokio::task::spawn_local(async move { mind(&session).await })))
    }
}

impl Drop for Minder {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

async fn mind(session: &Session) {
    let rules = &session.gate.rules;
    let mut changes = rules.changes();
    loop {
        // With nothing open, there is no hurry to know what the time brings.
        let until = match session.open.is_empty() {
            true => None,
            false => session.holds_until(SystemTime::now()),
        };
        session.open.time_is_watched(until.is_some());
        tokio::select! {
            () = to_be_judged_again(until, &mut changes) => {}
            () = session.open.timed() => continue,
        }
        if !session.open.is_empty() {
            sleep(SHORT).await;
            judge_open(session).await;
        }
    }
}

async fn judge_open(session: &Session) {
    let open = session.open.for_at_least(SHORT);
    let Some(proven) = session.caller.proven(None) else { return };
    let (gate, aside) = (&session.gate, &session.gate.aside_patiently);
    let rules = gate.rules.snapshot();
    // Also for those that are younger: from then on it is known until when this holds.
    let rights = session.rights(&rules.policy, proven, aside).await;
    let claims = &rights.claims;
    let mut refused = Vec::new();
    for cord in open {
        let Some(admission) = cord.admission() else { continue };
        let at = session.caller.standpoint(SystemTime::now());
        let by = Beside { threads: aside, pace: &session.pace, turn: &session.turn };
        let judged = gate.guard.judge_again(by, &rules, claims, &admission.permit, &at).await;
        if let Err(denial) = judged {
            cord.cut_for(denial.clone());
            refused.push((denial, Rc::clone(&admission.asked)));
        }
    }
    for (denial, asked) in refused {
        session.record_refused_later(claims, &denial, &asked).await;
    }
}
