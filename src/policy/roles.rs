//! Role bundles: names for sets of scope patterns, which may include one another.

use std::collections::BTreeMap;

use regorus::Value;

use super::answer::{Roles, kind, shortened};

const ROLES_MAX: usize = 4096;
const SCOPES_MAX: usize = 256;
const INCLUDES_MAX: usize = 32;
const SIDE_MAX: usize = 63;

/// `data.roles`, includes expanded; an error is a sentence that names the role.
pub(super) fn expand(data: &Value) -> Result<Roles, String> {
    let roles = match &data["roles"] {
        Value::Undefined => return Ok(Roles::new()),
        Value::Object(roles) => roles,
        other => return Err(format!("`roles` is {} where an object belongs", kind(other))),
    };
    if roles.len() > ROLES_MAX {
        return Err(format!("`roles` has more than {ROLES_MAX} entries"));
    }
    let mut written = BTreeMap::new();
    for (name, role) in roles.iter() {
        let Value::String(name) = name else {
            return Err("a role's name is not a string".to_owned());
        };
        let role = read(role).map_err(|what| format!("role `{}`: {what}", shortened(name)))?;
        written.insert(&**name, role);
    }
    let mut expanded = Roles::new();
    for name in written.keys() {
        close(name, &written, &mut Vec::new(), &mut expanded)?;
    }
    Ok(expanded)
}

struct Role<'v> {
    scopes: Vec<&'v str>,
    include: Vec<&'v str>,
}

fn read(value: &Value) -> Result<Role<'_>, String> {
    let Value::Object(object) = value else {
        return Err(format!("is {} where an object belongs", kind(value)));
    };
    let mut role = Role { scopes: Vec::new(), include: Vec::new() };
    for (key, value) in object.iter() {
        match key {
            Value::String(key) if &**key == "scopes" => {
                role.scopes = texts("scopes", value, SCOPES_MAX)?
            }
            Value::String(key) if &**key == "include" => {
                role.include = texts("include", value, INCLUDES_MAX)?
            }
            Value::String(key) if &**key == "description" => {}
            other => {
                let other = shortened(&other.to_string());
                return Err(format!("{other} is not one of `scopes`, `include` and `description`"));
            }
        }
    }
    match role.scopes.iter().find(|scope| !is_scope_pattern(scope)) {
        Some(scope) => Err(format!("`{}` is not a scope `resource:action`", shortened(scope))),
        None => Ok(role),
    }
}

fn texts<'v>(field: &str, value: &'v Value, max: usize) -> Result<Vec<&'v str>, String> {
    let Value::Array(items) = value else {
        return Err(format!("`{field}` is {} where a list belongs", kind(value)));
    };
    if items.iter().count() > max {
        return Err(format!("`{field}` has more than {max} entries"));
    }
    let text = |item: &'v Value| match item {
        Value::String(text) => Ok(&**text),
        other => Err(format!("`{field}` holds {} where a string belongs", kind(other))),
    };
    items.iter().map(text).collect()
}

/// Depth is bounded because a role that is met again on the way is an error.
fn close<'v>(
    name: &'v str,
    written: &BTreeMap<&'v str, Role<'v>>,
    way: &mut Vec<&'v str>,
    expanded: &mut Roles,
) -> Result<(), String> {
    if expanded.contains_key(name) {
        return Ok(());
    }
    if way.contains(&name) {
        return Err(format!("role `{}` includes itself", shortened(name)));
    }
    let Some(role) = written.get(name) else {
        let by = way.last().copied().unwrap_or_default();
        let (by, name) = (shortened(by), shortened(name));
        return Err(format!("role `{by}` includes `{name}`, which is not defined"));
    };
    way.push(name);
    let mut scopes: Vec<String> = role.scopes.iter().map(|scope| (*scope).to_owned()).collect();
    for included in &role.include {
        close(included, written, way, expanded)?;
        scopes.extend(expanded.get(*included).into_iter().flatten().cloned());
    }
    way.pop();
    scopes.sort();
    scopes.dedup();
    if scopes.len() > SCOPES_MAX {
        let name = shortened(name);
        return Err(format!("role `{name}` comes to more than {SCOPES_MAX} scopes"));
    }
    expanded.insert(name.to_owned(), scopes);
    Ok(())
}

/// The grammar of `authz`, which stands above this room; a test there holds the two together.
pub(crate) fn is_scope_pattern(text: &str) -> bool {
    let side = |side: &str| {
        side == "*"
            || side.len() <= SIDE_MAX
                && side.starts_with(|first: char| first.is_ascii_lowercase())
                && side
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    };
    text.split_once(':').is_some_and(|(resource, action)| side(resource) && side(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(json: &str) -> Result<Roles, String> {
        expand(&Value::from_json_str(json).unwrap())
    }

    #[test]
    fn includes_are_expanded() {
        let roles = roles(
            r#"{"roles": {
                "auditor": {"description": "reads", "scopes": ["*:read"]},
                "operator": {"scopes": ["jobs:run"], "include": ["auditor"]},
                "admin": {"scopes": ["*:write", "*:read"], "include": ["operator", "auditor"]}
            }}"#,
        )
        .unwrap();
        assert_eq!(roles["admin"], ["*:read", "*:write", "jobs:run"]);
        assert_eq!(roles["operator"], ["*:read", "jobs:run"]);
    }

    #[test]
    fn no_roles_are_fine() {
        assert_eq!(roles("{}").unwrap(), Roles::new());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, expected) in [
            (r#"{"roles": []}"#, "`roles` is a list where an object belongs"),
            (r#"{"roles": {"a": []}}"#, "role `a`: is a list where an object belongs"),
            (r#"{"roles": {"a": {"scope": []}}}"#, "\"scope\" is not one of"),
            (r#"{"roles": {"a": {"scopes": "x:y"}}}"#, "`scopes` is a string where a list"),
            (r#"{"roles": {"a": {"scopes": [1]}}}"#, "`scopes` holds a number"),
            (r#"{"roles": {"a": {"scopes": ["A:b"]}}}"#, "`A:b` is not a scope"),
            (r#"{"roles": {"a": {"include": ["b"]}}}"#, "role `a` includes `b`, which is not"),
            (r#"{"roles": {"a": {"include": ["a"]}}}"#, "role `a` includes itself"),
            (
                r#"{"roles": {"a": {"include": ["b"]}, "b": {"include": ["a"]}}}"#,
                "role `a` includes itself",
            ),
        ] {
            let error = roles(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
