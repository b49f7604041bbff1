//! The shape of the house: floors, who may name which outside crate, and how files look.
//!
//! It reads the sources as text. A rule that must be broken is broken in a table here, with the
//! reason, where a reviewer sees it.

#![allow(clippy::string_slice, clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Ground first. A room may import from lower floors only, so rooms on one floor do not know each
/// other. A new room must be entered here: adding a floor is a decision, made in a diff.
const FLOORS: &[&[&str]] = &[
    &["live", "secret", "workload_api"],
    &["files", "net", "http2", "telemetry"],
    &["identity", "policy", "dev", "api"],
    &["tls"],
    &["web"],
    &["token"],
    &["authz", "opa"],
    &["proxy", "admin", "review"],
    &["config"],
    &["app"],
    &["cli"],
    &["main"],
];

/// What may be named only in some rooms, and where: one outside thing, one room.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("anyhow::", &["app", "cli", "main", "policy"]),
    ("clap::", &["cli"]),
    ("clap_complete::", &["cli"]),
    ("flate2::", &["opa"]),
    ("h2::", &["http2", "proxy"]), // raw streams over a shared connection
    ("libc::", &["files"]),
    ("notify::", &["files"]),
    ("print!", &["cli"]),
    ("println!", &["cli"]),
    ("prometheus_client::", &["telemetry"]),
    ("prost_reflect::", &["api"]),
    ("prost::", &["workload_api", "cli"]), // the demo plays a gRPC service
    ("rcgen::", &["dev", "identity"]),
    ("regorus::", &["policy"]),
    ("rustix::", &["policy"]), // limits of the process that examines candidates
    ("rustls::", &["tls"]),
    ("rustls_native_certs::", &["tls"]),
    ("rustls_pki_types::", &["identity", "dev", "tls"]),
    ("schemars::", &["config", "cli"]),
    ("serde_saphyr::", &["api", "config", "policy"]),
    ("std::env::var(", &["config", "cli"]),
    ("tar::", &["opa"]),
    ("tokio_rustls::", &["cli"]), // the demo plays a stranger
    ("tonic::", &["workload_api", "dev", "identity", "cli"]),
    ("tonic_prost::", &["workload_api", "cli"]),
    ("tracing_subscriber::", &["telemetry"]),
    ("webpki::", &["tls"]),
    ("x509_parser::", &["dev", "identity", "tls"]),
];

/// Of the `spiffe` crate everyone may use the names; its Workload API client lives in one room.
const SPIFFE_NAMES: &[&str] = &["SpiffeId", "TrustDomain", "SpiffeIdError"];
const SPIFFE_ROOM: &str = "identity";

/// Lines of a file, its tests apart.
const LONGEST_FILE: usize = 400;
/// Longer ones, and why.
const LONG_FILES: &[(&str, &str)] = &[("workload_api/pb.rs", "generated")];

#[test]
fn rooms_import_only_from_floors_below() {
    all_hold(|file| {
        let floor = floor(&file.room);
        names_after("crate::", &file.product)
            .into_iter()
            .filter(|other| *other != file.room && floor.is_none_or(|it| !below(other, it)))
            .map(|other| format!("`{}` may not import `{other}`", file.room))
            .collect()
    });
}

#[test]
fn inside_a_room_files_import_only_what_is_listed_above_them() {
    let sources = sources();
    all_hold(|file| {
        let folder = file.path.parent().unwrap();
        let list = sources.iter().find(|it| it.path == folder.join("mod.rs"));
        let order = list.map(|it| modules(&it.product)).unwrap_or_default();
        let own = file.path.file_stem().unwrap().to_str().unwrap();
        let Some(place) = order.iter().position(|it| it == own) else {
            return Vec::new();
        };
        names_after("super::", &file.product)
            .into_iter()
            .filter(|other| order.iter().skip(place + 1).any(|it| it == other))
            .map(|other| format!("imports `{other}`, which is listed below it"))
            .collect()
    });
}

#[test]
fn outside_crates_are_named_only_in_their_rooms() {
    all_hold(|file| {
        let strangers = OUTSIDE.iter().filter(|(name, rooms)| {
            !rooms.contains(&file.room.as_str()) && words(name, &file.product).next().is_some()
        });
        strangers.map(|(name, rooms)| format!("`{name}` belongs in {rooms:?}")).collect()
    });
}

#[test]
fn the_workload_api_client_stays_in_its_room() {
    all_hold(|file| {
        names_after("spiffe::", &file.product)
            .into_iter()
            .filter(|name| file.room != SPIFFE_ROOM && !SPIFFE_NAMES.contains(&name.as_str()))
            .map(|name| format!("`spiffe::{name}` belongs in `{SPIFFE_ROOM}`"))
            .collect()
    });
}

#[test]
fn imports_show_their_room() {
    all_hold(|file| {
        let hidden = ["use crate::{", "use crate::*"].into_iter().find(|it| file.text.contains(it));
        hidden
            .map(|it| format!("`{it}` hides the room: write `use crate::room::…`"))
            .into_iter()
            .collect()
    });
}

