//! The digest of a JSON document as OPA's signatures count it: without white space, names sorted.
//!
//! Numbers count as they are written, so a reader that turns them into numbers will not do. Names
//! that stand twice are refused: of two readers one might take the first and one the last, and what
//! was signed would not be what is in force.

use std::collections::BTreeMap;

use aws_lc_rs::digest::Context;

/// Nesting of a whole document.
const DEPTH_MAX: usize = 64;

/// What a document says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// `null`, `true`, `false` or a number, as it is written.
    Literal(String),
    Text(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

/// The whole of a text; `None` if it is not one JSON document, or beyond a bound.
pub(super) fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { text, at: 0 };
    let json = reader.value(DEPTH_MAX)?;
    reader.space();
    (reader.at == text.len()).then_some(json)
}

/// Objects as `{"a":…,"b":…}` with names in the order of their bytes, arrays as `[…,…]`.
pub(super) fn digest(json: &Json, context: &mut Context) {
    match json {
        Json::Literal(text) => context.update(text.as_bytes()),
        Json::Text(text) => context.update(quoted(text).as_bytes()),
        Json::Array(items) => {
            context.update(b"[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    context.update(b",");
                }
                digest(item, context);
            }
            context.update(b"]");
        }
        Json::Object(members) => {
            context.update(b"{");
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    context.update(b",");
                }
                context.update(quoted(name).as_bytes());
                context.update(b":");
                digest(value, context);
            }
            context.update(b"}");
        }
    }
}

/// As Go writes it without escapes for HTML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        match self.peek()? {
            b'{' => self.object(depth.checked_sub(1)?),
            b'[' => self.array(depth.checked_sub(1)?),
            b'"' => self.string().map(Json::Text),
            _ => self.literal(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take(b'{')?;
        let mut members = BTreeMap::new();
        if self.take(b'}').is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.take(b':')?;
            let value = self.value(depth)?;
            if members.insert(name, value).is_some() {
                return None;
            }
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(Json::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.take(b'[')?;
        let mut items = Vec::new();
        if self.take(b']').is_some() {
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.take(b',').is_none() {
                self.take(b']')?;
                return Some(Json::Array(items));
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let rest = self.rest();
        let inner = rest.strip_prefix('"')?;
        let mut escaped = false;
        let end = inner.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let whole = rest.get(..end + 2)?;
        self.at += whole.len();
        serde_json::from_str(whole).ok()
    }

    fn literal(&mut self) -> Option<Json> {
        let rest = self.rest();
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
        let end = rest.bytes().position(ends).unwrap_or(rest.len());
        let literal = rest.get(..end)?;
        let known = matches!(literal, "null" | "true" | "false") || is_number(literal);
        self.at += literal.len();
        known.then(|| Json::Literal(literal.to_owned()))
    }
}

/// RFC 8259 section 6, of whatever size.
fn is_number(text: &str) -> bool {
    fn digits(text: &str) -> Option<&str> {
        let rest = text.trim_start_matches(|it: char| it.is_ascii_digit());
        (rest.len() < text.len()).then_some(rest)
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let Some(mut rest) = unsigned.strip_prefix('0').or_else(|| digits(unsigned)) else {
        return false;
    };
    if let Some(fraction) = rest.strip_prefix('.') {
        let Some(after) = digits(fraction) else { return false };
        rest = after;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let Some(after) = digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests;
