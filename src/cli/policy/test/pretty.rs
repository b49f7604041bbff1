//! Tests and coverage for people, worded as `opa test` words them.

use std::fmt::Write as _;

use crate::policy::{Case, Coverage, Outcome, Part, Report};

const RULER: usize = 80;

pub(super) fn report(report: &Report, verbose: bool) -> String {
    let mut text = String::new();
    for case in &report.cases {
        if verbose || case.outcome != Outcome::Passed {
            one(&mut text, case, verbose);
        }
    }
    if !text.is_empty() {
        line(&mut text, &"-".repeat(RULER));
    }
    counts(&mut text, report);
    if !report.coverage.is_empty() {
        coverage(&mut text, report);
    }
    text
}

/// Writing to a string does not fail.
fn line(text: &mut String, said: &str) {
    text.push_str(said);
    text.push('\n');
}

pub(super) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "PASS",
        Outcome::Failed { .. } => "FAIL",
        Outcome::Error(_) => "ERROR",
        Outcome::Skipped => "SKIPPED",
    }
}

fn one(text: &mut String, case: &Case, verbose: bool) {
    let Case { package, name, file, outcome, .. } = case;
    line(text, &format!("{file}:{}:", case.line));
    if *outcome == Outcome::Skipped {
        return line(text, &format!("{package}.{name}: SKIPPED"));
    }
    line(text, &format!("{package}.{name}: {} ({:?})", word(outcome), case.took));
    parts(text, &case.parts, verbose);
    if let Some(why) = why(case) {
        line(text, &format!("  {why}"));
    }
    if !case.printed.is_empty() {
        text.push('\n');
        for printed in &case.printed {
            line(text, &format!("  {printed}"));
        }
        text.push('\n');
    }
}

/// What is known of why a test is not good.
pub(super) fn why(case: &Case) -> Option<String> {
    let file = &case.file;
    match (&case.outcome, &case.statement) {
        (Outcome::Error(message), _) => Some(message.clone()),
        (Outcome::Failed { line: Some(line) }, Some(statement)) => {
            Some(format!("{file}:{line}: not true: {statement}"))
        }
        (Outcome::Failed { line: Some(line) }, None) => Some(format!("{file}:{line}: not true")),
        _ => None,
    }
}

fn parts(text: &mut String, parts: &[Part], verbose: bool) {
    let mut above: &[String] = &[];
    for part in parts.iter().filter(|part| verbose || !part.passed) {
        let known = above.iter().zip(&part.path).take_while(|(one, other)| one == other).count();
        for (level, name) in part.path.iter().enumerate().skip(known) {
            let begins = |it: &&Part| it.path.get(..=level) == part.path.get(..=level);
            let good = parts.iter().filter(begins).all(|it| it.passed);
            let indent = "  ".repeat(level + 1);
            line(text, &format!("{indent}{name}: {}", if good { "PASS" } else { "FAIL" }));
        }
        above = &part.path;
    }
}

/// A test with cases counts as often as it has some.
fn counts(text: &mut String, report: &Report) {
    let ends: Vec<&'static str> = report.cases.iter().flat_map(ends).collect();
    for wanted in ["PASS", "FAIL", "ERROR", "SKIPPED"] {
        let some = ends.iter().filter(|end| **end == wanted).count();
        if some > 0 {
            line(text, &format!("{wanted}: {some}/{}", ends.len()));
        }
    }
}

fn ends(case: &Case) -> Vec<&'static str> {
    if case.parts.is_empty() {
        return vec![word(&case.outcome)];
    }
    case.parts.iter().map(|part| if part.passed { "PASS" } else { "FAIL" }).collect()
}

fn coverage(text: &mut String, report: &Report) {
    let wide = report.coverage.keys().map(String::len).max().unwrap_or_default();
    line(text, "");
    for (file, coverage) in &report.coverage {
        let Coverage { not_covered, .. } = coverage;
        let mut said = format!("{file:wide$}  {:6.2}%", coverage.percent());
        if !not_covered.is_empty() {
            let ranges = ranges(not_covered).into_iter().map(|(from, to)| {
                if from == to { from.to_string() } else { format!("{from}-{to}") }
            });
            let ranges: Vec<_> = ranges.collect();
            // Writing to a string does not fail.
            write!(said, "  not covered: {}", ranges.join(", ")).ok();
        }
        line(text, &said);
    }
    line(text, &format!("{:wide$}  {:6.2}%", "all", report.percent()));
}

/// Lines that follow one another, together.
pub(super) fn ranges(lines: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(*line) => *to = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    ranges
}
