//! Tests for build servers, as JUnit writes them: one suite a package.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pretty::why;
use crate::policy::{Case, Outcome, Report};

pub(super) fn report(report: &Report) -> String {
    let mut packages: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in &report.cases {
        packages.entry(&case.package).or_default().push(case);
    }
    let all: Vec<_> = report.cases.iter().collect();
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    text.push_str(&format!("<testsuites{}>\n", counts(&all)));
    for (package, cases) in packages {
        let name = escaped(package);
        text.push_str(&format!("  <testsuite name=\"{name}\"{}>\n", counts(&cases)));
        for case in cases {
            one(&mut text, case);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn counts(cases: &[&Case]) -> String {
    let count =
        |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
    format!(
        " tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        count(|it| matches!(it, Outcome::Failed { .. })),
        count(|it| matches!(it, Outcome::Error(_))),
        count(|it| matches!(it, Outcome::Skipped)),
        seconds(cases.iter().map(|case| case.took).sum()),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

fn one(text: &mut String, case: &Case) {
    let (package, name, file) = (escaped(&case.package), escaped(&case.name), escaped(&case.file));
    text.push_str(&format!(
        "    <testcase classname=\"{package}\" name=\"{name}\" file=\"{file}\" line=\"{}\" \
         time=\"{}\">\n",
        case.line,
        seconds(case.took),
    ));
    let why = escaped(&why(case).unwrap_or_default());
    match &case.outcome {
        Outcome::Passed => {}
        Outcome::Skipped => text.push_str("      <skipped/>\n"),
        Outcome::Error(_) => text.push_str(&format!("      <error message=\"{why}\"/>\n")),
        Outcome::Failed { .. } => {
            let broken = case.parts.iter().filter(|part| !part.passed);
            let broken: Vec<_> = broken.map(|part| escaped(&part.path.join("/"))).collect();
            text.push_str(&format!(
                "      <failure message=\"{why}\">{}</failure>\n",
                broken.join("\n")
            ));
        }
    }
    if !case.printed.is_empty() {
        let printed = escaped(&case.printed.join("\n"));
        text.push_str(&format!("      <system-out>{printed}</system-out>\n"));
    }
    text.push_str("    </testcase>\n");
}

/// What XML 1.0 cannot hold, not even escaped, is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other if other.is_control() && other < ' ' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
