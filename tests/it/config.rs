//! The configuration file: every problem at once, in words that help; the schema and the
//! reference in step with the types; the environment laid over it.

mod tokens;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::{any, proptest};
use serde_json::Value;
use sidegate::config::{self, Config, PolicyFrom, Problems};
use sidegate::net::{Listen, Target};
use sidegate::proxy::Limits;

const SMALL: &str = "\
tenant: acme
inbound:
  - listen: 0.0.0.0:8443
    forward_to: 127.0.0.1:8080
    routes:
      - { path: \"/api/v1/users/{id}\", methods: [GET], scopes: [users:read] }
outbound:
  - name: license-server
    listen: 127.0.0.1:9001
    connect_to: license-server.prod.svc:8443
    expect: spiffe://penguintech.io/prod/license-server
policy: /etc/sidegate/policies
";

fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
    config::parse(text, "sidegate.yaml", variables(env))
}

fn variables(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let agent = ("SPIFFE_ENDPOINT_SOCKET".to_owned(), "unix:///run/api.sock".to_owned());
    let given = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    std::iter::once(agent).chain(given).collect::<BTreeMap<_, _>>().into_iter()
}

/// Compares with a recorded file, or records it when `SIDEGATE_BLESS` is set.
fn compare(path: &Path, actual: &str) {
    if std::env::var_os("SIDEGATE_BLESS").is_some() {
        fs::write(path, actual).unwrap();
        return;
    }
    let recorded = fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    assert_eq!(recorded, actual, "{name} is out of step: look, then run with SIDEGATE_BLESS=1");
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn each_faulty_file_gets_the_problems_on_record() {
    let mut count = 0;
    for entry in fs::read_dir(in_repository("tests/golden/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let env: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# env: ")?.split_once('=')).collect();
        let problems = parse(&text, &env).expect_err(&path.display().to_string());
        let told = format!("{problems}\n");
        // The secrets in all of these files.
        assert!(!told.contains("hunter2") && !told.contains("12345"), "{told}");
        compare(&path.with_extension("problems"), &told);
        count += 1;
    }
    assert!(count >= 10, "only {count} golden files");
}

