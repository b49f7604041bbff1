//! `sidegate check`: what `run` would refuse, and everything else that is wrong, at once.

use std::path::Path;
use std::process::ExitCode;

use super::{USAGE, print, tell};
use crate::app;
use crate::config;
use crate::policy::Examiner;

pub(super) fn check(path: &Path, show: bool, json: bool) -> anyhow::Result<ExitCode> {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => {
            if json {
                print(&serde_json::to_string_pretty(&problems)?)?;
            } else {
                tell(&problems.to_string());
            }
            return Ok(ExitCode::from(USAGE));
        }
    };
    // The policy is a file of its own, with places of its own to point at.
    if let Err(error) = app::check_with(&config, &Examiner::apart()) {
        if json {
            let problem = serde_json::json!({ "problems": [{ "message": format!("{error:#}") }] });
            print(&serde_json::to_string_pretty(&problem)?)?;
        } else {
            tell(&format!("error: {error:#}"));
        }
        return Ok(ExitCode::from(USAGE));
    }
    let notes: Vec<&String> = config.inbound.iter().flat_map(|it| &it.notes).collect();
    if !json {
        notes.iter().for_each(|note| tell(&format!("note: {note}")));
    }
    if show {
        let effective = match config::load_effective(path) {
            Ok(effective) => effective,
            Err(problems) => {
                tell(&problems.to_string());
                return Ok(ExitCode::from(USAGE));
            }
        };
        let text =
            if json { serde_json::to_string_pretty(&effective)? } else { effective.to_string() };
        print(text.trim_end())?;
    } else if json && notes.is_empty() {
        print("{\"problems\":[]}")?;
    } else if json {
        let found = serde_json::json!({ "problems": [], "notes": notes });
        print(&serde_json::to_string_pretty(&found)?)?;
    } else {
        print(&format!("{}: fine", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
