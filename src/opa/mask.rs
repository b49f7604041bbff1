//! What a policy wants removed from an event before it leaves, by the rules of OPA's
//! `data.system.log.mask`.

use serde_json::{Map, Value};

use super::event::Event;
use crate::policy::Mask;

impl Event<'_> {
    /// Where a path leads nowhere there is nothing to hide, as in OPA.
    pub(super) fn hide(&mut self, mask: &Mask) {
        let mut parts = mask.path.iter().map(String::as_str);
        let document = match parts.next() {
            Some("input") => &mut self.input,
            Some("result") => &mut self.result,
            _ => return,
        };
        let parts: Vec<&str> = parts.collect();
        let shown = format!("/{}", mask.path.join("/"));
        match &mask.upsert {
            None if document.is_some() => {
                let erased = match (parts.split_last(), document.as_mut()) {
                    (None, _) => document.take().is_some(),
                    (Some((last, above)), Some(root)) => remove(root, above, last),
                    (Some(_), None) => false,
                };
                if erased {
                    self.erased.push(shown);
                }
            }
            Some(value) if document.is_some() => {
                let masked = match (parts.split_last(), document.as_mut()) {
                    (None, _) => {
                        *document = Some(value.clone());
                        true
                    }
                    (Some((last, above)), Some(root)) => upsert(root, above, last, value),
                    (Some(_), None) => false,
                };
                if masked {
                    self.masked.push(shown);
                }
            }
            None | Some(_) => {}
        }
        self.tell_requester();
    }

    /// It stands in the event twice, and masks reach only one of the two.
    fn tell_requester(&mut self) {
        let address = self.input.as_ref().and_then(|it| it.pointer("/peer/address"));
        self.requested_by = address.and_then(Value::as_str).map(str::to_owned);
    }
}

fn remove(root: &mut Value, above: &[&str], last: &str) -> bool {
    let Some(parent) = above.iter().try_fold(root, |node, part| child(node, part)) else {
        return false;
    };
    match parent {
        Value::Object(fields) => fields.shift_remove(last).is_some(),
        Value::Array(items) => match index(last).filter(|at| *at < items.len()) {
            Some(at) => {
                items.remove(at);
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn upsert(root: &mut Value, above: &[&str], last: &str, value: &Value) -> bool {
    if !root.is_object() {
        return false;
    }
    let mut node = root;
    for part in above {
        if let Value::Object(fields) = node
            && !fields.contains_key(*part)
        {
            fields.insert((*part).to_owned(), Value::Object(Map::new()));
        }
        match child(node, part) {
            Some(below) => node = below,
            None => return false,
        }
    }
    match node {
        Value::Object(fields) => {
            fields.insert(last.to_owned(), value.clone());
            true
        }
        Value::Array(items) => match index(last).and_then(|at| items.get_mut(at)) {
            Some(item) => {
                *item = value.clone();
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn child<'v>(node: &'v mut Value, part: &str) -> Option<&'v mut Value> {
    match node {
        Value::Object(fields) => fields.get_mut(part),
        Value::Array(items) => items.get_mut(index(part)?),
        _ => None,
    }
}

fn index(part: &str) -> Option<usize> {
    part.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn masked(path: &str, upsert: Option<Value>) -> Value {
        let labels = BTreeMap::new();
        let mut event = Event {
            labels: &labels,
            decision_id: String::new(),
            bundles: BTreeMap::new(),
            path: "",
            input: Some(json!({"peer": {"address": "10.1.2.3", "ids": [1, 2, 3]}, "a/b": 1})),
            result: Some(json!({"allowed": true})),
            erased: vec![],
            masked: vec![],
            requested_by: Some("10.1.2.3".to_owned()),
            timestamp: String::new(),
            custom: Value::Null,
        };
        let path = path.split('/').skip(1).map(str::to_owned).collect();
        event.hide(&Mask { path, upsert });
        let address = event.input.as_ref().and_then(|it| it.pointer("/peer/address"));
        assert_eq!(
            event.requested_by.as_deref(),
            address.and_then(Value::as_str),
            "it is no way out"
        );
        json!({"input": event.input, "result": event.result, "erased": event.erased,
            "masked": event.masked})
    }

    #[test]
    fn what_is_named_is_erased_and_that_is_said() {
        let all = json!({"peer": {"address": "10.1.2.3", "ids": [1, 2, 3]}, "a/b": 1});
        let result = json!({"allowed": true});
        for (path, input, erased) in [
            ("/input/peer/address", json!({"peer": {"ids": [1, 2, 3]}, "a/b": 1}), true),
            (
                "/input/peer/ids/1",
                json!({"peer": {"address": "10.1.2.3", "ids": [1, 3]}, "a/b": 1}),
                true,
            ),
            ("/input/peer", json!({"a/b": 1}), true),
            ("/input", Value::Null, true),
            ("/input/peer/nothing", all.clone(), false),
            ("/input/peer/ids/3", all.clone(), false),
            ("/input/peer/address/x", all.clone(), false),
            ("/labels/id", all, false),
        ] {
            let erased: Vec<&str> = erased.then_some(path).into_iter().collect();
            let expected =
                json!({"input": input, "result": result, "erased": erased, "masked": []});
            assert_eq!(masked(path, None), expected, "{path}");
        }
    }

    #[test]
    fn what_is_replaced_is_said_too() {
        let hidden = || Some(json!("**"));
        let with = |input: Value, path: &str| json!({"input": input, "result": {"allowed": true}, "erased": [], "masked": [path]});
        for (path, input) in [
            ("/input/peer/address", json!({"peer": {"address": "**", "ids": [1, 2, 3]}, "a/b": 1})),
            (
                "/input/peer/ids/0",
                json!({"peer": {"address": "10.1.2.3", "ids": ["**", 2, 3]}, "a/b": 1}),
            ),
            (
                "/input/new/one",
                json!({"peer": {"address": "10.1.2.3", "ids": [1, 2, 3]}, "a/b": 1, "new": {"one": "**"}}),
            ),
            ("/input", json!("**")),
        ] {
            assert_eq!(masked(path, hidden()), with(input, path), "{path}");
        }
    }
}