#[test]
fn every_file_says_first_what_it_is_for() {
    all_hold(|file| {
        let first = file.text.lines().next().unwrap_or_default();
        let says = first.starts_with("//! ") && first.len() > "//! Placeholder.".len();
        if says { Vec::new() } else { vec![format!("begins with {first:?}")] }
    });
}

#[test]
fn files_are_short_enough_to_read() {
    all_hold(|file| {
        let lines = file.product_lines;
        let argued = LONG_FILES.iter().any(|(path, _)| Path::new(path) == file.path);
        match lines > LONGEST_FILE {
            true if !argued => vec![format!("{lines} lines, more than {LONGEST_FILE}")],
            false if argued => vec!["is short now: take it off the list".to_owned()],
            _ => Vec::new(),
        }
    });
}

#[test]
fn nothing_outside_tests_unwraps() {
    all_hold(|file| {
        let unwraps = file.product.matches(".unwrap()").count();
        if unwraps == 0 { Vec::new() } else { vec![format!("{unwraps} times `.unwrap()`")] }
    });
}

#[test]
fn every_room_has_a_floor_and_every_floor_has_rooms() {
    all_hold(|file| match floor(&file.room) {
        Some(_) => Vec::new(),
        None => vec![format!("no floor for room `{}`", file.room)],
    });
    let sources = sources();
    for room in FLOORS.iter().copied().flatten() {
        assert!(sources.iter().any(|file| file.room == *room), "no room `{room}` under src");
    }
}

/// Every problem of every file in one go.
#[track_caller]
fn all_hold(problems: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 30, "only {} files were read", sources.len());
    let found: Vec<String> = sources
        .iter()
        .flat_map(|file| problems(file).into_iter().map(move |it| format!("{file}: {it}")))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// One file under `src`, `lib.rs` apart: it is the map and names every room.
struct Source {
    /// From `src`.
    path: PathBuf,
    room: String,
    text: String,
    /// Without comments and tests; empty for a file of tests.
    product: String,
    product_lines: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}", self.path.display())
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let relative = paths.iter().map(|path| path.strip_prefix(&root).unwrap());
    relative.filter(|path| *path != Path::new("lib.rs")).map(|path| read(&root, path)).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|it| it == "rs") {
            paths.push(path);
        }
    }
}

fn read(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(root.join(path)).unwrap();
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    let room = first.strip_suffix(".rs").unwrap_or(first).to_owned();
    let is_test = path.iter().any(|part| part == "tests" || part == "tests.rs");
    let product = if is_test { "" } else { before_tests(&text) };
    Source {
        path: path.to_owned(),
        room,
        product_lines: product.lines().count(),
        product: product.lines().map(|line| without_comment(line) + "\n").collect(),
        text,
    }
}

/// Test modules stand last in a file.
fn before_tests(text: &str) -> &str {
    let end = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at).find(|at| {
        let next = text[*at..].lines().nth(1).unwrap_or_default();
        next.contains("mod tests {") || next.contains("mod tests;")
    });
    &text[..end.unwrap_or(text.len())]
}

/// Good enough for a text search: a `//` inside a string cuts the line short, no more.
fn without_comment(line: &str) -> String {
    let at = line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
    line[..at.unwrap_or(line.len())].to_owned()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn below(room: &str, floor: usize) -> bool {
    self::floor(room).is_some_and(|it| it < floor)
}

/// In the order of their `mod` lines.
fn modules(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    lines.map(str::to_owned).collect()
}

/// Where `word` stands, not as the end of a longer name or path.
fn words<'a>(word: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(|at| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == ':')
    })
}

/// The names that follow `path` directly, one by one where they stand in braces.
fn names_after(path: &str, text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for at in words(path, text) {
        let rest = &text[at + path.len()..];
        match rest.strip_prefix('{') {
            None => names.push(name(rest)),
            Some(group) => names.extend(top_level(group)),
        }
    }
    names.retain(|it| !it.is_empty());
    names
}

fn name(text: &str) -> String {
    text.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect()
}

/// The first name of each entry of `a::{b, c}, d}`.
fn top_level(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut entry = true;
    for (at, it) in group.char_indices() {
        match it {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entry = true,
            _ if entry && !it.is_whitespace() => {
                names.push(name(&group[at..]));
                entry = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn this_test_reads_imports_as_the_compiler_does() {
    let text = "use crate::live::Live; use crate::net; let x = mycrate::no; super::super::up";
    assert_eq!(names_after("crate::", text), ["live", "net"]);
    assert_eq!(names_after("super::", text), ["super"]);
    assert_eq!(names_after("super::", "use super::{a::{b, c}, d as e, f};"), ["a", "d", "f"]);
    assert_eq!(modules("mod a;\npub mod b;\nmod c {\n"), ["a", "b"]);
    assert!(words("rustls::", "tokio_rustls::x; a::rustls::y").next().is_none());
    let tested = "//! x\nfn a() {}\n#[cfg(test)]\nfn b() {}\n#[cfg(test)]\nmod tests {}\n";
    assert_eq!(before_tests(tested).lines().count(), 4);
    assert_eq!(without_comment("let a = \"spiffe://x\"; // crate::b"), "let a = \"spiffe://x\"; ");
}
