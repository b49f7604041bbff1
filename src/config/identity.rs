//! `identity`: who we are, by the Workload API, or that there is none.

use super::environment::{ENDPOINT, Environment};
use super::file::IdentityFile;
use super::problems::{Origin, Problems, Wrong, shown};
use super::reading::each;
use super::tree::Place;
use super::values;
use crate::identity::Settings;

/// Whether somebody says where the Workload API is, be it right or wrong.
pub(super) fn is_given(at: &Place<'_>, environment: &Environment) -> bool {
    at.is_faulty() || at.key("workload_api").is_written() || environment.endpoint.is_some()
}

/// Whether anything is said that means nothing without a Workload API.
pub(super) fn is_written(file: Option<&IdentityFile>, at: &Place<'_>) -> bool {
    ["spiffe_id", "hint", "federates_with"].iter().any(|key| at.key(key).is_written())
        || file.is_some_and(|it| it.danger_accept_dev_agent == Some(true))
}

/// `None` only when a problem was added.
pub(super) fn identity(
    file: Option<&IdentityFile>,
    at: &Place<'_>,
    environment: &Environment,
    jwt_bundles: bool,
    problems: &mut Problems,
) -> Option<Settings> {
    let file = file?;
    let endpoint = endpoint(file, &at.key("workload_api"), environment, problems);
    let spiffe_id = file
        .spiffe_id
        .as_deref()
        .map(|text| at.key("spiffe_id").accept(problems, values::workload_id(text)));
    let own = spiffe_id.as_ref().and_then(|it| Some(it.as_ref()?.trust_domain()));
    let list = file.federates_with.as_deref().unwrap_or_default();
    let federates_with = each(list, &at.key("federates_with"), problems, |text| {
        let domain = values::trust_domain(text)?;
        if own == Some(&domain) {
            let message = format!("{} is our own trust domain", shown(text));
            return Err(Wrong::new(message, "remove it; our own is always believed"));
        }
        Ok(domain)
    });

    let spiffe_id = match spiffe_id {
        Some(given) => Some(given?),
        None => None,
    };
    Some(Settings {
        endpoint: endpoint?,
        spiffe_id,
        hint: file.hint.clone(),
        federates_with: federates_with?,
        danger_accept_dev_agent: file.danger_accept_dev_agent?,
        jwt_bundles,
    })
}

fn endpoint(
    file: &IdentityFile,
    at: &Place<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<String> {
    if let Some(text) = &file.workload_api {
        return at.accept(problems, values::workload_api(text));
    }
    if at.is_faulty() {
        return None;
    }
    let Some(text) = &environment.endpoint else {
        let message = format!("is not given, and `{ENDPOINT}` is not set");
        let hint = "add `workload_api: unix:///path/to/api.sock`, or set the variable";
        at.report(problems, message, hint);
        return None;
    };
    values::workload_api(text)
        .map_err(|wrong| {
            let origin = Origin::Environment(ENDPOINT.to_owned());
            problems.add(at.path(), &origin, wrong.message, Some(wrong.hint));
        })
        .ok()
}
