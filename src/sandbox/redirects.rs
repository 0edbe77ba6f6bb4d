//! Which URIs the environment sends a browser back to.

use std::collections::BTreeSet;

use url::{Host, Url};

/// Why a URI is not redirected to, in words for the person who registers it.
pub(super) fn refusal(
    uri: &str,
    registered: &BTreeSet<String>,
    loopback_allowed: bool,
) -> Option<&'static str> {
    if uri.chars().count() > 256 {
        return Some("It is longer than 256 characters.");
    }
    if uri.contains('?') {
        return Some("It has a query.");
    }
    if uri.contains('#') {
        return Some("It has a fragment.");
    }
    if registered.contains(uri) || (loopback_allowed && is_loopback(uri)) {
        return None;
    }
    Some("It is not registered. Registered URIs are compared character by character.")
}

/// `http` on a host that only this machine reaches.
fn is_loopback(uri: &str) -> bool {
    // Characters that URL parsers drop or rewrite could make the browser go somewhere else.
    if !uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return false;
    }
    let Ok(url) = Url::parse(uri) else { return false };
    let loopback_host = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    url.scheme() == "http" && loopback_host && !has_user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_uris_are_compared_exactly() {
        let registered = BTreeSet::from(["https://app.example.com/cb".to_owned()]);
        assert_eq!(refusal("https://app.example.com/cb", &registered, false), None);
        for other in [
            "https://app.example.com/cb/",
            "https://app.example.com/CB",
            "https://app.example.com/cb?x=1",
            "https://app.example.com/cb#x",
            "https://app.example.com.evil.test/cb",
            "http://app.example.com/cb",
            "",
        ] {
            assert!(refusal(other, &registered, true).is_some(), "{other}");
        }
        let long = format!("https://app.example.com/{}", "a".repeat(256));
        let registered = BTreeSet::from([long.clone()]);
        assert!(refusal(&long, &registered, true).is_some());
    }

    #[test]
    fn loopback_means_loopback() {
        let none = BTreeSet::new();
        for good in
            ["http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:8080/auth/callback"]
        {
            assert_eq!(refusal(good, &none, true), None, "{good}");
            assert!(refusal(good, &none, false).is_some(), "{good}");
        }
        for bad in [
            "https://localhost/cb",
            "http://localhost.evil.test/cb",
            "http://localhost@evil.test/cb",
            "http://evil.test\\@localhost/cb",
            "http://user:pass@localhost/cb",
            "http://local\thost/cb",
            "http://localhost/\r\nset-cookie: a=b",
            "javascript://localhost/%0aalert(1)",
            "//localhost/cb",
            "http://192.168.0.1/cb",
        ] {
            assert!(refusal(bad, &none, true).is_some(), "{bad}");
        }
    }
}
