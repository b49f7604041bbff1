//! Every token and key that the suite uses, and the search for them wherever a sidecar speaks: its
//! log, its audit log, its metrics, its probes, its own answers, and what it hands to applications.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, Once, PoisonError};

use sidegate::secret::Secret;

/// So many characters of a secret are enough to know it by.
const SIGN: usize = 20;

static KNOWN: Mutex<BTreeMap<Vec<u8>, &str>> = Mutex::new(BTreeMap::new());
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// Lines about how calls go out, kept for good.
static SWITCHES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on this may appear nowhere. Gives it back, for whoever is to present it.
pub fn keep(what: &'static str, secret: &Secret) -> String {
    let text = secret.expose();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut know = |part: &str| {
        let sign = part.get(part.len().saturating_sub(SIGN)..).unwrap_or(part);
        assert_eq!(sign.len(), SIGN, "too short to be searched for");
        known.insert(sign.as_bytes().to_vec(), what);
    };
    match text.rsplit_once('.') {
        // Either half would do to whoever finds it: the signature with the rest known, too.
        Some((signed, signature)) if text.matches('.').count() == 2 => {
            know(signed);
            know(signature);
        }
        // PEM, line by line, without its first and last.
        _ if text.contains("-----BEGIN") => {
            let lines = text.lines().filter(|line| line.len() > 40 && !line.contains("-----"));
            lines.for_each(know);
        }
        _ => know(text),
    }
    text.to_owned()
}

/// Fails if any of them stands in `text`.
pub fn none_in(place: &str, text: &[u8]) {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    // Only runs of the characters that tokens and keys are written in can hold one.
    let of_secrets = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/=.".contains(byte);
    let runs = text.split(|byte| !of_secrets(byte)).filter(|run| run.len() >= SIGN);
    for run in runs {
        if let Some(what) = run.windows(SIGN).find_map(|window| known.get(window)) {
            let shown = String::from_utf8_lossy(text);
            panic!("{what} stands in {place}: {}", shown.chars().take(2_000).collect::<String>());
        }
    }
}

/// What every sidecar of this process has logged since the last look, at the finest level that the
/// configuration knows. Looked at and let go.
pub fn none_in_the_log() {
    let log = std::mem::take(&mut *LOG.lock().unwrap_or_else(PoisonError::into_inner));
    none_in("the log", &log);
}

/// Keeps the log of all sidecars of this process.
pub fn keep_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter("warn,sidegate=trace")
            .with_ansi(false)
            .with_writer(|| Kept)
            .try_init()
            .ok();
    });
}

/// What was logged of how the calls of this listener go out. Logs are one for all worlds of this
/// process, so its name has to be its own.
pub fn switches(listener: &str) -> Vec<String> {
    let lines = SWITCHES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.contains(listener)).cloned().collect()
}

struct Kept;

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        if text.contains("calls go out by") || text.contains("calls cannot go out") {
            SWITCHES.lock().unwrap_or_else(PoisonError::into_inner).push(text.into_owned());
        }
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmb3IgdGhlIHNlYXJjaCJ9.the-signature-of-a-token";
    keep("a token for the search", &Secret::new(token.to_owned()));
    let signed = token.rsplit_once('.').unwrap().0;
    for text in [
        token,
        signed,
        "…the-signature-of-a-token",
        "{\"x\":\"Bearer\t…zdWIiOiJmb3IgdGhlIHNlYXJjaCJ9\"}",
    ] {
        let found = std::panic::catch_unwind(|| none_in("a text", text.as_bytes()));
        assert!(found.is_err(), "{text}");
    }
    none_in("a text", b"nothing of the kind");
}
