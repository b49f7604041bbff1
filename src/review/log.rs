//! Reads an audit log down to the distinct facts on which its decisions rested.
//!
//! A log of millions of lines tells of few identities and few routes. Each text is kept once, and
//! each set of facts once, with how often and when it came.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use memchr::{memchr_iter, memrchr};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::facts::{Fact, Tally, Texts, Wanted, instant};
use super::line::{Line, Text};

/// Longer lines are not ours: each of their values is cut at 2 KiB.
const LINE_MAX: usize = 64 * 1024;
const PART_BYTES: usize = 1024 * 1024;
/// Sets of facts that are held at most.
const FACTS_MAX: usize = 4_000_000;
/// Lines that could not be read, as far as they are named.
const NAMED_MAX: usize = 5;

/// When: from the first to before the second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    pub since: Option<SystemTime>,
    pub until: Option<SystemTime>,
}

/// What a log comes to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) texts: Texts,
    pub(super) facts: HashMap<Fact, Tally>,
    pub(super) lines: u64,
    pub(super) malformed: u64,
    pub(super) first_malformed: Vec<u64>,
    /// Lines that say nothing about this, by what they are.
    pub(super) passed_over: BTreeMap<&'static str, u64>,
    /// There were more sets of facts than are held.
    pub(super) is_full: bool,
}

/// Finds routes by configuration: place, and route in it, each from 1; 0 where it is not known.
pub(super) trait Routing: Sync {
    fn find(&self, line: &Line<'_>) -> (u32, u32);
}

/// Reads all of `logs`, one after the other, on all cores.
pub(super) fn read(
    logs: &mut [Box<dyn Read + '_>],
    span: Span,
    wanted: Wanted,
    routing: &dyn Routing,
) -> io::Result<Reading> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (send, receive) = sync_channel::<(u64, Vec<u8>)>(threads * 2);
    let receive = Mutex::new(receive);
    let work = || {
        let mut reading = Reading::default();
        while let Some((line, part)) = next(&receive) {
            reading.part(line, &part, span, wanted, routing);
        }
        reading
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut line = 1;
        let outcome = logs.iter_mut().try_for_each(|log| parts(log.as_mut(), &mut line, &send));
        drop(send);
        let mut whole = Reading::default();
        for thread in running {
            let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            whole.merge(part);
        }
        outcome.map(|()| whole)
    })
}

fn next(receive: &Mutex<Receiver<(u64, Vec<u8>)>>) -> Option<(u64, Vec<u8>)> {
    receive.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Cuts a log at line ends. What has none for too long is passed on as one line that is too long.
fn parts(log: &mut dyn Read, line: &mut u64, send: &SyncSender<(u64, Vec<u8>)>) -> io::Result<()> {
    let mut rest: Vec<u8> = Vec::new();
    let mut skipping = false;
    loop {
        let mut part = std::mem::take(&mut rest);
        let had = part.len();
        part.reserve(PART_BYTES);
        let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
        let is_end = (&mut *log).take(limit).read_to_end(&mut part)? == 0;
        if skipping && had == 0 {
            // Inside a line that was counted already.
            match part.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    part.drain(..=end);
                    *line += 1;
                    skipping = false;
                }
                None => part.clear(),
            }
        }
        match memrchr(b'\n', &part) {
            Some(end) => rest = part.split_off(end + 1),
            None if !is_end && part.len() <= LINE_MAX => {
                rest = part;
                continue;
            }
            None if !is_end => skipping = true,
            None => {}
        }
        if part.is_empty() {
            if is_end {
                return Ok(());
            }
            continue;
        }
        let ends = u64::try_from(memchr_iter(b'\n', &part).count()).unwrap_or(u64::MAX);
        let first = *line;
        *line += ends;
        if is_end && !part.ends_with(b"\n") && !skipping {
            *line += 1;
        }
        // They end only together with this loop.
        send.send((first, part)).ok();
    }
}

