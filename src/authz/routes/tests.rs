//! Tables and properties of routes.

use std::collections::BTreeMap;

use http::Method;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

use super::{RouteError, RouteMatch, RouteSpec, RouteTable};
use crate::authz::{Required, Scope, ScopeSet};

fn http(path: &str, methods: &[Method]) -> RouteSpec {
    RouteSpec {
        name: None,
        matcher: RouteMatch::Http { path: path.to_owned(), methods: methods.to_vec() },
        scopes: Required::All(vec![Scope::parse("a:b").unwrap()]),
    }
}

fn get(path: &str) -> RouteSpec {
    http(path, &[Method::GET])
}

fn grpc(service: &str, method: Option<&str>) -> RouteSpec {
    RouteSpec {
        matcher: RouteMatch::Grpc {
            service: service.to_owned(),
            method: method.map(str::to_owned),
        },
        ..get("/")
    }
}

fn found<'t>(table: &'t RouteTable, method: &Method, path: &str) -> Option<&'t str> {
    table.find(method, path, false).map(|route| &**route.name())
}

fn table(specs: Vec<RouteSpec>) -> RouteTable {
    RouteTable::new(specs).unwrap()
}

#[test]
fn the_most_specific_path_wins() {
    let table = table(vec![
        get("/"),
        get("/users"),
        get("/users/{id}"),
        get("/users/me"),
        get("/users/{id}/keys"),
        get("/users/{id}/"),
        get("/files/**"),
        get("/files/{name}/meta"),
        get("/a%20b/@x"),
    ]);
    for (path, expected) in [
        ("/", Some("/")),
        ("/users", Some("/users")),
        ("/users/7", Some("/users/{id}")),
        ("/users/me", Some("/users/me")),
        ("/users/me/keys", Some("/users/{id}/keys")),
        ("/users/7/", Some("/users/{id}/")),
        ("/users/", None),
        ("/users/7/keys/1", None),
        ("/files/a", Some("/files/**")),
        ("/files/a/b/c/", Some("/files/**")),
        ("/files/a/meta", Some("/files/{name}/meta")),
        ("/files/a/meta/x", Some("/files/**")),
        ("/files/", None),
        ("/files", None),
        ("/a%20b/@x", Some("/a%20b/@x")),
        ("/Users", None),
        ("/nowhere", None),
    ] {
        let expected = expected.map(|path| format!("GET {path}"));
        assert_eq!(found(&table, &Method::GET, path), expected.as_deref(), "{path}");
    }
}

#[test]
fn a_method_that_is_not_listed_is_no_route() {
    let table = table(vec![
        get("/users/{id}"),
        http("/users/{name}", &[Method::PUT, Method::DELETE]),
        http("/users/me", &[Method::POST]),
        http("/heads", &[Method::HEAD]),
        get("/heads"),
    ]);
    assert_eq!(found(&table, &Method::HEAD, "/users/7"), Some("GET /users/{id}"));
    assert_eq!(found(&table, &Method::DELETE, "/users/7"), Some("PUT,DELETE /users/{name}"));
    assert_eq!(found(&table, &Method::PATCH, "/users/7"), None);
    assert_eq!(found(&table, &Method::GET, "/users/me"), None, "a wider path does not help out");
    assert_eq!(found(&table, &Method::HEAD, "/heads"), Some("HEAD /heads"));
    assert_eq!(found(&table, &Method::GET, "/heads"), Some("GET /heads"));
}

#[test]
fn a_grpc_service_owns_its_paths() {
    let table = table(vec![
        grpc("acme.billing.v1.Billing", Some("Charge")),
        grpc("acme.billing.v1.Billing", None),
        grpc("acme.Users", Some("Get")),
        http("/**", &[Method::POST]),
    ]);
    let find = |method: &Method, path: &str, is_grpc: bool| {
        table.find(method, path, is_grpc).map(|route| route.index())
    };
    assert_eq!(find(&Method::POST, "/acme.billing.v1.Billing/Charge", true), Some(0));
    assert_eq!(find(&Method::POST, "/acme.billing.v1.Billing/Refund", true), Some(1));
    assert_eq!(find(&Method::POST, "/acme.Users/Get", true), Some(2));
    assert_eq!(find(&Method::POST, "/acme.Users/Delete", true), None);
    assert_eq!(find(&Method::POST, "/acme.Users/Get", false), None, "not by another content type");
    assert_eq!(find(&Method::GET, "/acme.Users/Get", true), None);
    assert_eq!(find(&Method::POST, "/acme.Users/Get/x", true), None);
    assert_eq!(find(&Method::POST, "/acme.Users/", true), None);
    assert_eq!(find(&Method::POST, "/acme.Other/Get", true), Some(3));
}

