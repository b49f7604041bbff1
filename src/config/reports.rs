//! `decision_log` and `status`: what is told to OPA's collectors.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::file_reports::{DecisionLogFile, StatusFile};
use super::problems::{Problems, Wrong, shown};
use super::reading::{Surroundings, period_within};
use super::token_values;
use super::tree::Place;
use super::values;
use crate::opa::{LogSettings, ReportSettings, StatusSettings};

const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const EVERY_HINT: &str = "from 1s to 1h";
/// One event alone may take a few KiB.
const UPLOAD: RangeInclusive<usize> = 4 * 1024..=16 * 1024 * 1024;
const BUFFER: RangeInclusive<usize> = 64 * 1024..=1024 * 1024 * 1024;
const LABEL_MAX: usize = 256;
/// Ours; what they say must be true.
const RESERVED: [&str; 2] = ["id", "version"];

/// `Some(None)` where nothing is said, `None` where something is wrong.
pub(super) fn decision_log(
    file: Option<&DecisionLogFile>,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Option<LogSettings>> {
    let Some(file) = file else { return (!at.is_faulty()).then_some(None) };
    let server = Server {
        url: file.url.as_deref(),
        ca: file.ca.as_deref(),
        token_file: file.token_file.as_deref(),
        danger: file.danger_token_readable_by_others,
    };
    let to = server.read(at, around, problems);
    let labels = labels(file.labels.as_deref(), &at.key("labels"), problems);
    let every =
        period_within(file.every.as_deref(), &at.key("every"), &EVERY, EVERY_HINT, problems);
    let upload_max = size(file.upload.as_deref(), &at.key("upload"), &UPLOAD, problems);
    let buffer_max = size(file.buffer.as_deref(), &at.key("buffer"), &BUFFER, problems);
    let (upload_max, buffer_max) = (upload_max?, buffer_max?);
    if upload_max > buffer_max {
        at.key("upload").report(problems, "is larger than `buffer`", "make `buffer` the larger");
        return None;
    }
    Some(Some(LogSettings { to: to?, labels: labels?, every: every?, upload_max, buffer_max }))
}

/// As [`decision_log`].
pub(super) fn status(
    file: Option<&StatusFile>,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Option<StatusSettings>> {
    let Some(file) = file else { return (!at.is_faulty()).then_some(None) };
    let server = Server {
        url: file.url.as_deref(),
        ca: file.ca.as_deref(),
        token_file: file.token_file.as_deref(),
        danger: file.danger_token_readable_by_others,
    };
    let to = server.read(at, around, problems);
    let labels = labels(file.labels.as_deref(), &at.key("labels"), problems);
    let every =
        period_within(file.every.as_deref(), &at.key("every"), &EVERY, EVERY_HINT, problems);
    Some(Some(StatusSettings { to: to?, labels: labels?, every: every? }))
}

/// What both say of the server.
struct Server<'a> {
    url: Option<&'a str>,
    ca: Option<&'a str>,
    token_file: Option<&'a str>,
    danger: Option<bool>,
}

impl Server<'_> {
    fn read(
        &self,
        at: &Place<'_>,
        around: &Surroundings<'_>,
        problems: &mut Problems,
    ) -> Option<ReportSettings> {
        let url =
            self.url.and_then(|url| at.key("url").accept(problems, token_values::https_url(url)));
        let roots = around.roots(self.ca, at, problems);
        let place = at.key("token_file");
        let token_file = match self.token_file {
            Some(_) => around.secret_file(self.token_file, self.danger, &place, problems).map(Some),
            None if place.is_faulty() => None,
            None if self.danger == Some(true) => {
                let hint = "add `token_file`, or remove it";
                let at = at.key("danger_token_readable_by_others");
                at.report(problems, "means nothing without `token_file`", hint);
                None
            }
            None => Some(None),
        };
        Some(ReportSettings { url: url?, roots: roots?, token_file: token_file? })
    }
}

fn labels(
    list: Option<&[Option<String>]>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut sound = !at.is_faulty();
    for (index, text) in list.unwrap_or_default().iter().enumerate() {
        let at = at.item(index);
        let Some((name, value)) = text.as_deref().and_then(|text| at.accept(problems, label(text)))
        else {
            sound = false;
            continue;
        };
        if labels.insert(name.clone(), value).is_some() {
            let message = format!("{} is given twice", shown(&name));
            at.report(problems, message, "remove one of the two");
            sound = false;
        }
    }
    sound.then_some(labels)
}

fn label(text: &str) -> Result<(String, String), Wrong> {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | '/');
    let hint = "write `name=value`, such as `app=orders`";
    match text.split_once('=') {
        Some((name, _)) if RESERVED.contains(&name) => {
            let message = format!("{} is said by Sidegate itself", shown(name));
            Err(Wrong::new(message, "choose another name"))
        }
        Some((name, value))
            if !name.is_empty()
                && name.chars().all(plain)
                && text.len() <= LABEL_MAX
                && !value.chars().any(char::is_control) =>
        {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(Wrong::new(format!("{} is not a label", shown(text)), hint)),
    }
}

fn size(
    text: Option<&str>,
    at: &Place<'_>,
    bounds: &RangeInclusive<usize>,
    problems: &mut Problems,
) -> Option<usize> {
    let text = text?;
    let size = at.accept(problems, values::size(text))?;
    if !bounds.contains(&size) {
        let hint = format!("from {}KiB to {}MiB", bounds.start() >> 10, bounds.end() >> 20);
        at.report(problems, format!("{} is out of range", shown(text)), hint);
        return None;
    }
    Some(size)
}