impl Reading {
    fn part(&mut self, first: u64, part: &[u8], span: Span, wanted: Wanted, routing: &dyn Routing) {
        for (number, line) in (first..).zip(part.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            self.lines += 1;
            if line.len() > LINE_MAX {
                self.is_malformed(number);
                continue;
            }
            match serde_json::from_slice::<Line<'_>>(line) {
                Ok(line) => match milliseconds(&line.time) {
                    Some(time) => self.line(&line, time, span, wanted, routing),
                    None => self.is_malformed(number),
                },
                Err(_) if is_foreign(line) => self.pass_over("no audit line of ours"),
                Err(_) => self.is_malformed(number),
            }
        }
    }

    fn line(
        &mut self,
        line: &Line<'_>,
        time: i64,
        span: Span,
        wanted: Wanted,
        routing: &dyn Routing,
    ) {
        let at = instant(time);
        if span.since.is_some_and(|since| at < since) || span.until.is_some_and(|to| at >= to) {
            return self.pass_over("outside the span of time");
        }
        if line.direction.0 != "inbound" {
            return self.pass_over("on the way out");
        }
        if line.shadow.as_ref().is_some_and(|shadow| shadow.late) {
            return self.pass_over("a shadow policy's answer that came later");
        }
        if line.again {
            return self.pass_over("the end of what was let in before");
        }
        let allowed = match &*line.decision.0 {
            "allow" => true,
            "deny" => false,
            _ => return self.pass_over("an unknown kind of decision"),
        };
        let fact = self.fact(line, allowed, time, wanted, routing.find(line));
        if let Some(tally) = self.facts.get_mut(&fact) {
            tally.count += 1;
            if time < tally.first {
                tally.first = time;
                tally.request_id = text(line.request_id.as_ref()).unwrap_or_default().into();
            }
            tally.last = tally.last.max(time);
            return;
        }
        if self.facts.len() >= FACTS_MAX {
            self.is_full = true;
            return;
        }
        let request_id = text(line.request_id.as_ref()).unwrap_or_default().into();
        self.facts.insert(fact, Tally { count: 1, first: time, last: time, request_id });
    }

    fn fact(
        &mut self,
        line: &Line<'_>,
        allowed: bool,
        time: i64,
        wanted: Wanted,
        (place, found): (u32, u32),
    ) -> Fact {
        let texts = &mut self.texts;
        let mut keep = |of: &Option<Text<'_>>| texts.keep(text(of.as_ref()));
        let source = &line.source;
        // By configuration the route is found already.
        let path = wanted.path;
        let address = text(source.address.as_ref()).map(without_port);
        let mut fact = Fact {
            spiffe_id: keep(&source.spiffe_id),
            issuer: keep(&source.issuer),
            subject: keep(&source.subject),
            by: keep(&source.method),
            local: keep(&line.local),
            listener: keep(&line.listener),
            minute: u32::try_from(if wanted.minute { time / 60_000 } else { 0 }).unwrap_or(0),
            address: 0,
            token: if wanted.token { keep(&source.token) } else { 0 },
            serial: if wanted.serial { keep(&source.serial) } else { 0 },
            protocol: 0,
            method: if path { keep(&line.method) } else { 0 },
            path: if path { keep(&line.path) } else { 0 },
            route: keep(&line.route),
            required: keep(&line.required_scopes),
            tenant: keep(&line.tenant),
            held: keep(&line.held_scopes),
            revision: keep(&line.policy_revision),
            reason: 0,
            place,
            found,
            allowed,
            cross_tenant: line.cross_tenant,
        };
        fact.protocol = texts.keep(Some(&line.protocol.0));
        fact.reason = texts.keep(Some(&line.reason.0));
        fact.address = texts.keep(address.filter(|_| wanted.address));
        fact
    }

    fn is_malformed(&mut self, number: u64) {
        self.malformed += 1;
        if self.first_malformed.len() < NAMED_MAX {
            self.first_malformed.push(number);
        }
    }

    fn pass_over(&mut self, what: &'static str) {
        *self.passed_over.entry(what).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.lines += other.lines;
        self.malformed += other.malformed;
        self.is_full |= other.is_full;
        self.first_malformed.extend(other.first_malformed);
        self.first_malformed.sort_unstable();
        self.first_malformed.truncate(NAMED_MAX);
        for (what, count) in other.passed_over {
            *self.passed_over.entry(what).or_default() += count;
        }
        if self.facts.is_empty() {
            self.texts = other.texts;
            self.facts = other.facts;
            return;
        }
        let ids = self.texts.adopt(&other.texts);
        for (fact, tally) in other.facts {
            let fact = fact.renamed(&ids);
            match self.facts.get_mut(&fact) {
                Some(known) => known.add(&tally),
                None => drop(self.facts.insert(fact, tally)),
            }
        }
    }
}

pub(super) fn text<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
    text.map(|text| &*text.0)
}

/// `10.1.2.3:40112` and `[::1]:40112`.
fn without_port(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn milliseconds(time: &Text<'_>) -> Option<i64> {
    let time = OffsetDateTime::parse(&time.0, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// A JSON object, but not with our fields: a log may be mixed with those of other programs.
fn is_foreign(line: &[u8]) -> bool {
    let object = serde_json::from_slice::<BTreeMap<String, serde::de::IgnoredAny>>(line);
    object
        .is_ok_and(|object| !object.contains_key("request_id") && !object.contains_key("decision"))
}

#[cfg(test)]
mod tests;