#[test]
fn routes_are_numbered_and_named() {
    let mut named = get("/b");
    named.name = Some("items".to_owned());
    let table = table(vec![get("/a"), named, grpc("a.B", None)]);
    let names: Vec<_> = table.routes().iter().map(|route| &**route.name()).collect();
    assert_eq!(names, ["GET /a", "items", "a.B/*"]);
    assert!(table.routes().iter().enumerate().all(|(index, route)| route.index() == index));
    assert_eq!(&**table.routes()[0].required_text(), "a:b");
}

#[test]
fn wrong_declarations_are_refused_by_name() {
    let no_scopes = RouteSpec { scopes: Required::Any(Vec::new()), ..get("/a") };
    for (specs, expected) in [
        (vec![get("a")], "`a` is not a path"),
        (vec![get("/a//b")], "empty segment"),
        (vec![get("/a/../b")], "`.` or `..` segment"),
        (vec![get("/a?b")], "is not a path"),
        (vec![get("/%61")], "is not a path"),
        (vec![get("/a/{id}x")], "`{id}x` is not a segment"),
        (vec![get("/a/{}")], "`{}` is not a segment"),
        (vec![get("/**/a")], "`**` stands only at the end"),
        (vec![get("/a**")], "`**` stands only at the end"),
        (vec![http("/a", &[])], "route ` /a` lists no methods"),
        (vec![no_scopes], "route `GET /a` lists no scopes"),
        (vec![grpc("a/b", None)], "`a/b` is not the name of a gRPC service"),
        (vec![grpc("", None)], "is not the name of a gRPC"),
        (vec![grpc("a.B", Some("C/D"))], "`C/D` is not the name of a gRPC"),
        (vec![get("/a"), get("/a")], "two routes have the name `GET /a`"),
        (
            vec![get("/a/{x}"), get("/a/{y}")],
            "routes `GET /a/{x}` and `GET /a/{y}` both claim `GET /a/{y}`",
        ),
        (vec![grpc("a.B", None), get("/a.B/{x}")], "both claim `/a.B/`"),
        (vec![get("/a.B/**"), grpc("a.B", Some("C"))], "both claim `/a.B/`"),
    ] {
        let error = RouteTable::new(specs).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_parameter_may_have_a_dash_in_its_name() {
    let table = table(vec![get("/users/{user-id}/keys/{7}")]);
    assert!(found(&table, &Method::GET, "/users/7/keys/8").is_some());
    let error = RouteTable::new(vec![get("/users/{user id}")]).unwrap_err().to_string();
    assert!(error.contains("is not a segment"), "{error}");
}

#[test]
fn alternatives_are_met_by_all_of_one_and_said_in_the_simplest_form() {
    let scopes = |text: &&str| -> Vec<Scope> {
        text.split(' ').filter(|it| !it.is_empty()).map(|it| Scope::parse(it).unwrap()).collect()
    };
    for (lists, held, met, text) in [
        (vec!["a:b c:d", "e:f"], "e:f", true, "a:b c:d | e:f"),
        (vec!["a:b c:d", "e:f"], "a:b c:d", true, "a:b c:d | e:f"),
        (vec!["a:b c:d", "e:f"], "a:b", false, "a:b c:d | e:f"),
        (vec!["a:b c:d", "e:f g:h"], "a:b g:h", false, "a:b c:d | e:f g:h"),
        (vec!["a:b", "e:f"], "e:f", true, "a:b e:f"),
        (vec!["a:b a:b"], "a:b", true, "a:b"),
        (vec!["a:b c:d", "c:d"], "c:d", true, "c:d"),
        (vec!["c:d", "c:d a:b"], "a:b", false, "c:d"),
        (vec!["a:b", ""], "a:b", false, ""),
        (vec![], "a:b", false, ""),
    ] {
        let required = Required::any_of(lists.iter().map(scopes).collect());
        let held = ScopeSet::parse(held).unwrap();
        assert_eq!(required.is_met_by(&held), met, "{lists:?}");
        assert_eq!(required.text(), text, "{lists:?}");
    }
    let required = Required::any_of(vec![scopes(&"a:b c:d"), scopes(&"c:d e:f")]);
    let named: Vec<_> = required.scopes().iter().map(ToString::to_string).collect();
    assert_eq!(named, ["a:b", "c:d", "e:f"]);
    assert_eq!(
        required.challenge(),
        "Bearer error=\"insufficient_scope\", scope=\"a:b c:d\", \
         Bearer error=\"insufficient_scope\", scope=\"c:d e:f\""
    );
    let nothing =
        RouteSpec { scopes: Required::any_of(vec![scopes(&""), scopes(&"a:b")]), ..get("/") };
    assert!(matches!(RouteTable::new(vec![nothing]), Err(RouteError::NoScopes { .. })));
}

#[test]
fn what_is_required_is_met_as_written() {
    let scopes = |texts: &[&str]| texts.iter().map(|it| Scope::parse(it).unwrap()).collect();
    let held = ScopeSet::parse("users:read *:list").unwrap();
    for (required, met) in [
        (Required::All(scopes(&["users:read", "orders:list"])), true),
        (Required::All(scopes(&["users:read", "orders:read"])), false),
        (Required::Any(scopes(&["users:read", "orders:read"])), true),
        (Required::Any(scopes(&["users:write", "orders:read"])), false),
        (Required::All(Vec::new()), false),
        (Required::Any(Vec::new()), false),
        (Required::DangerNoScope, true),
    ] {
        assert_eq!(required.is_met_by(&held), met, "{required:?}");
    }
    assert_eq!(
        Required::All(scopes(&["a:b", "c:d"])).challenge(),
        "Bearer error=\"insufficient_scope\", scope=\"a:b c:d\""
    );
    assert!(matches!(RouteTable::new(vec![http("/", &[])]), Err(RouteError::NoMethods { .. })));
}

fn segment() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a", "b", "{x}"])
}

fn template() -> impl Strategy<Value = Vec<&'static str>> {
    (proptest::collection::vec(segment(), 1..4), proptest::bool::ANY).prop_map(|(mut all, rest)| {
        if rest {
            all.push("**");
        }
        all
    })
}

