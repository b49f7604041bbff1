//! What `security` asks for: any one of its alternatives, all schemes of one, all scopes of each.

use std::collections::{HashMap, HashSet};

use super::contract::{Asked, Fault, Spot, nearest, shown};
use super::tree::{Node, Value};

/// Words of OpenID Connect that ask for facts about a person and are no rights.
const OPENID_WORDS: &[&str] = &["openid", "profile", "email", "address", "phone", "offline_access"];

const MOST_ALTERNATIVES: usize = 16;
const MOST_SCOPES: usize = 32;

/// The security schemes that the document declares.
#[derive(Debug, Default)]
pub(super) struct Schemes<'n> {
    all: HashMap<&'n str, Scheme<'n>>,
    /// OpenAPI 3.0: only OAuth2 and OpenID Connect have scopes.
    oauth_only: bool,
}

#[derive(Debug)]
struct Scheme<'n> {
    kind: &'n str,
    /// Given for OAuth2, which lists the scopes that there are.
    scopes: Option<HashSet<&'n str>>,
}

/// What a `security` comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asks {
    AnyOf(Vec<Vec<Asked>>),
    /// Why anybody would do.
    Nothing {
        why: String,
        at: Option<Spot>,
    },
    /// A fault says why.
    Unknown,
}

/// Where problems and what was left out are put.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub faults: Vec<Fault>,
    /// Words of OpenID Connect that were left out.
    pub left_out: Vec<&'static str>,
}

impl<'n> Schemes<'n> {
    pub(super) fn of(document: &'n Node, oauth_only: bool) -> Self {
        let schemes = document.get("components").and_then(|it| it.get("securitySchemes"));
        let entries = schemes.and_then(Node::map).unwrap_or_default();
        let all = entries.iter().map(|entry| (entry.key.as_str(), Scheme::of(&entry.value)));
        Self { all: all.collect(), oauth_only }
    }

    pub(super) fn asks(&self, security: &Node, path: &str, findings: &mut Findings) -> Asks {
        let mut wrong = |message: String, hint: &str| {
            findings.faults.push(Fault::new(security.at, path, message, hint));
            Asks::Unknown
        };
        let Some(alternatives) = security.list() else {
            return wrong(
                "expected a list".to_owned(),
                "write `security: [{ scheme: [resource:action] }]`",
            );
        };
        if alternatives.is_empty() {
            let why = "has an empty `security`, so anybody may call it".to_owned();
            return Asks::Nothing { why, at: security.at };
        }
        if alternatives.len() > MOST_ALTERNATIVES {
            let message = format!("has more than {MOST_ALTERNATIVES} alternatives");
            return wrong(message, "list fewer; a scope of its own says the same in one");
        }
        let mut groups = Vec::new();
        let mut nothing = None;
        let mut sound = true;
        for (index, alternative) in alternatives.iter().enumerate() {
            match self.alternative(alternative, &format!("{path}[{index}]"), findings) {
                Asks::AnyOf(group) => groups.extend(group),
                it @ Asks::Nothing { .. } => nothing = nothing.or(Some(it)),
                Asks::Unknown => sound = false,
            }
        }
        match nothing {
            _ if !sound => Asks::Unknown,
            Some(nothing) => nothing,
            None => Asks::AnyOf(groups),
        }
    }

    fn alternative(&self, node: &Node, path: &str, findings: &mut Findings) -> Asks {
        let Some(schemes) = node.map() else {
            let hint = "write `{ scheme: [resource:action] }`";
            findings.faults.push(Fault::new(node.at, path, "expected a map of schemes", hint));
            return Asks::Unknown;
        };
        let mut group: Vec<Asked> = Vec::new();
        let mut sound = true;
        for entry in schemes {
            let path = format!("{path}.{}", entry.key);
            match self.scopes(&entry.key, &entry.value, &path, findings) {
                Some(scopes) => group.extend(scopes),
                None => sound = false,
            }
        }
        if group.len() > MOST_SCOPES {
            let message = format!("asks for more than {MOST_SCOPES} scopes at once");
            let hint = "give the operation a scope of its own";
            findings.faults.push(Fault::new(node.at, path, message, hint));
            return Asks::Unknown;
        }
        if !sound {
            return Asks::Unknown;
        }
        if !group.is_empty() {
            return Asks::AnyOf(vec![group]);
        }
        let names: Vec<_> = schemes.iter().map(|entry| shown(&entry.key)).collect();
        let why = if names.is_empty() {
            "has the alternative `{}`, by which anybody may call it".to_owned()
        } else {
            format!("may be called by {} without any scope", names.join(" and "))
        };
        Asks::Nothing { why, at: node.at }
    }

    /// The scopes of one scheme. `None` when a fault says why.
    fn scopes(
        &self,
        name: &str,
        node: &Node,
        path: &str,
        findings: &mut Findings,
    ) -> Option<Vec<Asked>> {
        let mut wrong = |at: Option<Spot>, message: String, hint: String| {
            findings.faults.push(Fault::new(at, path, message, hint));
        };
        let Some(scheme) = self.all.get(name) else {
            let message = format!("the security scheme {} is not declared", shown(name));
            let hint = match nearest(name, self.all.keys().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `components.securitySchemes`".to_owned(),
            };
            wrong(node.at, message, hint);
            return None;
        };
        let Some(list) = node.list() else {
            let hint = "write `[resource:action]`, or `[]`".to_owned();
            wrong(node.at, "expected a list of scopes".to_owned(), hint);
            return None;
        };
        if self.oauth_only && !scheme.has_scopes() && !list.is_empty() {
            let message = format!("{} has no scopes in OpenAPI 3.0", shown(scheme.kind));
            let hint = "say `openapi: 3.1.0`, where every scheme may list them, or make the \
                        scheme `oauth2`";
            wrong(node.at, message, hint.to_owned());
            return None;
        }
        let mut asked = Vec::new();
        let mut sound = true;
        for scope in list {
            let Value::Text(text) = &scope.value else {
                wrong(scope.at, "expected a scope".to_owned(), "put it into quotes".to_owned());
                sound = false;
                continue;
            };
            if let Some(word) = OPENID_WORDS.iter().find(|word| *word == text) {
                findings.left_out.push(word);
                continue;
            }
            if let Some(declared) = &scheme.scopes
                && !declared.contains(text.as_str())
            {
                let message = format!("the scope {} is not one of {}", shown(text), shown(name));
                let hint = match nearest(text, declared.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "declare it under the `scopes` of one of the scheme's `flows`".into(),
                };
                wrong(scope.at, message, hint);
                sound = false;
                continue;
            }
            asked.push(Asked { scope: text.clone(), at: scope.at });
        }
        sound.then_some(asked)
    }
}

impl<'n> Scheme<'n> {
    fn of(node: &'n Node) -> Self {
        let kind = node.get("type").and_then(Node::text).unwrap_or_default();
        let flows = node.get("flows").and_then(Node::map).unwrap_or_default();
        let scopes = flows.iter().filter_map(|flow| flow.value.get("scopes")?.map());
        let scopes = scopes.flatten().map(|entry| entry.key.as_str()).collect();
        Self { kind, scopes: (kind == "oauth2").then_some(scopes) }
    }

    fn has_scopes(&self) -> bool {
        matches!(self.kind, "oauth2" | "openIdConnect")
    }
}
