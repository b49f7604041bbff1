//! Tests and coverage for programs, in the documents that `opa test --format json` prints.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::pretty::ranges;
use crate::policy::{Case, Coverage, Outcome, Part, Report};

pub(super) fn results(report: &Report) -> anyhow::Result<String> {
    let cases: Vec<_> = report.cases.iter().map(case).collect();
    Ok(serde_json::to_string_pretty(&cases)?)
}

fn case(case: &Case) -> Value {
    let mut said = json!({
        "location": {"file": case.file, "row": case.line, "col": 1},
        "package": case.package,
        "name": case.name,
    });
    let mut add = |name: &str, value: Value| {
        if let Some(said) = said.as_object_mut() {
            said.insert(name.to_owned(), value);
        }
    };
    match &case.outcome {
        Outcome::Passed => {}
        Outcome::Skipped => add("skip", json!(true)),
        Outcome::Error(message) => {
            add("error", json!({"code": "eval_error", "message": message}));
        }
        Outcome::Failed { line } => {
            add("fail", json!(true));
            // Not in OPA's, whose readers pass over what they do not know.
            if let Some(line) = line {
                add("failed_at", json!({"row": line, "text": case.statement}));
            }
        }
    }
    add("duration", json!(u64::try_from(case.took.as_nanos()).unwrap_or(u64::MAX)));
    if !case.printed.is_empty() {
        let mut text = case.printed.join("\n");
        text.push('\n');
        add("output", json!(STANDARD.encode(text)));
    }
    if !case.parts.is_empty() {
        add("sub_results", tree(&case.parts));
    }
    said
}

/// The cases of one test, one in another.
fn tree(parts: &[Part]) -> Value {
    let mut root = json!({});
    for part in parts {
        let mut at = &mut root;
        for (level, name) in part.path.iter().enumerate() {
            if level > 0 {
                let Some(above) = at.as_object_mut() else { break };
                at = above.entry("sub_results").or_insert_with(|| json!({}));
            }
            let Some(siblings) = at.as_object_mut() else { break };
            at = siblings.entry(name.clone()).or_insert_with(|| json!({"name": name}));
            if let (false, Some(node)) = (part.passed, at.as_object_mut()) {
                node.insert("fail".to_owned(), json!(true));
            }
        }
    }
    root
}

pub(super) fn coverage(report: &Report) -> anyhow::Result<String> {
    let files: Map<_, _> =
        report.coverage.iter().map(|(name, file)| (name.clone(), one(file))).collect();
    let sum = |lines: fn(&Coverage) -> usize| report.coverage.values().map(lines).sum::<usize>();
    let said = json!({
        "files": files,
        "covered_lines": sum(|it| it.covered.len()),
        "not_covered_lines": sum(|it| it.not_covered.len()),
        "coverage": report.percent(),
    });
    Ok(serde_json::to_string_pretty(&said)?)
}

fn one(file: &Coverage) -> Value {
    json!({
        "covered": spans(&file.covered),
        "not_covered": spans(&file.not_covered),
        "covered_lines": file.covered.len(),
        "not_covered_lines": file.not_covered.len(),
        "coverage": file.percent(),
    })
}

fn spans(lines: &[u32]) -> Vec<Value> {
    let spans = ranges(lines).into_iter();
    spans.map(|(from, to)| json!({"start": {"row": from}, "end": {"row": to}})).collect()
}