/// Slow and plain: does it match, and how specific is it, segment by segment?
fn rank(template: &[&str], path: &[&str], nothing_is_rest: bool) -> Option<Vec<u8>> {
    let mut rank = Vec::new();
    for (at, segment) in template.iter().enumerate() {
        match (*segment, path.get(at)) {
            ("**", given) if given.is_some() || nothing_is_rest => {
                rank.push(2);
                return Some(rank);
            }
            ("{x}", Some(_)) => rank.push(1),
            (literal, Some(given)) if literal == *given => rank.push(0),
            _ => return None,
        }
    }
    (template.len() == path.len()).then_some(rank)
}

fn written(segments: &[&str]) -> String {
    format!("/{}", segments.join("/"))
}

/// Segments of a path or, with `**` at the end of some, of a template. Some end with a slash.
fn spelled(
    words: &'static [&'static str],
    with_rest: bool,
) -> impl Strategy<Value = Vec<&'static str>> {
    let segments = proptest::collection::vec(proptest::sample::select(words), 1..4);
    (segments, 0..4_u8).prop_map(move |(mut all, end)| {
        match end {
            0 => all.push(""),
            1 if with_rest => all.push("**"),
            _ => {}
        }
        all
    })
}

/// Which template of all matches a path, and by which rank, slowly.
fn best<'d>(
    declared: &'d BTreeMap<Vec<&'static str>, Vec<&'static str>>,
    path: &[&str],
    nothing_is_rest: bool,
) -> Option<&'d Vec<&'static str>> {
    let rank = |template: &[&str]| {
        let mut rank = Vec::new();
        for (at, segment) in template.iter().enumerate() {
            match (*segment, path.get(at).copied()) {
                ("**", Some(given)) if nothing_is_rest || !given.is_empty() => {
                    rank.push(2);
                    return Some(rank);
                }
                ("**", None) if nothing_is_rest => {
                    rank.push(2);
                    return Some(rank);
                }
                ("{x}", Some(given)) if nothing_is_rest || !given.is_empty() => rank.push(1),
                (literal, Some(given)) if literal == given => rank.push(0),
                _ => return None,
            }
        }
        (template.len() == path.len()).then_some(rank)
    };
    let ranked = declared.keys().filter_map(|it| rank(it).map(|rank| (rank, it)));
    ranked.min().map(|(_, it)| it)
}

