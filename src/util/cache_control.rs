//! `Cache-Control` and `Vary` of responses for one user.

use http::header::Entry;
use http::{HeaderMap, HeaderValue, header};

pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Forbids caching of a response for one user, unless the handler set `Cache-Control`.
pub(crate) fn default_to_no_store(headers: &mut HeaderMap) {
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
}

/// Forbids caching of a response that carries a credential, even if the handler set
/// `Cache-Control`.
pub(crate) fn set_no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
}

/// Adds `Vary: Cookie`.
pub(crate) fn vary_on_cookie(headers: &mut HeaderMap) {
    vary_on("cookie", headers);
}

/// Forbids caches to store the response to a token. If the handler set `Cache-Control`, `Vary`
/// limits what they store to requests with the same token.
pub(crate) fn no_store_or_vary_on_authorization(headers: &mut HeaderMap) {
    match headers.entry(header::CACHE_CONTROL) {
        Entry::Occupied(_) => vary_on("authorization", headers),
        Entry::Vacant(free) => {
            free.insert(NO_STORE);
        }
    }
}

fn vary_on(name: &'static str, headers: &mut HeaderMap) {
    let value = HeaderValue::from_static(name);
    match headers.entry(header::VARY) {
        Entry::Vacant(free) => {
            free.insert(value);
        }
        Entry::Occupied(mut present) => {
            let mut items = present
                .iter()
                .flat_map(|value| value.to_str().unwrap_or_default().split(','))
                .map(str::trim);
            if !items.any(|item| item == "*" || item.eq_ignore_ascii_case(name)) {
                present.append(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_to_a_token_is_not_stored_or_varies_on_authorization() {
        let mut headers = HeaderMap::new();
        no_store_or_vary_on_authorization(&mut headers);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(!headers.contains_key(header::VARY));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        no_store_or_vary_on_authorization(&mut headers);
        no_store_or_vary_on_authorization(&mut headers);
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=60");
        assert_eq!(headers[header::VARY], "authorization");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn vary_is_added_once_and_the_handlers_cache_policy_stands() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept, cookie"));
        default_to_no_store(&mut headers);
        vary_on_cookie(&mut headers);
        assert_eq!(headers[header::CACHE_CONTROL], "max-age=60");
        assert_eq!(headers.get_all(header::VARY).iter().count(), 1);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        vary_on_cookie(&mut headers);
        assert_eq!(headers.get_all(header::VARY).iter().count(), 2);
    }
}
