//! How an audit line is written. Every request waits for one, so by hand: names and punctuation in
//! one piece, and values as they are unless something in them has to be escaped. What comes out is
//! what serde makes of the same fields, which the tests hold it against.

use std::sync::Arc;

use super::super::Rfc3339;
use super::record::{Record, Shadow, Source};

/// Longer values are cut: a caller chooses the path, and must not choose how much we store.
const LONGEST_TEXT: usize = 2048;

/// A line in the making, at the end of others.
struct Line<'a>(&'a mut Vec<u8>);

impl Record<'_> {
    /// Appends the line with its newline; takes back what it wrote if that fails.
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let start = bytes.len();
        let written = Line(bytes).record(self);
        if written.is_err() {
            bytes.truncate(start);
        }
        written
    }
}

impl Line<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<(), serde_json::Error> {
        // By name, so that a field that is new is not forgotten here.
        let Record {
            time,
            request_id,
            direction,
            listener,
            protocol,
            decision,
            reason,
            detail,
            source,
            destination,
            local,
            tenant,
            cross_tenant,
            route,
            required_scopes,
            held_scopes,
            roles,
            method,
            path,
            policy_revision,
            again,
            shadow,
        } = record;
        self.raw("{\"time\":\"");
        self.raw(Rfc3339(*time).text().as_str());
        self.raw("\",\"request_id\":");
        self.text(request_id)?;
        self.raw(",\"direction\":\"");
        self.raw(direction.as_str());
        self.raw("\",\"listener\":");
        self.text(listener)?;
        self.raw(",\"protocol\":\"");
        self.raw(protocol.as_str());
        self.raw("\",\"decision\":\"");
        self.raw(decision.as_str());
        self.raw("\",\"reason\":");
        self.text(reason)?;
        self.raw(",\"detail\":");
        self.maybe(*detail)?;
        self.source(source)?;
        self.raw(",\"destination\":");
        self.maybe(*destination)?;
        self.raw(",\"local\":");
        self.maybe(*local)?;
        self.raw(",\"tenant\":");
        self.maybe(*tenant)?;
        self.raw(match cross_tenant {
            true => ",\"cross_tenant\":true,\"route\":",
            false => ",\"cross_tenant\":false,\"route\":",
        });
        self.maybe(*route)?;
        self.raw(",\"required_scopes\":");
        self.maybe(*required_scopes)?;
        self.raw(",\"held_scopes\":");
        self.maybe(*held_scopes)?;
        self.roles(roles)?;
        self.raw(",\"method\":");
        self.maybe(*method)?;
        self.raw(",\"path\":");
        self.maybe(*path)?;
        self.raw(",\"policy_revision\":");
        self.maybe(*policy_revision)?;
        if *again {
            self.raw(",\"again\":true");
        }
        if let Some(shadow) = shadow {
            self.shadow(shadow)?;
        }
        self.raw("}\n");
        Ok(())
    }

    fn source(&mut self, source: &Source<'_>) -> Result<(), serde_json::Error> {
        let Source { spiffe_id, trust_domain, method, subject, issuer, token, address, serial } =
            source;
        self.raw(",\"source\":{\"spiffe_id\":");
        self.maybe(*spiffe_id)?;
        self.raw(",\"trust_domain\":");
        self.maybe(*trust_domain)?;
        self.raw(",\"method\":");
        self.maybe(*method)?;
        self.raw(",\"subject\":");
        self.maybe(*subject)?;
        self.raw(",\"issuer\":");
        self.maybe(*issuer)?;
        self.raw(",\"token\":");
        self.maybe(*token)?;
        self.raw(",\"address\":");
        self.maybe(*address)?;
        self.raw(",\"serial\":");
        self.maybe(*serial)?;
        self.raw("}");
        Ok(())
    }

    fn roles(&mut self, roles: &[Arc<str>]) -> Result<(), serde_json::Error> {
        self.raw(",\"roles\":[");
        let mut between = "";
        for role in roles {
            self.raw(between);
            self.text(role)?;
            between = ",";
        }
        self.raw("]");
        Ok(())
    }

    fn shadow(&mut self, shadow: &Shadow<'_>) -> Result<(), serde_json::Error> {
        let Shadow { decision, reason, detail, policy_revision, late } = shadow;
        self.raw(",\"shadow\":{\"decision\":\"");
        self.raw(decision.as_str());
        self.raw("\",\"reason\":");
        self.text(reason)?;
        self.raw(",\"detail\":");
        self.maybe(*detail)?;
        self.raw(",\"policy_revision\":");
        self.text(policy_revision)?;
        if *late {
            self.raw(",\"late\":true");
        }
        self.raw("}");
        Ok(())
    }

    fn maybe(&mut self, value: Option<&str>) -> Result<(), serde_json::Error> {
        match value {
            Some(value) => self.text(value),
            None => {
                self.raw("null");
                Ok(())
            }
        }
    }

    fn text(&mut self, value: &str) -> Result<(), serde_json::Error> {
        if value.len() > LONGEST_TEXT || has_to_be_escaped(value) {
            return self.escaped(value);
        }
        self.raw("\"");
        self.raw(value);
        self.raw("\"");
        Ok(())
    }

    #[cold]
    fn escaped(&mut self, value: &str) -> Result<(), serde_json::Error> {
        if value.len() <= LONGEST_TEXT {
            return serde_json::to_writer(&mut *self.0, value);
        }
        let end = (0..=LONGEST_TEXT).rev().find(|end| value.is_char_boundary(*end));
        let beginning = value.get(..end.unwrap_or_default()).unwrap_or_default();
        // And a sign that there was more.
        serde_json::to_writer(&mut *self.0, &format!("{beginning}…"))
    }

    #[inline(always)]
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Eight bytes at a time, as serde does not: most values are short, and have nothing of the sort.
fn has_to_be_escaped(value: &str) -> bool {
    let (words, rest) = value.as_bytes().as_chunks();
    let found = words.iter().fold(0, |found, word| found | specials(u64::from_ne_bytes(*word)));
    let special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    found != 0 || rest.iter().any(special)
}

/// Not zero if one of the bytes is a control character, a quotation mark or a backslash.
fn specials(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // The highest bit of some byte stays only if one is less than `least`, which is at most 128.
    let less = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word;
    let is = |byte: u8| less(word ^ (EACH * u64::from(byte)), 1);
    (less(word, b' ') | is(b'"') | is(b'\\')) & (EACH * 128)
}