/// The index of the route that a request falls under.
fn plainly(
    declared: &BTreeMap<Vec<&'static str>, Vec<&'static str>>,
    path: &[&str],
    method: &Method,
) -> Option<usize> {
    let found = best(declared, path, false)?;
    if found.ends_with(&["**"]) {
        let bare = path.strip_suffix(&[""]).unwrap_or(path);
        if best(declared, bare, true) != Some(found) {
            return None;
        }
    }
    let (index, (_, methods)) = declared.iter().enumerate().find(|(_, (it, _))| *it == found)?;
    let head = method == Method::HEAD && methods.contains(&"GET");
    (methods.contains(&method.as_str()) || head).then_some(index)
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_plain_search(
        templates in proptest::collection::btree_set(template(), 1..8),
        path in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "c"]), 1..6),
    ) {
        let written = |segments: &[&str]| format!("/{}", segments.join("/"));
        let table = table(templates.iter().map(|it| get(&written(it))).collect());
        let best = |nothing_is_rest| {
            templates
                .iter()
                .filter_map(|it| rank(it, &path, nothing_is_rest).map(|rank| (rank, it)))
                .min()
                .map(|(_, it)| format!("GET {}", written(it)))
        };
        // What is claimed by a closer `**`, if that stood for nothing, is had by no broader one.
        let best = best(false).filter(|it| !it.ends_with("**") || best(true).as_ref() == Some(it));
        prop_assert_eq!(found(&table, &Method::GET, &written(&path)), best.as_deref());
    }

    #[test]
    fn a_table_of_any_size_agrees_with_a_plain_search(
        declared in proptest::collection::btree_map(
            spelled(&["a", "b", "resource-1", "resource-2", "{x}"], true),
            proptest::sample::subsequence(vec!["GET", "HEAD", "POST", "PURGE"], 1..4),
            1..60,
        ),
        paths in proptest::collection::vec(
            spelled(&["a", "b", "c", "resource-1", "resource-2", "resource-3"], false),
            1..30,
        ),
        method in proptest::sample::select(vec!["GET", "HEAD", "POST", "PURGE", "PUT"]),
    ) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let specs = declared.iter().map(|(template, methods)| {
            let methods: Vec<_> =
                methods.iter().map(|it| Method::from_bytes(it.as_bytes()).unwrap()).collect();
            http(&written(template), &methods)
        });
        let table = table(specs.collect());
        for path in paths {
            let expected = plainly(&declared, &path, &method);
            let found = table.find(&method, &written(&path), false).map(|it| it.index());
            prop_assert_eq!(found, expected, "{}", written(&path));
        }
    }

    #[test]
    fn a_service_is_found_by_its_whole_name_and_by_nothing_else(
        services in proptest::collection::btree_set("[ab]{1,2}(\\.[AB]{1,2}){0,2}", 1..30),
        service in "[ab]{1,2}(\\.[AB]{1,2}){0,2}",
        method in proptest::sample::select(vec!["Get", "Put", "Other"]),
    ) {
        let mut specs = Vec::new();
        for service in &services {
            specs.push(grpc(service, Some("Get")));
            if service.len() % 2 == 0 {
                specs.push(grpc(service, None));
            }
        }
        let table = table(specs);
        let expected = match services.contains(&service) {
            true if method == "Get" => Some(format!("{service}/Get")),
            true if service.len() % 2 == 0 => Some(format!("{service}/*")),
            _ => None,
        };
        let path = format!("/{service}/{method}");
        let found = table.find(&Method::POST, &path, true).map(|it| it.name().to_string());
        prop_assert_eq!(found, expected);
        prop_assert!(table.find(&Method::POST, &path, false).is_none());
        prop_assert!(table.find(&Method::GET, &path, true).is_none());
    }

    #[test]
    fn any_path_and_template_is_read_without_panic(path: String, template: String) {
        drop(RouteTable::new(vec![get(&template)]));
        assert!(table(vec![get("/only/{b}/**")]).find(&Method::GET, &path, true).is_none());
    }
}

#[test]
fn a_slash_at_the_end_leads_to_no_broader_route() {
    let table = table(vec![
        get("/**"),
        get("/users"),
        get("/users/{id}"),
        get("/admin/**"),
        get("/slash/"),
        get("/app/**"),
    ]);
    for (path, expected) in [
        ("/other", Some("GET /**")),
        ("/other/", Some("GET /**")),
        ("/users/", None),
        ("/users/5/", None),
        ("/users/5/6", Some("GET /**")),
        ("/admin", None),
        ("/admin/", None),
        ("/admin/x", Some("GET /admin/**")),
        ("/admin/x/", Some("GET /admin/**")),
        ("/slash/", Some("GET /slash/")),
    ] {
        assert_eq!(found(&table, &Method::GET, path), expected, "{path}");
    }
}
