//! Our machine token on a request that goes out. Pure.
//!
//! A request may be tried on several connections, some made by SVID and some by token, so the token
//! is put on for each attempt and taken off before the next.

use http::Request;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

/// Under which name it was put on.
#[derive(Debug, Clone)]
struct PutOn(HeaderName);

/// Puts `token` on, if one is given, in the place of one put on before. An end user's token stays:
/// ours then goes beside it (RFC 9110 section 11.7), and the far sidecar knows whose is whose.
pub(super) fn present<B>(request: &mut Request<B>, token: Option<&HeaderValue>) {
    if let Some(PutOn(name)) = request.extensions_mut().remove() {
        request.headers_mut().remove(name);
    }
    let Some(token) = token else { return };
    let headers = request.headers_mut();
    let taken = headers.contains_key(AUTHORIZATION);
    let name = if taken { PROXY_AUTHORIZATION } else { AUTHORIZATION };
    headers.insert(name.clone(), token.clone());
    request.extensions_mut().insert(PutOn(name));
}

#[cfg(test)]
mod tests {
    use super::super::replay::replayable;
    use super::super::request_body::RequestBody;
    use super::*;

    #[test]
    fn a_copy_for_a_second_attempt_still_knows_which_token_is_ours() {
        let machine = HeaderValue::from_static("Bearer machine");
        let newer = HeaderValue::from_static("Bearer newer");
        let mut request = Request::new(RequestBody::empty());
        present(&mut request, Some(&machine));
        let mut copy = replayable(&request).unwrap();
        present(&mut copy, Some(&newer));
        assert_eq!((copy.headers().len(), &copy.headers()[AUTHORIZATION]), (1, &newer));
        present(&mut copy, None);
        assert!(copy.headers().is_empty(), "our token would travel on by SVID");
    }

    #[test]
    fn each_attempt_carries_what_its_connection_asks_for_and_no_more() {
        let (one, two) =
            (HeaderValue::from_static("Bearer 1"), HeaderValue::from_static("Bearer 2"));
        let mut request = Request::new(());
        present(&mut request, Some(&one));
        present(&mut request, Some(&two));
        assert_eq!(request.headers().get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), [&two]);
        present(&mut request, None);
        assert!(request.headers().is_empty());
    }

    #[test]
    fn an_end_users_token_is_never_touched() {
        let user = HeaderValue::from_static("Bearer user");
        let machine = HeaderValue::from_static("Bearer machine");
        let mut request = Request::new(());
        request.headers_mut().insert(AUTHORIZATION, user.clone());
        present(&mut request, Some(&machine));
        assert_eq!(request.headers()[AUTHORIZATION], user);
        assert_eq!(request.headers()[PROXY_AUTHORIZATION], machine);
        present(&mut request, None);
        assert_eq!((request.headers().len(), &request.headers()[AUTHORIZATION]), (1, &user));
    }
}
