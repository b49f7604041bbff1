//! The paths that a bundle claims: its packages and data have to lie within them, as OPA demands, so
//! that a team's bundle cannot speak where it has no say.

use std::ops::Deref;

use regorus::Value;
use regorus::unstable::Module;

use super::error::{LoadError, Problem};
use super::syntax::{at, package_of};

/// Packages that lie outside.
pub(super) fn check(
    roots: Option<&[Vec<String>]>,
    modules: &[impl Deref<Target = Module>],
) -> Vec<Problem> {
    let Some(roots) = roots else { return Vec::new() };
    let outside = modules.iter().filter_map(|module| {
        let package = package_of(module);
        // The first part is `data`.
        let path = package.get(1..).unwrap_or_default();
        let inside = roots.iter().any(|root| path.starts_with(root));
        let message = "the package lies outside the roots of the bundle".to_owned();
        (!inside).then(|| at(&module.package.span, message))
    });
    outside.collect()
}

/// Data that lies outside: only the way down to a root may be there.
pub(super) fn check_data(
    roots: Option<&[Vec<String>]>,
    file: &str,
    data: &Value,
) -> Result<(), LoadError> {
    let Some(roots) = roots else { return Ok(()) };
    let rests: Vec<&[String]> = roots.iter().map(Vec::as_slice).collect();
    match outside(data, &rests) {
        None => Ok(()),
        Some(path) => {
            let message = format!("data at `{path}` lies outside the roots of the bundle");
            Err(Problem::in_file(file, message).into())
        }
    }
}

/// `rests` is what remains of the roots that lead here. Deep only as far as the roots are.
fn outside(value: &Value, rests: &[&[String]]) -> Option<String> {
    if rests.iter().any(|rest| rest.is_empty()) {
        return None;
    }
    let (Value::Object(members), false) = (value, rests.is_empty()) else {
        return Some(String::new());
    };
    members.iter().find_map(|(key, value)| {
        let name = key.as_string().ok().map(|it| it.to_string()).unwrap_or_default();
        let below: Vec<&[String]> = rests
            .iter()
            .filter_map(|rest| rest.split_first())
            .filter(|(first, _)| **first == name)
            .map(|(_, rest)| rest)
            .collect();
        outside(value, &below).map(|path| format!("/{name}{path}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(texts: &[&str]) -> Vec<Vec<String>> {
        let split = |it: &&str| it.split('/').map(str::to_owned).collect();
        texts.iter().map(split).collect()
    }

    fn found(data: &str, roots: &[Vec<String>]) -> Option<String> {
        let data = Value::from_json_str(data).unwrap();
        check_data(Some(roots), "data.json", &data).err().map(|error| error.to_string())
    }

    #[test]
    fn data_within_the_roots_and_on_the_way_to_them_is_allowed() {
        let roots = roots(&["a/b", "roles"]);
        for data in
            ["{}", r#"{"a": {}}"#, r#"{"a": {"b": 1}}"#, r#"{"a": {"b": {"c": [1]}}, "roles": {}}"#]
        {
            assert_eq!(found(data, &roots), None, "{data}");
        }
        assert_eq!(found(r#"{"x": 1}"#, &[Vec::new()]), None, "the empty root is everything");
    }

    #[test]
    fn data_beside_the_roots_is_refused_and_named() {
        let roots = roots(&["a/b", "roles"]);
        for (data, path) in [
            (r#"{"x": 1}"#, "/x"),
            (r#"{"a": 1}"#, "/a"),
            (r#"{"a": {"c": {}}}"#, "/a/c"),
            (r#"{"a": {"b": 1, "bb": 1}}"#, "/a/bb"),
            (r#"{"role": {}}"#, "/role"),
        ] {
            let message = found(data, &roots).expect(data);
            assert!(message.contains(&format!("`{path}`")), "{message}");
        }
        assert!(found(r#"{"x": 1}"#, &[]).is_some(), "no root at all is nothing");
    }
}
