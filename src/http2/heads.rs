//! Heads as they leave: what is known of a message and has not been said, and how it is written.

use std::cell::Cell;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, request, response};
use http_body::Body;

/// Says of a request what is known of it and has not been said (RFC 9110 section 8.6).
pub(super) fn complete_request(head: &mut request::Parts, body: &impl Body, names: &Names) {
    let silent = [Method::GET, Method::HEAD, Method::DELETE, Method::CONNECT];
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || !silent.contains(&head.method))
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    names.keep_out_of_tables(&mut head.headers);
}

/// Says of an answer what is known of it and has not been said.
pub(super) fn complete_response(head: &mut response::Parts, body: &impl Body, names: &Names) {
    if !head.headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
    {
        head.headers.insert(DATE, date);
    }
    if !head.headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact().filter(|length| *length > 0)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    names.keep_out_of_tables(&mut head.headers);
}

/// What one direction of a connection has put in the tables of HPACK so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    introduced: Cell<bool>,
}

impl Names {
    /// A value that never comes twice has no place in those tables (RFC 7541 section 6.2.3). There it
    /// would push out what does come again, on both ends, and be compared with each one before it.
    /// The first one is let in, for its name.
    fn keep_out_of_tables(&self, headers: &mut HeaderMap) {
        if !self.introduced.replace(true) {
            return;
        }
        for (name, value) in headers.iter_mut() {
            if never_comes_twice(name) {
                value.set_sensitive(true);
            }
        }
    }
}

fn never_comes_twice(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "b3" | "grpc-timeout"
            | "traceparent"
            | "x-amzn-trace-id"
            | "x-b3-parentspanid"
            | "x-b3-spanid"
            | "x-b3-traceid"
            | "x-cloud-trace-context"
            | "x-correlation-id"
            | "x-request-id"
            | "x-request-start"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_is_told_from_what_does_not() {
        let mut headers = HeaderMap::new();
        for name in ["x-request-id", "traceparent", "x-tenant", "content-type", "date"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        headers.append("x-request-id", HeaderValue::from_static("2"));
        let names = Names::default();
        names.keep_out_of_tables(&mut headers);
        assert!(headers.values().all(|value| !value.is_sensitive()), "their names are to be known");
        names.keep_out_of_tables(&mut headers);
        let kept_out: Vec<_> = headers
            .iter()
            .filter_map(|(name, value)| value.is_sensitive().then_some(name.as_str()))
            .collect();
        assert_eq!(kept_out, ["x-request-id", "x-request-id", "traceparent"]);
    }
}
