//! Bounds what builtin functions make for one answer: within one the clock is not looked at, and one
//! call may make a thousand times what it is given.

use std::cell::Cell;

use regorus::unstable::{BUILTINS, Expr, Ref, Source, Span};
use regorus::{Engine, Value};

use super::error::Problem;

/// Bytes that the functions below may make for one answer, together. An input has some ten thousand.
const MADE_MAX: usize = 16 * 1024 * 1024;
/// Of what a list holds, for each entry.
const ENTRY_BYTES: usize = 16;
/// Of a piece of text that is cut out, at least.
const PIECE_BYTES: usize = 64;
/// Escaped as in JSON, a byte may take six.
const ESCAPED: usize = 6;
/// Encoded in one of the ways that there are, a byte takes three at most.
const ENCODED: usize = 3;
/// Whose answer may be much larger than what they are given.
const GROWING: [&str; 15] = [
    "array.concat",
    "base64.encode",
    "base64url.encode",
    "base64url.encode_no_pad",
    "concat",
    "hex.encode",
    "regex.find_all_string_submatch_n",
    "regex.find_n",
    "regex.replace",
    "regex.split",
    "replace",
    "split",
    "sprintf",
    "urlquery.encode",
    "walk",
];

thread_local! {
    /// An answer is made by one thread from beginning to end.
    static LEFT: Cell<usize> = const { Cell::new(MADE_MAX) };
}

/// A new answer begins on this thread.
pub(super) fn renew() {
    LEFT.set(MADE_MAX);
}

/// Puts the functions that these texts name behind the bound. The interpreter looks for extensions
/// before it looks for its own functions.
pub(super) fn bound(engine: &mut Engine, texts: &[&str]) {
    for name in GROWING {
        // However it is spelled, as in `array["concat"]`, its last part is there.
        let word = name.rsplit('.').next().unwrap_or(name);
        // In quotes it may be spelled by escapes.
        if !texts.iter().any(|text| text.contains(word) || text.contains("\\u")) {
            continue;
        }
        let Some((function, arity)) = BUILTINS.get(name) else { continue };
        let call = move |args: Vec<Value>| {
            if need(name, &args).is_none_or(|need| need > LEFT.get()) {
                anyhow::bail!(
                    "`{name}` makes more than {MADE_MAX} bytes, with what was made before"
                );
            }
            let (place, params) = place(*arity)?;
            let made = function(&place, &params, &args, true).map_err(|error| reason(&error))?;
            LEFT.set(LEFT.get().saturating_sub(size(&made)));
            Ok(made)
        };
        // It fails only for one that is there already.
        engine.add_extension(name.to_owned(), *arity, Box::new(call)).ok();
    }
}

/// Bytes that the answer takes at most; for a long one, more than there may be. `None` is too many.
fn need(name: &str, args: &[Value]) -> Option<usize> {
    let length = |at: usize| match args.get(at) {
        Some(Value::String(text)) => text.len(),
        _ => 0,
    };
    // Between any two letters, and at both ends.
    let cuts = |text: usize, by: usize| (length(text) / by.max(1)).checked_add(1);
    match name {
        "concat" => {
            let Some(parts) = args.get(1) else { return Some(0) };
            let (count, bytes) = match parts {
                Value::Array(parts) => (parts.len(), sum(parts.iter())?),
                Value::Set(parts) => (parts.len(), sum(parts.iter())?),
                _ => (0, 0),
            };
            length(0).checked_mul(count)?.checked_add(bytes)
        }
        "replace" => length(2).checked_mul(cuts(0, length(1))?)?.checked_add(length(0)),
        "regex.replace" => {
            // Each `$` may put in what was found, and what is found never overlaps.
            let groups = match args.get(2) {
                Some(Value::String(text)) => text.matches('$').count(),
                _ => 0,
            };
            let found = length(0).checked_mul(groups.checked_add(1)?)?;
            length(2).checked_mul(cuts(0, 1)?)?.checked_add(found)
        }
        "split" => cuts(0, length(1))?.checked_mul(PIECE_BYTES)?.checked_add(length(0)),
        "regex.split" => cuts(1, 1)?.checked_mul(PIECE_BYTES),
        "regex.find_n" => cuts(1, 1)?.checked_mul(PIECE_BYTES),
        "regex.find_all_string_submatch_n" => {
            let groups = match args.first() {
                Some(Value::String(pattern)) => pattern.matches('(').count(),
                _ => 0,
            };
            cuts(1, 1)?.checked_mul(PIECE_BYTES)?.checked_mul(groups.checked_add(2)?)
        }
        "sprintf" => {
            let mut room = MADE_MAX;
            args.iter().try_for_each(|arg| written(arg, &mut room))?;
            MADE_MAX.checked_sub(room)
        }
        "base64.encode"
        | "base64url.encode"
        | "base64url.encode_no_pad"
        | "hex.encode"
        | "urlquery.encode" => length(0).checked_mul(ENCODED),
        // What is shared is met each time, so few rules can make a tree that has no end.
        "walk" => {
            let mut room = MADE_MAX;
            args.iter().try_for_each(|arg| met(arg, &mut room))?;
            MADE_MAX.checked_sub(room)
        }
        _ => args.iter().map(size).try_fold(0, usize::checked_add),
    }
}

fn sum<'v>(mut values: impl Iterator<Item = &'v Value>) -> Option<usize> {
    values.try_fold(0, |sum: usize, value| match value {
        Value::String(text) => sum.checked_add(text.len()),
        _ => Some(sum),
    })
}

/// Takes what the value as text needs from `room`; `None` if that is not enough.
fn written(value: &Value, room: &mut usize) -> Option<()> {
    let own = match value {
        Value::String(text) => text.len().checked_mul(ESCAPED)?,
        Value::Number(number) if number.as_i64().is_none() => number.format_decimal().len(),
        _ => ENTRY_BYTES,
    };
    *room = room.checked_sub(own)?;
    each_below(value, room, written)
}

fn met(value: &Value, room: &mut usize) -> Option<()> {
    *room = room.checked_sub(ENTRY_BYTES)?;
    each_below(value, room, met)
}

fn each_below(
    value: &Value,
    room: &mut usize,
    see: fn(&Value, &mut usize) -> Option<()>,
) -> Option<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| see(item, room)),
        Value::Set(items) => items.iter().try_for_each(|item| see(item, room)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            see(key, room)?;
            see(value, room)
        }),
        _ => Some(()),
    }
}

/// Of what a function has made, which is text or a list.
fn size(made: &Value) -> usize {
    match made {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len().saturating_mul(ENTRY_BYTES),
        _ => ENTRY_BYTES,
    }
}

/// What the interpreter's own functions point at in an error. Where the call really stands, it adds.
fn place(arity: u8) -> anyhow::Result<(Span, Vec<Ref<Expr>>)> {
    let source = Source::from_contents("builtin".to_owned(), "it".to_owned())?;
    let span = Span { source, line: 1, col: 1, start: 0, end: 2 };
    let param = || Expr::Var { span: span.clone(), value: Value::Null, eidx: 0 };
    let params = (0..arity).map(|_| Ref::new(param())).collect();
    Ok((span, params))
}

/// Without the place, which is not that of the call.
fn reason(error: &anyhow::Error) -> anyhow::Error {
    anyhow::Error::msg(Problem::from_interpreter("", &error.to_string()).message)
}

#[cfg(test)]
mod tests;
