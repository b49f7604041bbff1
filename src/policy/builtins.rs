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
    "glob.quote_meta",
    "graph.reachable",
    "graph.reachable_paths",
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
    "json.filter",
    "json.is_valid",
    "json.marshal",
    "json.marshal_with_options",
    "json.remove",
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
    "object.subset",
    "object.union",
    "object.union_n",
    "product",
    "regex.find_all_string_submatch_n",
    "regex.find_n",
    "regex.is_valid",
    "regex.match",
    "regex.replace",
    "regex.split",
    "regex.template_match",
    "replace",
    "round",
    "semver.compare",
    "semver.is_valid",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "strings.replace_n",
    "strings.reverse",
    "substring",
    "sum",
    "time.add_date",
    "time.clock",
    "time.date",
    "time.diff",
    "time.format",
    "time.parse_duration_ns",
    "time.parse_ns",
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
    "units.parse",
    "units.parse_bytes",
    "upper",
    "urlquery.decode",
    "urlquery.decode_object",
    "urlquery.encode",
    "urlquery.encode_object",
    "walk",
    "yaml.is_valid",
    "yaml.marshal",
    "yaml.unmarshal",
];

/// Why a function is refused; `None` if it may be called.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    if ALLOWED.binary_search(&name).is_ok() {
        return None;
    }
    let reason = match name {
        "time.now_ns" => "reads the clock: use `input.time`",
        "bits.lsh" | "net.cidr_expand" => "can take forever",
        "print" | "trace" => "belongs into tests only",
        _ if name.starts_with("rand.") || name.starts_with("uuid.") => "answers by chance",
        "http.send" | "opa.runtime" => "reaches outside the policy",
        _ if name.starts_with("net.lookup") => "reaches outside the policy",
        _ => "is not a function that a policy can call",
    };
    Some(reason)
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
        for name in ["time.now_ns", "rand.intn", "net.cidr_expand", "bits.lsh", "trace"] {
            assert!(refused.iter().any(|refused| **refused == name), "{name}");
        }
        for name in ["http.send", "uuid.rfc4122", "opa.runtime", "net.lookup_ip_addr", "nonsense"] {
            assert!(refusal(name).is_some(), "{name}");
        }
    }
}
