//! The pages for people: what they show of a configuration is accepted, and no code or metric is
//! missing in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sidegate::token::TokenError;
use sidegate::{config, proxy};

#[test]
fn every_code_of_an_answer_and_of_a_handshake_is_explained() {
    let page = page("docs/errors.md");
    let codes = proxy::OUTCOMES.iter().chain(proxy::HANDSHAKE_CODES.iter());
    let missing: Vec<_> =
        codes.filter(|code| **code != "allowed" && !page.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:?}");
}

#[test]
fn every_reason_to_refuse_a_token_is_explained() {
    let page = page("docs/machine-tokens.md");
    let missing: Vec<_> = TokenError::ALL_CODES
        .into_iter()
        .filter(|code| !page.contains(&format!("\n| `{code}` |")))
        .collect();
    assert!(missing.is_empty(), "not in docs/machine-tokens.md: {missing:?}");
}

#[test]
fn every_remark_of_policy_check_is_explained() {
    let explained = page("docs/security-team.md");
    let lint = ["lint.rs", "lint/answers.rs", "lint/data.rs", "lint/fields.rs", "lint/look.rs"];
    let others = ["src/policy/lint/rules.rs", "src/review/check.rs", "src/cli/policy/check.rs"];
    let files = lint.map(|file| format!("src/policy/{file}"));
    let sources: String = files.iter().map(String::as_str).chain(others).map(page).collect();
    let is_code = |text: &&str| {
        text.contains('-') && text.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')
    };
    let codes: BTreeSet<&str> = sources.split('"').filter(is_code).collect();
    assert!(codes.len() >= 20, "only {} codes were found", codes.len());
    let missing: Vec<_> =
        codes.into_iter().filter(|code| !explained.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "not in docs/security-team.md: {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let pages = page("docs/operator.md") + &page("docs/machine-tokens.md");
    let sources = page("src/telemetry/metrics/collect.rs")
        + &page("src/app/figures.rs")
        + &page("src/app/shadow.rs");
    let names: BTreeSet<&str> = sources
        .split('"')
        .filter(|text| text.starts_with("sidegate_") && !text.contains(char::is_whitespace))
        .collect();
    assert!(names.len() >= 25, "only {} names were found", names.len());
    let said = |name: &str| {
        ["", "_total", "_info"].iter().any(|end| pages.contains(&format!("\n| `{name}{end}` |")))
    };
    let missing: Vec<_> = names.into_iter().filter(|name| !said(name)).collect();
    assert!(missing.is_empty(), "in no page: {missing:?}");
}

fn page(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Of a configuration, what a page leaves out where it shows a part.
fn rest(block: &str, shown: &serde_json::Map<String, Value>) -> String {
    let has = |key: &str| shown.contains_key(key);
    let says =
        |key: &str, word: &str| shown.get(key).is_some_and(|it| it.to_string().contains(word));
    let mut rest = String::new();
    let mut add = |key: &str, line: &str| {
        if !has(key) {
            rest.push_str(line);
            rest.push('\n');
        }
    };
    add("tenant", "tenant: acme");
    if !has("bundle") {
        add("policy", "policy: /etc/sidegate/policies");
    }
    if block.contains("accept:") || block.contains("authenticate_with:") {
        let svid = if says("inbound", "\"jwt\"") { "svid: { audience: orders }" } else { "" };
        let token = if says("outbound", "\"jwt\"") { "present: { file: /token }" } else { "" };
        let comma = if svid.is_empty() || token.is_empty() { "" } else { ", " };
        add("jwt", &format!("jwt: {{ {svid}{comma}{token} }}"));
    }
    let believes = says("jwt", "\"issuers\"") || says("jwt", "\"svid\"");
    let accept = if believes { "[spiffe, jwt]" } else { "[spiffe]" };
    add(
        "inbound",
        &format!(
            "inbound: [{{ listen: '127.0.0.1:1', forward_to: '127.0.0.1:2', accept: {accept}, \
             routes: [{{ path: /a, methods: [GET], scopes: [a:b] }}] }}]"
        ),
    );
    if says("jwt", "\"present\"") {
        add(
            "outbound",
            "outbound: [{ listen: '127.0.0.1:3', connect_to: 'a:4', authenticate_with: [jwt] }]",
        );
    }
    rest
}

#[test]
fn what_the_pages_show_of_a_configuration_is_accepted() {
    let schema = config::schema();
    let known = schema["properties"].as_object().unwrap();
    let mut tried = 0;
    for (page, block) in pages()
        .iter()
        .flat_map(|(page, text)| yaml_blocks(text).into_iter().map(move |block| (page, block)))
    {
        let value: Value = serde_saphyr::from_str(&block)
            .unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
        // Files of other programs, and a comment for editors.
        let Some(keys) = value.as_object() else { continue };
        if !keys.keys().any(|key| known.contains_key(key)) {
            continue;
        }
        let rest = rest(&block, keys);
        let agent = ("SPIFFE_ENDPOINT_SOCKET".to_owned(), "unix:///run/api.sock".to_owned());
        let variable = ("ORDERS_TOKEN".to_owned(), "token".to_owned());
        let name = page.display().to_string();
        config::parse(&format!("{block}{rest}"), &name, [agent, variable].into_iter())
            .unwrap_or_else(|problems| panic!("{problems}\n{block}"));
        tried += 1;
    }
    assert!(tried >= 12, "only {tried} examples were found in the pages");
}

fn pages() -> Vec<(PathBuf, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let below = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    [root.join("README.md")]
        .into_iter()
        .chain(below.filter(|path| path.extension().is_some_and(|it| it == "md")))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn yaml_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}
