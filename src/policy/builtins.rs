//! Which builtin functions a policy may call: a list of what is allowed, so that a newer
//! interpreter brings nothing in by itself.

/// Answers depend on the arguments alone, and the work is bounded by their size.
const ALLOWED: &[&str] = &[
    "__builtin_sets.intersection",
    "__builtin_sets.union",
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "base64.decode",
    "base64.encode",
    "base64.is_valid",
    "base64url.decode",
    "base64url.encode",
    "base64url.encode_no_pad",
    "bits.and",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "graph.reachable",
    "hex.decode",
    "hex.encode",
    "indexof",
    "indexof_n",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.is_valid",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "net.cidr_contains",
    "net.cidr_is_valid",
    "numbers.range",
    "numbers.range_step",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.union",
    "object.union_n",
    "product",
    "regex.find_all_string_submatch_n",
    "regex.find_n",
    "regex.match",
    "regex.replace",
    "regex.split",
    "replace",
    "round",
    "semver.compare",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.reverse",
    "substring",
    "sum",
    "time.clock",
    "time.date",
    "time.diff",
    "time.parse_duration_ns",
    "time.parse_rfc3339_ns",
    "time.weekday",
    "to_number",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "upper",
    "walk",
];

/// Answer otherwise in OPA, some of them by a panic, and what to write instead.
const DIFFERENT: &[(&str, &str)] = &[
    ("glob.quote_meta", "write the pattern as plain text"),
    ("json.filter", "use `object.filter`"),
    ("json.marshal", "use `sprintf` with `%v`"),
    ("json.marshal_with_options", "use `sprintf` with `%v`"),
    ("json.remove", "use `object.remove`"),
    ("object.subset", "compare field by field, or sets by `&`"),
    ("regex.is_valid", "write the pattern as plain text"),
    ("regex.template_match", "use `glob.match` or `regex.match`"),
    ("semver.is_valid", "use `regex.match`"),
    ("strings.count", "use `indexof_n`"),
    ("strings.replace_n", "use `replace`"),
    ("time.add_date", "compare points in time"),
    ("time.format", "use `time.date` and `time.clock`"),
    ("time.parse_ns", "use `time.parse_rfc3339_ns`"),
    ("units.parse", "write the number"),
    ("units.parse_bytes", "write the number"),
    ("urlquery.decode", "use `input.request.query`"),
    ("urlquery.decode_object", "use `input.request.query`"),
    ("urlquery.encode", "write the encoded text"),
    ("urlquery.encode_object", "write the encoded text"),
    ("yaml.is_valid", "use `data.yaml`"),
    ("yaml.marshal", "use `sprintf` with `%v`"),
    ("yaml.unmarshal", "use `data.yaml`"),
];

/// Why a function is refused; `None` if it may be called.
pub(super) fn refusal(name: &str) -> Option<String> {
    if ALLOWED.binary_search(&name).is_ok() {
        return None;
    }
    if let Some((_, instead)) = DIFFERENT.iter().find(|(different, _)| *different == name) {
        return Some(format!("answers otherwise in OPA: {instead}"));
    }
    let reason = match name {
        "time.now_ns" => "reads the clock: use `input.time`",
        "bits.lsh" | "net.cidr_expand" => "can take forever",
        "graph.reachable_paths" => "can take forever: use `graph.reachable`",
        "print" | "trace" => "belongs into tests only",
        _ if name.starts_with("rand.") || name.starts_with("uuid.") => "answers by chance",
        "http.send" | "opa.runtime" => "reaches outside the policy",
        _ if name.starts_with("net.lookup") => "reaches outside the policy",
        _ => "is not a function that a policy can call",
    };
    Some(reason.to_owned())
}

/// What tests may call beside: harmless, where nothing hangs on the answer.
pub(super) fn is_for_tests(name: &str) -> bool {
    matches!(name, "opa.runtime" | "print" | "rand.intn" | "time.now_ns" | "trace")
}

#[cfg(test)]
mod tests {
    use regorus::unstable::BUILTINS;

    use super::*;

    #[test]
    fn what_is_allowed_exists_and_is_sorted() {
        assert!(ALLOWED.is_sorted());
        for name in ALLOWED {
            assert!(BUILTINS.contains_key(name), "`{name}` is allowed but does not exist");
        }
    }

    #[test]
    fn every_other_builtin_is_refused_with_its_reason() {
        let refused: Vec<_> = BUILTINS.keys().filter(|name| refusal(name).is_some()).collect();
        for name in &refused {
            let reason = refusal(name).unwrap();
            assert!(!reason.contains("is not a function"), "`{name}` {reason}");
        }
        for name in
            ["time.now_ns", "rand.intn", "net.cidr_expand", "graph.reachable_paths", "trace"]
        {
            assert!(refused.iter().any(|refused| **refused == name), "{name}");
        }
        for name in ["http.send", "uuid.rfc4122", "opa.runtime", "net.lookup_ip_addr", "nonsense"] {
            assert!(refusal(name).is_some(), "{name}");
        }
    }
}
