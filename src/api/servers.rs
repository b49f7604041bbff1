//! The base paths of `servers`: what stands before every path of the document.

use super::contract::{Fault, shown};
use super::tree::{Entry, Node};

/// Variables multiply; more than this is no list of servers but a mistake.
const MOST_EXPANSIONS: usize = 256;
/// Each operation becomes a route below each.
const MOST_BASES: usize = 16;

/// Base paths without a slash at the end, none twice. `None` when a fault says why.
pub(super) fn bases(servers: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Vec<String>> {
    let Some(list) = servers.list() else {
        let hint = "write `servers: [{ url: /v1 }]`";
        faults.push(Fault::new(servers.at, path, "expected a list of servers", hint));
        return None;
    };
    let mut bases = Vec::new();
    let mut sound = true;
    for (index, server) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match of_server(server, &path) {
            Ok(found) => {
                for base in found {
                    if !bases.contains(&base) {
                        bases.push(base);
                    }
                }
            }
            Err(fault) => {
                faults.push(fault);
                sound = false;
            }
        }
    }
    if bases.len() > MOST_BASES {
        let message = format!("comes to {} base paths, more than {MOST_BASES}", bases.len());
        let hint = "keep the servers that this sidecar stands before";
        faults.push(Fault::new(servers.at, path, message, hint));
        return None;
    }
    // An empty list means the same as none.
    if list.is_empty() {
        bases.push(String::new());
    }
    sound.then_some(bases)
}

fn of_server(server: &Node, path: &str) -> Result<Vec<String>, Fault> {
    let Some(url) = server.get("url") else {
        let hint = "add it, such as `url: /v1`, or remove the server";
        return Err(Fault::new(server.at, path, "has no `url`", hint));
    };
    let path_of_url = format!("{path}.url");
    let wrong = |message: String, hint: &str| Fault::new(url.at, &path_of_url, message, hint);
    let Some(text) = url.text() else {
        return Err(wrong("expected text".to_owned(), "write `url: /v1`"));
    };
    let mut bases = Vec::new();
    for expanded in expand(server, text, path)? {
        let Some(base) = base(&expanded) else {
            let message = format!("{} has no path that could be told", shown(&expanded));
            let hint = "write a path such as `/v1`, or a whole address such as \
                        `https://api.example.com/v1`, without query or fragment";
            return Err(wrong(message, hint));
        };
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    Ok(bases)
}

/// The address with every value that its variables may take.
fn expand(server: &Node, text: &str, path: &str) -> Result<Vec<String>, Fault> {
    let mut expanded = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        rest = after;
        let values = values(server, name, path)?;
        let mut next = Vec::new();
        for start in &expanded {
            for value in &values {
                let text = format!("{start}{before}{value}");
                if !next.contains(&text) {
                    next.push(text);
                }
            }
        }
        if next.len() > MOST_EXPANSIONS {
            let message = format!("its variables come to more than {MOST_EXPANSIONS} addresses");
            let hint = "shorten the `enum` of its variables";
            return Err(Fault::new(server.at, path, message, hint));
        }
        expanded = next;
    }
    expanded.iter_mut().for_each(|it| it.push_str(rest));
    Ok(expanded)
}

fn values<'n>(server: &'n Node, name: &str, path: &str) -> Result<Vec<&'n str>, Fault> {
    let variables = server.get("variables").and_then(Node::map).unwrap_or_default();
    let variable = variables.iter().find(|it| it.key == name).map(|Entry { value, .. }| value);
    let Some(variable) = variable else {
        let message = format!("uses the variable {}, which is not declared", shown(name));
        let hint = "declare it under `variables`, with a `default`";
        return Err(Fault::new(server.at, path, message, hint));
    };
    let mut values: Vec<&str> = Vec::new();
    let listed = variable.get("enum").and_then(Node::list).unwrap_or_default();
    let nodes = variable.get("default").into_iter().chain(listed);
    for node in nodes {
        let Some(text) = node.text() else {
            let message = format!("a value of the variable {} is not text", shown(name));
            let hint = "put the value into quotes";
            return Err(Fault::new(node.at, format!("{path}.variables"), message, hint));
        };
        values.push(text);
    }
    if values.is_empty() {
        let message = format!("the variable {} has no `default`", shown(name));
        let hint = "add the `default`, and an `enum` if there are several values";
        return Err(Fault::new(variable.at, format!("{path}.variables"), message, hint));
    }
    Ok(values)
}

/// The path of an address, without a slash at the end: paths are put after it as they are.
fn base(url: &str) -> Option<String> {
    if url.contains(['?', '#', '{', '}']) {
        return None;
    }
    let after_scheme = match url.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|it| it.is_ascii_alphanumeric()) => Some(rest),
        Some(_) => return None,
        None => url.strip_prefix("//"),
    };
    let path = match after_scheme {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        // Any other relative address starts where the document is served, which nobody tells us.
        None => match url.strip_prefix('/') {
            Some(path) => path,
            None if url.is_empty() => "",
            None => return None,
        },
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    Some(if path.is_empty() { String::new() } else { format!("/{path}") })
}