#[test]
fn the_bundles_of_both_policies_have_names_of_their_own() {
    let bundle = |name: &str| {
        let url = "url: \"https://bundles.example.com/x.tar.gz\"";
        format!("{{ {url}, danger_accept_unsigned: true, keep: /var/lib/sidegate{name} }}")
    };
    let both = |enforced: &str, shadow: &str| {
        let policies =
            format!("bundle: {}\nshadow: {{ bundle: {} }}\n", bundle(enforced), bundle(shadow));
        parse(&SMALL.replace("policy: /etc/sidegate/policies\n", &policies), &[])
    };
    for (enforced, shadow, key) in [
        (", name: orders", ", name: orders", "shadow.bundle.name"),
        ("", ", name: policy", "shadow.bundle.name"),
        (", name: shadow", "", "bundle.name"),
    ] {
        let told = both(enforced, shadow).unwrap_err().to_string();
        assert!(told.contains("is the name of both bundles"), "{told}");
        assert!(told.contains(key), "{told}");
    }
    for (enforced, shadow) in
        [("", ""), (", name: a", ", name: b"), (", name: shadow", ", name: a")]
    {
        both(enforced, shadow).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn the_first_example_of_the_design_needs_nothing_else() {
    let config = parse(SMALL, &[]).unwrap_or_else(|problems| panic!("{problems}"));

    assert_eq!(config.tenant, "acme");
    assert_eq!(config.identity.unwrap().endpoint, "unix:///run/api.sock");
    assert!(
        matches!(&config.policy, PolicyFrom::Files(path) if path == Path::new("/etc/sidegate/policies"))
    );
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert!(config.workers >= 1);
    assert_eq!((config.health, config.metrics), (None, None));
    let [inbound] = config.inbound.as_slice() else { panic!("{:?}", config.inbound) };
    assert_eq!(inbound.name, "inbound-8443");
    assert_eq!(inbound.listen, Listen::Tcp("0.0.0.0:8443".parse().unwrap()));
    assert_eq!(inbound.forward_to, Target::Tcp("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(
        inbound.routes,
        [config::Route {
            name: None,
            matches: config::RouteMatch::Http {
                path: "/api/v1/users/{id}".to_owned(),
                methods: vec!["GET".to_owned()],
            },
            required: config::Required::All(vec!["users:read".to_owned()]),
            document: None,
            line: 6,
        }]
    );
    let [outbound] = config.outbound.as_slice() else { panic!("{:?}", config.outbound) };
    assert_eq!(outbound.name, "license-server");
    assert_eq!(outbound.connect_to, ("license-server.prod.svc".to_owned(), 8443));
    assert_eq!(outbound.expect[0].to_string(), "spiffe://penguintech.io/prod/license-server");
}

#[test]
fn every_limit_is_on_by_default() {
    let config = parse(SMALL, &[]).unwrap();
    let expected = Limits {
        connections: 10_000,
        streams: 100,
        header_bytes: 64 * 1024,
        header_count: 100,
        header_read: Duration::from_secs(10),
        handshake: Duration::from_secs(10),
        connect: Duration::from_secs(5),
        request: Duration::from_secs(60),
        idle: Duration::from_secs(300),
        upstream_idle: Duration::from_secs(55),
        connection_age: Duration::from_secs(3600),
    };
    assert_eq!(config.inbound[0].limits, expected);
    assert_eq!(config.outbound[0].limits, expected);
}

#[test]
fn one_limit_that_is_given_leaves_the_others_as_they_are() {
    let idle = ("SIDEGATE__OUTBOUND__0__LIMITS__IDLE", "7m");
    let limits = parse(SMALL, &[idle]).unwrap().outbound[0].limits.clone();
    assert_eq!(limits.idle, Duration::from_secs(420));
    assert_eq!(limits.connect, Duration::from_secs(5));
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = parse(
        SMALL,
        &[
            ("SIDEGATE__TENANT", "123"),
            ("SIDEGATE__WORKERS", "3"),
            ("SIDEGATE__TLS__ALLOW_TLS12", "true"),
            ("SIDEGATE__INBOUND__0__LISTEN", "[::]:9443"),
            ("SIDEGATE__OUTBOUND__0__EXPECT", "[spiffe://a.example/x, spiffe://a.example/y]"),
            ("SIDEGATE__OUTBOUND__1__LISTEN", "127.0.0.1:9002"),
            ("SIDEGATE__OUTBOUND__1__CONNECT_TO", "ledger:8443"),
            ("SIDEGATE__OUTBOUND__1__EXPECT__0", "spiffe://a.example/ledger"),
            ("SIDEGATE__IDENTITY__FEDERATES_WITH", "[a.example]"),
            ("SIDEGATE__HEALTH__LISTEN", "127.0.0.1:15021"),
            ("SIDEGATE_BLESS", "not ours"),
        ],
    )
    .unwrap_or_else(|problems| panic!("{problems}"));

    // Text wherever text is wanted: nobody quotes twice in an environment.
    assert_eq!(config.tenant, "123");
    assert_eq!(config.workers, 3);
    assert!(config.tls.allow_tls12);
    assert_eq!(config.inbound[0].listen, Listen::Tcp("[::]:9443".parse().unwrap()));
    assert_eq!(config.outbound[0].expect.len(), 2);
    assert_eq!(config.outbound[1].name, "outbound-9002");
    assert_eq!(config.outbound[1].connect_to, ("ledger".to_owned(), 8443));
    assert_eq!(config.health, Some("127.0.0.1:15021".parse().unwrap()));
}

#[test]
fn list_elements_from_the_environment_are_taken_by_number_not_by_spelling() {
    let routes: Vec<(String, String)> = (0..12)
        .map(|index| {
            let name = format!("SIDEGATE__INBOUND__0__ROUTES__{index}");
            (name, format!("{{ path: /r{index}, methods: [GET], scopes: [a:b] }}"))
        })
        .collect();
    let env: Vec<(&str, &str)> = routes.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let config = parse(SMALL, &env).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.inbound[0].routes.len(), 12);
}

#[test]
fn relative_paths_start_at_the_directory_of_the_file() {
    let text = SMALL.replace("/etc/sidegate/policies", "policies");
    let config = config::parse(&text, "/opt/app/sidegate.yaml", variables(&[])).unwrap();
    assert!(
        matches!(&config.policy, PolicyFrom::Files(path) if path == Path::new("/opt/app/policies"))
    );
}

#[test]
fn names_are_found_for_listeners_that_have_none() {
    let text = "\
tenant: acme
policy: /p
outbound:
  - { listen: 127.0.0.1:9001, connect_to: a:1, expect: spiffe://e.org/a }
  - { listen: 127.0.0.2:9001, connect_to: b:1, expect: spiffe://e.org/b }
  - { listen: unix:/run/App Billing.sock, connect_to: c:1, expect: spiffe://e.org/c }
  - { name: outbound-9001-2, listen: 127.0.0.1:9002, connect_to: d:1, expect: spiffe://e.org/d }
";
    let config = parse(text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = config.outbound.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        ["outbound-9001", "outbound-9001-3", "outbound-app-billing", "outbound-9001-2"]
    );
}

#[test]
fn an_alias_that_unfolds_without_end_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = format!("*a{}", level - 1);
        let list = vec![inner; 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{list}]").unwrap();
    }
    let problems = parse(&text, &[]).unwrap_err();
    assert!(problems.to_string().contains("not readable as YAML"), "{problems}");
}

#[test]
fn nesting_without_end_is_refused() {
    for text in ["[".repeat(100_000), "a: ".repeat(100_000), "- ".repeat(100_000)] {
        let problems = parse(&text, &[]).unwrap_err();
        assert!(problems.to_string().contains("not readable as YAML"), "{problems}");
    }
}

#[test]
fn a_file_past_the_limit_is_refused_unread() {
    let problems = parse(&"#\n".repeat(600_000), &[]).unwrap_err();
    assert_eq!(problems.to_string(), "sidegate.yaml: larger than 1024 KiB");
}

#[test]
fn a_file_that_is_not_there_is_a_problem_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.yaml");
    let problems = config::load(&path).unwrap_err().to_string();
    assert!(problems.contains("none.yaml: cannot be read"), "{problems}");
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary.yaml");
    fs::write(&path, b"tenant: \xff\xfe\n").unwrap();
    let problems = config::load(&path).unwrap_err().to_string();
    assert!(problems.contains("not text in UTF-8"), "{problems}");
}

#[test]
fn the_effective_configuration_says_who_said_what() {
    let env = [("SIDEGATE__OUTBOUND__0__LIMITS__IDLE", "7m"), ("SIDEGATE__WORKERS", "2")];
    let effective = config::effective(SMALL, "sidegate.yaml", variables(&env)).unwrap();
    let said = |key: &str| {
        let setting = effective.iter().find(|it| it.key == key).expect(key);
        (setting.value.clone(), setting.origin.clone())
    };

    assert_eq!(said("tenant"), ("acme".into(), "sidegate.yaml:1".to_owned()));
    assert_eq!(said("inbound[0].limits.idle"), ("5m".into(), "default".to_owned()));
    assert_eq!(
        said("outbound[0].limits.idle"),
        ("7m".into(), "environment variable SIDEGATE__OUTBOUND__0__LIMITS__IDLE".to_owned())
    );
    assert_eq!(
        said("identity.workload_api"),
        ("unix:///run/api.sock".into(), "environment variable SPIFFE_ENDPOINT_SOCKET".to_owned())
    );
    assert_eq!(said("inbound[0].name"), ("inbound-8443".into(), "default".to_owned()));
    compare(&in_repository("tests/golden/config/effective.txt"), &effective.to_string());
}

/// What `check --show` prints is itself a configuration, and means the same.
#[test]
fn the_effective_configuration_can_be_used_as_a_file() {
    let full = fs::read_to_string(in_repository("deploy/examples/full.yaml")).unwrap();
    // Beside the documents that it names.
    let name = in_repository("deploy/examples/full.yaml").display().to_string();
    for text in [SMALL, &full] {
        let first = config::parse(text, &name, variables(&[])).unwrap();
        let shown = config::effective(text, &name, variables(&[])).unwrap().to_string();
        let second = config::parse(&shown, &name, variables(&[]));
        let mut second = second.unwrap_or_else(|it| panic!("{it}\n{shown}"));
        for (a, b) in first.inbound.iter().zip(&mut second.inbound) {
            for (a, b) in a.routes.iter().zip(&mut b.routes) {
                b.line = a.line;
            }
        }
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

#[test]
fn the_published_schema_is_in_step_with_the_types() {
    let schema = serde_json::to_string_pretty(&config::schema()).unwrap();
    compare(&in_repository("docs/sidegate.schema.json"), &format!("{schema}\n"));
}

#[test]
fn the_reference_is_in_step_with_the_types() {
    const BEGIN: &str = "<!-- keys: generated from the types by tests/it/config.rs -->\n";
    const END: &str = "<!-- end of keys -->\n";
    let path = in_repository("docs/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a marker where the keys begin");
    let (_, after) = rest.split_once(END).expect("a marker where the keys end");
    let mut keys = String::new();
    let schema = config::schema();
    reference("", &schema, &schema, &mut keys);
    compare(&path, &format!("{before}{BEGIN}{keys}{END}{after}"));
}

/// One table for each map of keys, nested ones after the one around them. What several keys share
/// has its table where it comes first.
fn reference(path: &str, schema: &Value, root: &Value, out: &mut String) {
    for branch in schema["anyOf"].as_array().into_iter().flatten() {
        reference(path, branch, root, out);
    }
    if let Some(pointer) = schema["$ref"].as_str() {
        let shared = root.pointer(pointer.strip_prefix('#').unwrap()).unwrap();
        let mark = format!("<a id=\"{}\"></a>", pointer.rsplit('/').next().unwrap());
        if !out.contains(&mark) {
            writeln!(out, "\n{mark}").unwrap();
            reference(path, shared, root, out);
        }
        return;
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let title = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
    writeln!(out, "\n### {title}\n").unwrap();
    writeln!(out, "| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |").unwrap();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, inner) in properties {
        let default = match inner.get("default").filter(|it| !it.is_null()) {
            Some(Value::Array(list)) => {
                let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                format!("`[{}]`", words.join(", "))
            }
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
            None if required.contains(&key.as_str()) => "**required**".to_owned(),
            None => String::new(),
        };
        let meaning = inner["description"].as_str().unwrap().replace('\n', " ");
        writeln!(out, "| `{key}` | {} | {default} | {meaning} |", kind(inner)).unwrap();
    }
    for (key, inner) in properties {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        reference(&path, inner, root, out);
        if let Some(items) = inner.get("items") {
            reference(&format!("{path}[]"), items, root, out);
        }
    }
}

fn kind(schema: &Value) -> String {
    let allows = |name: &str| match &schema["type"] {
        Value::String(one) => one == name,
        Value::Array(several) => several.iter().any(|it| it == name),
        _ => false,
    };
    if let Some(possible) = schema["enum"].as_array() {
        let words = possible.iter().filter_map(Value::as_str).map(|it| format!("`{it}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    let example = schema.pointer("/examples/0").and_then(Value::as_str);
    let example = example.map(|it| format!(", such as `{it}`")).unwrap_or_default();
    if let Some(branches) = schema["anyOf"].as_array() {
        let branches = branches.iter().filter(|it| it["type"] != "null");
        return branches.map(kind).collect::<Vec<_>>().join(", or ");
    }
    if let Some(pointer) = schema["$ref"].as_str() {
        return format!("[map](#{})", pointer.rsplit('/').next().unwrap());
    }
    match schema["pattern"].as_str() {
        Some(pattern) if pattern.contains("KiB") => return "size".to_owned(),
        Some(_) => return "duration".to_owned(),
        None => {}
    }
    if allows("integer") {
        let [least, most] = ["minimum", "maximum"].map(|it| schema[it].as_u64().unwrap());
        return format!("number, {least} to {most}");
    }
    if allows("boolean") {
        return "`true`, `false`".to_owned();
    }
    if allows("array") {
        return match kind(&schema["items"]).as_str() {
            "map" => "list of maps".to_owned(),
            inner => format!("list of {inner}"),
        };
    }
    if allows("object") { "map".to_owned() } else { format!("text{example}") }
}

proptest! {
    #[test]
    fn a_change_of_one_byte_never_panics(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = SMALL.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes)
            && let Err(problems) = parse(&text, &[])
        {
            assert!(!problems.to_string().is_empty());
        }
    }
}

#[test]
fn the_admin_interface_is_a_unix_socket_and_nothing_else() {
    let with = |admin: &str| parse(&format!("{SMALL}admin: {admin}\n"), &[]);
    let config = with("{ listen: 'unix:/run/sidegate/admin.sock', keep: kept.json }").unwrap();
    let admin = config.admin.unwrap();
    assert_eq!(admin.listen, Path::new("/run/sidegate/admin.sock"));
    assert_eq!(admin.keep.as_deref(), Some(Path::new("kept.json")));
    for (admin, says) in [
        ("{ listen: '127.0.0.1:9000' }", "no Unix socket"),
        ("{ listen: '/run/admin.sock' }", "unix:/path"),
        ("{ keep: /var/lib/kept.json }", "listen"),
        ("{ listen: 'unix:/a.sock', keep: '' }", "is not a path"),
        ("{ listen: 'unix:/a.sock', socket: x }", "socket"),
    ] {
        let told = with(admin).unwrap_err().to_string();
        assert!(told.contains(says), "{admin}: {told}");
    }
    let twice = SMALL.replace("127.0.0.1:9001", "unix:/run/a.sock");
    let told = parse(&format!("{twice}admin: {{ listen: 'unix:/run/a.sock' }}\n"), &[]);
    assert!(told.unwrap_err().to_string().contains("same address"));
    assert_eq!(parse(SMALL, &[]).unwrap().admin, None);
}
