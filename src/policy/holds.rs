//! What answers depend on, and for how long they are kept because of it.

use super::error::Problem;
use super::walk::Reference;

/// What answers depend on, beside who asks and who is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub time: bool,
    pub address: bool,
    pub local: bool,
    /// What no audit line holds of a request: its headers, query and host.
    pub unlogged: bool,
}

/// What the answers of one entry point depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryReads {
    /// As in `data.sidegate.global.grant`.
    pub name: &'static str,
    /// Fields of the input that its rules read, and those that they use: sorted, as in
    /// `input.peer.spiffe_id`. A field stands for all that is below it.
    pub input: Vec<String>,
    /// Its first definition.
    pub place: Problem,
    pub(super) holds: Holds,
}

/// For how long an answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Request,
    Identity(Reads),
}

impl EntryReads {
    /// For whom and how long an answer is kept: until the policy changes, unless it says otherwise.
    pub fn holds(&self) -> &'static str {
        match self.holds {
            Holds::Request => "for one request",
            Holds::Identity(Reads { time: false, address: false, .. }) => "for an identity",
            Holds::Identity(Reads { time: true, address: false, .. }) => {
                "for an identity, until the minute ends"
            }
            Holds::Identity(Reads { time: false, address: true, .. }) => {
                "for an identity at one address"
            }
            Holds::Identity(Reads { time: true, address: true, .. }) => {
                "for an identity at one address, until the minute ends"
            }
        }
    }
}

impl Reads {
    pub(super) fn note(&mut self, reads: &[Reference]) {
        for read in reads {
            let mut parts = read.path.parts.iter().skip(1).map(String::as_str);
            match (parts.next(), parts.next()) {
                // The whole input, or a part of it that is only known later.
                (None, _) => {
                    *self = Self { time: true, address: true, local: true, unlogged: true };
                }
                (Some("time"), _) => self.time = true,
                (Some("peer"), None | Some("address")) => self.address = true,
                (Some("local"), _) => self.local = true,
                (Some("request"), None | Some("headers" | "host" | "query")) => {
                    self.unlogged = true;
                }
                _ => {}
            }
        }
    }
}
