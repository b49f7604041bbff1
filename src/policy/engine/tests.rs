//! Policies as text, and what becomes of them.

use std::time::{Duration, Instant, UNIX_EPOCH};

use spiffe::SpiffeId;

use crate::policy::source::{Data, Format, Source, Text};
use crate::policy::{
    Budget, Ceiling, DenyReason, Direction, EvalError, IdentityAnswer, IdentityQuestion, Limit,
    LoadError, Local, Policy, RequestQuestion, Subject, Workload, compile,
};

fn text(name: &str, text: &str) -> Text {
    Text { name: name.to_owned(), text: text.to_owned() }
}

fn source(modules: &[&str], data: &str) -> Source {
    let modules = modules.iter().enumerate();
    Source {
        modules: modules.map(|(n, module)| text(&format!("m{n}.rego"), module)).collect(),
        tests: Vec::new(),
        data: vec![Data { file: text("data.json", data), mount: Vec::new(), format: Format::Json }],
        revision: "test".into(),
        enforced: "test".into(),
        content: "test".into(),
        ..Source::default()
    }
}

fn policy(modules: &[&str]) -> Result<Policy, String> {
    compile(source(modules, r#"{"services": {"orders": {"tenant": "acme"}}, "list": [1, 2]}"#))
        .map_err(|error| error.to_string())
}

const GRANT: &str = "package sidegate.global\nimport rego.v1\n";
const NOTHING: &str = "grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n";

fn global(rules: &str) -> Result<Policy, String> {
    policy(&[&format!("{GRANT}{rules}")])
}

fn subject() -> Subject {
    Subject::spiffe(Workload::new(&SpiffeId::new("spiffe://example.org/prod/orders").unwrap()))
}

fn local() -> Local {
    let billing = SpiffeId::new("spiffe://example.org/prod/billing").unwrap();
    Local {
        workload: Some(Workload::new(&billing)),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    }
}

fn ask(policy: &Policy) -> Result<IdentityAnswer, EvalError> {
    let (subject, local) = (subject(), local());
    let address = Some([10, 0, 0, 1].into());
    policy.identity(&IdentityQuestion {
        subject: &subject,
        address,
        local: &local,
        now: UNIX_EPOCH + Duration::from_secs(3600),
    })
}

fn ceiling(policy: &Policy, subject: &Subject) -> Result<Ceiling, EvalError> {
    let local = local();
    policy.ceiling(&IdentityQuestion { subject, address: None, local: &local, now: UNIX_EPOCH })
}

fn deny_request(policy: &Policy, path: &str) -> Result<Vec<DenyReason>, EvalError> {
    let (subject, local) = (subject(), local());
    policy.request_denials(&RequestQuestion {
        identity: IdentityQuestion {
            subject: &subject,
            address: None,
            local: &local,
            now: UNIX_EPOCH,
        },
        protocol: "http",
        method: "GET",
        path,
        query: &[],
        host: "billing",
        route: "r",
        headers: &[],
        grpc: None,
        scopes_required: &[],
        scopes: &[],
        tenant: Some("acme"),
    })
}

#[test]
fn an_answer_in_full_is_decoded() {
    let policy = global(
        r#"grant := {"roles": {"reader"}, "scopes": ["a:b", "*:read"], "tenant": "acme",
             "teams": ["core"], "cross_tenant": true, "ttl_seconds": 60}
           deny contains "because" if input.peer.service == "orders"
           deny contains {"code": "late", "message": "too late"} if input.time.hour == 1
           deny contains "never" if input.peer.service == "other""#,
    )
    .unwrap();
    let answer = ask(&policy).unwrap();
    assert_eq!(answer.grant.roles, ["reader"]);
    assert_eq!(answer.grant.scopes, ["a:b", "*:read"]);
    assert_eq!(answer.grant.tenant.as_deref(), Some("acme"));
    assert_eq!(answer.grant.teams, ["core"]);
    assert!(answer.grant.cross_tenant);
    assert_eq!(answer.grant.ttl, Some(Duration::from_secs(60)));
    let reason = |code: Option<&str>, message: &str| DenyReason {
        layer: "global",
        code: code.map(str::to_owned),
        message: message.to_owned(),
    };
    assert!(answer.denials.contains(&reason(None, "because")));
    assert!(answer.denials.contains(&reason(Some("late"), "too late")));
    assert_eq!(answer.denials.len(), 2);
}

#[test]
fn what_is_not_the_contract_is_no_answer() {
    for (grant, expected) in [
        ("\"yes\"", "found a string"),
        ("true", "found a boolean"),
        ("{\"roles\": [], \"scopes\": []}", "field `tenant` is missing"),
        ("{\"roles\": [], \"scopes\": [], \"tenant\": 1}", "`tenant` is a number"),
        ("{\"roles\": [1], \"scopes\": [], \"tenant\": null}", "`roles` is a number"),
        ("{\"roles\": [], \"scopes\": \"a:b\", \"tenant\": null}", "`scopes` is a string"),
        ("{\"roles\": [], \"scopes\": [\"<undefined>\"], \"tenant\": null}", "is undefined"),
        ("{\"roles\": [], \"scopes\": [], \"tenant\": null, \"admin\": true}", "field `admin`"),
        ("{\"roles\": [], \"scopes\": [], \"tenant\": null, \"ttl_seconds\": 0}", "ttl_seconds"),
        ("{\"roles\": [], \"scopes\": [], \"tenant\": null, \"ttl_seconds\": 86401}", "ttl"),
        ("{\"roles\": [], \"scopes\": [], \"tenant\": null, \"ttl_seconds\": 1.5}", "ttl"),
        ("{\"roles\": [], \"scopes\": [], \"tenant\": null, \"cross_tenant\": 1}", "cross_tenant"),
        ("{\"roles\": [], \"scopes\": numbers.range(1, 300), \"tenant\": null}", "256 entries"),
    ] {
        let policy = global(&format!("grant := {grant}")).unwrap();
        let error = ask(&policy).unwrap_err().to_string();
        assert!(error.contains(expected), "{grant}: {error}");
    }
}

#[test]
fn no_answer_and_a_failing_one_are_errors() {
    let undefined = global(&format!("{} if input.peer.service == \"x\"", NOTHING.trim())).unwrap();
    assert!(matches!(ask(&undefined), Err(EvalError::Undefined { .. })));
    let conflict =
        global(&format!("{NOTHING}grant := {{\"roles\": []}} if input.peer.service == \"orders\""))
            .unwrap();
    assert!(matches!(ask(&conflict), Err(EvalError::Evaluate { .. })));
    let strict =
        global(&format!("{NOTHING}deny contains \"x\" if not startswith(input.peer.service, 5)"))
            .unwrap();
    let error = ask(&strict).unwrap_err().to_string();
    assert!(error.contains("m0.rego:4"), "{error}");
}

#[test]
fn layers_narrow_in_their_order_and_an_empty_one_allows_nothing() {
    let policy = policy(&[
        &format!("{GRANT}{NOTHING}"),
        "package sidegate.tenant\nimport rego.v1\nlimit := [\"users:*\"]",
        "package sidegate.team\nimport rego.v1\nlimit := [\"a:b\"] if input.peer.service == \"x\"\n\
         deny contains \"team\" if true",
    ])
    .unwrap();
    let answer = ask(&policy).unwrap();
    let limits: Vec<_> =
        answer.limits.iter().map(|it| (it.layer, it.patterns.as_slice())).collect();
    assert_eq!(limits, [("team", &[][..]), ("tenant", &["users:*".to_owned()][..])]);
    assert_eq!(answer.denials.first().map(|it| it.layer), Some("team"));
}

#[test]
fn everybody_has_a_limit_that_comes_first() {
    let policy = policy(&[
        &format!("{GRANT}{NOTHING}limit := [\"a:*\"] if input.peer.method == \"jwt\""),
        "package sidegate.team\nlimit := [\"b:*\"]",
    ])
    .unwrap();
    let limits = |limits: &[Limit]| -> Vec<(&str, Vec<String>)> {
        limits.iter().map(|it| (it.layer, it.patterns.clone())).collect()
    };
    let team = ("team", vec!["b:*".to_owned()]);
    assert_eq!(limits(&ask(&policy).unwrap().limits), [("global", vec![]), team.clone()]);
    let token = Subject::jwt("robot".into(), "https://issuer".into());
    let capped = ceiling(&policy, &token).unwrap();
    assert_eq!(limits(&capped.limits), [("global", vec!["a:*".to_owned()]), team]);
}

#[test]
fn a_ceiling_is_what_is_left_without_asking_for_a_grant() {
    let policy = policy(&[
        &format!("{GRANT}grant := 1\nlimit := [\"a:b\"]\ndeny contains \"no\" if true"),
        "package sidegate.tenant\nlimit := {\"a:*\", \"b:*\"}",
    ])
    .unwrap();
    assert!(matches!(ask(&policy), Err(EvalError::Shape { .. })));
    let ceiling = ceiling(&policy, &subject()).unwrap();
    assert_eq!(ceiling.limits.len(), 2);
    assert_eq!(ceiling.denials[0].layer, "global");
}

#[test]
fn a_ceiling_that_fails_is_no_ceiling() {
    let failing = global(&format!("{NOTHING}limit := \"all\"")).unwrap();
    let error = ceiling(&failing, &subject()).unwrap_err().to_string();
    assert!(error.starts_with("`data.sidegate.global.limit` answers something else"), "{error}");
    let undefined = global(&format!("{NOTHING}deny := [] if input.peer.path == 1")).unwrap();
    assert!(matches!(ceiling(&undefined, &subject()), Err(EvalError::Undefined { .. })));
}

#[test]
fn a_token_may_be_told_by_its_issuer_and_subject() {
    let policy = global(&format!(
        "{NOTHING}default limit := []\nlimit := [\"a:b\"] if {{\n\tinput.peer.issuer == \"https://issuer\"\n\t\
         input.peer.subject == \"robot\"\n\tinput.peer.spiffe_id == null\n}}"
    ))
    .unwrap();
    for (subject, issuer, patterns) in [
        ("robot", "https://issuer", &["a:b".to_owned()][..]),
        ("robot", "https://other", &[]),
        ("other", "https://issuer", &[]),
    ] {
        let token = Subject::jwt(subject.into(), issuer.into());
        assert_eq!(ceiling(&policy, &token).unwrap().limits[0].patterns, patterns, "{subject}");
    }
}

#[test]
fn revocations_come_with_the_policy() {
    let data = r#"{"revocations": {"subjects": ["robot"]}}"#;
    let policy = compile(source(&[&format!("{GRANT}{NOTHING}")], data)).unwrap();
    assert!(policy.revocations().subject("robot") && !policy.revocations().subject("other"));
    assert!(global(NOTHING).unwrap().revocations().is_empty());
    let data = r#"{"revocations": {"subject": []}}"#;
    let error = compile(source(&[&format!("{GRANT}{NOTHING}")], data)).unwrap_err();
    assert!(error.to_string().starts_with("data: `revocations` has only "), "{error}");
}

#[test]
fn requests_are_asked_about_only_if_the_policy_has_a_rule_for_them() {
    let silent = global(NOTHING).unwrap();
    assert!(!silent.asks_requests());
    assert_eq!(deny_request(&silent, "/a"), Ok(Vec::new()));
    let strict = policy(&[
        &format!("{GRANT}{NOTHING}"),
        "package sidegate.request\nimport rego.v1\n\
         deny contains \"no admin\" if input.request.segments[0] == \"admin\"",
    ])
    .unwrap();
    assert!(strict.asks_requests());
    assert_eq!(deny_request(&strict, "/a"), Ok(Vec::new()));
    let reasons = deny_request(&strict, "/admin/x").unwrap();
    assert_eq!((reasons[0].layer, reasons[0].message.as_str()), ("request", "no admin"));
}

#[test]
fn a_loop_without_end_is_cut_off_and_denied() {
    let policy = global(&format!(
        "{NOTHING}deny contains \"x\" if {{\n\tr := numbers.range(1, 2000)\n\tsome a in r\n\tsome b \
         in r\n\tsome c in r\n\ta + b + c < 0\n}}"
    ))
    .unwrap();
    let started = Instant::now();
    let entry = "data.sidegate.global.deny".to_owned();
    assert_eq!(ask(&policy), Err(EvalError::Timeout { entry }));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn time_that_was_spent_inside_a_function_is_time_too() {
    let policy = global(&format!(
        "{NOTHING}deny contains \"x\" if slow(1) == 1\nslow(x) := count(found) if {{\n\t\
         r := numbers.range(1, 5000)\n\tfound := [1 | some a in r; some b in r; a + b < x]\n}}"
    ))
    .unwrap();
    let entry = "data.sidegate.global.deny".to_owned();
    assert_eq!(ask(&policy), Err(EvalError::Timeout { entry }));
}

#[test]
fn hostile_modules_are_refused_and_nothing_crashes() {
    let chain: String = (1..2000).map(|n| format!("f{n}(x) := f{}(x) if true\n", n - 1)).collect();
    for (rules, expected) in [
        (format!("x := {}1{}", "[".repeat(20), "]".repeat(20)), "nested too deeply"),
        ("x := ".to_owned() + &"[\n".repeat(15_000), "nested too deeply"),
        ("x := ".to_owned() + &"{\"a\":\n".repeat(15_000), "nested too deeply"),
        ("x := ".to_owned() + &"1 +\n".repeat(15_000) + "1", "too many operators"),
        ("x := ".to_owned() + &"f(\n".repeat(15_000), "nested too deeply"),
        ("f(n) := f(n + 1)\ndeny contains \"x\" if f(1)".to_owned(), "refers to itself"),
        ("x := y\ny := x\ndeny contains \"x\" if x".to_owned(), "refers to itself"),
        ("deny contains \"x\" if data.sidegate[input.peer.path]".to_owned(), "refers to itself"),
        ("deny contains \"x\" if data[input.peer.path].x".to_owned(), "refers to itself"),
        (format!("f0(x) := x\n{chain}deny contains \"x\" if f1999(1)"), "more than 64 rules"),
        ("x := numbers.range(1, 100000000)".to_owned(), "takes plain numbers"),
        ("x := replace(\"a\", \"a\", input.peer.path)".to_owned(), "puts in plain text of at most"),
        ("x := net.cidr_expand(\"10.0.0.0/7\")".to_owned(), "can take forever"),
        ("x := sprintf(\"%999999999d\", [1])".to_owned(), "too wide a field"),
    ] {
        let error = global(&format!("{NOTHING}{rules}\n")).unwrap_err();
        let start: String = rules.chars().take(40).collect();
        assert!(error.contains(expected), "{start}: {error}");
        assert!(error.starts_with("m0.rego:"), "{start}: {error}");
    }
}

#[test]
fn the_deepest_policy_that_is_accepted_fits_a_small_stack() {
    let mut rules = String::from("f0(x) := x\n");
    for n in 1..60 {
        rules += &format!("f{n}(x) := y if {{ y := [z | z := f{}(x) + 1][0] }}\n", n - 1);
    }
    let policy = global(&format!("{NOTHING}{rules}deny contains \"x\" if f59(1) < 0")).unwrap();
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let answer = thread.spawn(move || ask(&policy)).unwrap().join().unwrap();
    assert_eq!(answer.unwrap().denials, []);
}

#[test]
fn regular_expressions_know_unicode() {
    let policy = global(&format!(
        r#"{NOTHING}deny contains "digits" if regex.match(`^[0-9]+ (?i:É)$`, "12 é")
           deny contains "case" if regex.match(`(?i)^ORDERS$`, input.peer.service)"#
    ))
    .unwrap();
    assert_eq!(ask(&policy).unwrap().denials.len(), 2);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (modules, expected) in [
        (vec!["package a\nx := 1"], "policy: `data.sidegate.global.grant` is not defined"),
        (vec!["package sidegate.global\nimport rego.v1\ngrant := {"], "m0.rego:3:"),
        (vec!["package sidegate.global\nimport rego.v1\nx if y\n"], "m0.rego:3:1: "),
        (
            vec![
                "package sidegate.global\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": q} if {\n\
                 q == 1\n}",
            ],
            "m0.rego:3:",
        ),
    ] {
        let error = policy(&modules).unwrap_err();
        assert!(error.contains(expected), "{modules:?}: {error}");
    }
}

#[test]
fn data_cannot_stand_in_for_answers() {
    let error = compile(source(&[&format!("{GRANT}{NOTHING}")], r#"{"sidegate": {}}"#));
    let Err(LoadError::Refused { problems }) = error else { panic!("accepted") };
    assert!(problems[0].to_string().starts_with("data.json: data under `sidegate`"));
}

#[test]
fn broken_data_and_roles_are_named() {
    for (data, expected) in [
        ("{", "data.json: "),
        ("[]", "data.json: the document is not an object"),
        (r#"{"roles": {"a": {"scopes": ["A"]}}}"#, "data: role `a`: `A` is not a scope"),
    ] {
        let error = compile(source(&[&format!("{GRANT}{NOTHING}")], data)).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{data}: {error}");
    }
}

#[test]
fn a_package_in_two_files_is_one_package() {
    let (one, two) = (
        format!(
            "{GRANT}grant := {{\"roles\": [], \"scopes\": [], \"tenant\": \"acme\"}} if ours\nours if input.peer.service == \"orders\"\ndeny contains \"a\" if ours"
        ),
        format!(
            "{GRANT}default limit := []\nlimit := [\"a:b\"] if ours\ndeny contains \"b\" if helper\nhelper if grant.tenant == \"acme\""
        ),
    );
    let tenant = "package sidegate.tenant\nimport rego.v1\nimport data.sidegate.global\nlimit := [t] if { t := data.sidegate.global.grant.tenant }\n\
                  deny contains \"c\" if data.sidegate.global.grant.tenant == \"acme\"\n\
                  deny contains \"d\" if global.grant.tenant == \"acme\"\n\
                  deny contains \"e\" if \"a\" in global.deny\n\
                  deny contains \"f\" if global.helper";
    for modules in [[&one, &two], [&two, &one]] {
        for modules in [[modules[0], modules[1], tenant], [tenant, modules[0], modules[1]]] {
            let answer = ask(&policy(&modules).unwrap()).unwrap();
            let mut denials: Vec<_> = answer.denials.iter().map(|it| it.message.as_str()).collect();
            denials.sort_unstable();
            assert_eq!(denials, ["a", "b", "c", "d", "e", "f"]);
            assert_eq!(answer.limits[0].patterns, ["a:b"]);
            assert_eq!(answer.limits[1].patterns, ["acme"]);
        }
    }
}

#[test]
fn while_there_is_no_policy_nobody_is_let_in() {
    let closed = Policy::closed();
    assert!(closed.is_closed() && &**closed.revision() == "none");
    let (subject, local) = (subject(), local());
    let question =
        IdentityQuestion { subject: &subject, address: None, local: &local, now: UNIX_EPOCH };
    let error = closed.identity(&question).unwrap_err();
    assert_eq!(error.to_string(), "no policy has been received yet");
    assert_eq!(closed.ceiling(&question).unwrap_err(), error);
}

#[test]
fn an_interpreter_that_gives_up_is_an_error_and_no_more() {
    let gives_up = || -> Result<(), ()> { panic!("as the interpreter would") };
    assert_eq!(super::super::entry::unharmed(gives_up), Err(None));
    assert_eq!(super::super::entry::unharmed(|| Err::<(), _>("said")), Err(Some("said")));
}

#[test]
fn a_budget_that_is_used_up_answers_nothing() {
    let loops = "count([1 | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000); \
        some c in numbers.range(1, 1000); a + b + c > 0]) > 0";
    let policy = global(&format!("{NOTHING}deny contains \"x\" if {loops}")).unwrap();
    let (subject, local) = (subject(), local());
    let question =
        IdentityQuestion { subject: &subject, address: None, local: &local, now: UNIX_EPOCH };
    let budget = Budget::on_worker();
    let asking = policy.within(budget);
    let cut = |asked: Result<IdentityAnswer, EvalError>| {
        assert!(matches!(asked, Err(EvalError::Timeout { .. })), "{asked:?}");
    };
    let began = Instant::now();
    cut(asking.identity(&question));
    // The bound is loose enough for any machine: all the time that there is would be longer.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // All questions share it: the next is not even begun.
    cut(asking.identity(&question));
}
