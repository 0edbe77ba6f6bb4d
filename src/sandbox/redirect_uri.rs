//! Validation of redirect URIs.

use std::collections::BTreeSet;

use url::{Host, Url};

/// Why a URI is rejected, as a message for developers.
pub(crate) fn reason_to_reject(
    uri: &str,
    registered: &BTreeSet<String>,
    loopback_allowed: bool,
) -> Option<&'static str> {
    reason_for_malformed(uri).or_else(|| {
        let is_allowed = registered.contains(uri) || (loopback_allowed && is_loopback(uri));
        (!is_allowed)
            .then_some("It is not registered. Registered URIs are compared character by character.")
    })
}

/// Why a client of a resource cannot register a URI. It may be `https`, `http` on loopback, or have
/// a scheme of an application on the device, such as `cursor:`.
pub(crate) fn reason_not_to_register(uri: &str) -> Option<&'static str> {
    /// Schemes without a target, or that run the URI's content.
    const REJECTED: [&str; 12] = [
        "about",
        "blob",
        "data",
        "file",
        "filesystem",
        "ftp",
        "intent",
        "javascript",
        "vbscript",
        "view-source",
        "ws",
        "wss",
    ];
    if let Some(reason) = reason_for_malformed(uri) {
        return Some(reason);
    }
    let Some(url) = parsed(uri) else { return Some("It is not a valid URI.") };
    match url.scheme() {
        "http" if is_loopback(uri) => None,
        "http" => Some("It is http and not on loopback."),
        "https" if has_user(&url) => Some("It contains a user name."),
        "https" if uri.starts_with("https://") => None,
        "https" => Some("It is not a valid URI."),
        scheme if REJECTED.contains(&scheme) => Some("Its scheme is not allowed."),
        _ => None,
    }
}

/// Whether a client may be redirected to a URI: one that it registered, or the same with another
/// port on loopback, because an application on the device uses any free port (RFC 8252).
pub(crate) fn is_registered(uri: &str, registered: &[String]) -> bool {
    let on_loopback = without_port(uri);
    reason_for_malformed(uri).is_none()
        && registered.iter().any(|known| {
            known == uri || (on_loopback.is_some() && without_port(known) == on_loopback)
        })
}

fn reason_for_malformed(uri: &str) -> Option<&'static str> {
    if uri.chars().count() > 256 {
        return Some("It is longer than 256 characters.");
    }
    if uri.contains('?') {
        return Some("It has a query.");
    }
    if uri.contains('#') {
        return Some("It has a fragment.");
    }
    None
}

/// `http` on a loopback host.
pub(crate) fn is_loopback(uri: &str) -> bool {
    parsed(uri).is_some_and(|url| {
        url.scheme() == "http"
            && !has_user(&url)
            && match url.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            }
    })
}

/// Rejects characters that URL parsers drop or rewrite, which could change where the browser goes.
fn parsed(uri: &str) -> Option<Url> {
    if uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        Url::parse(uri).ok()
    } else {
        None
    }
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Host and path of a loopback URI, as written.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://").filter(|_| is_loopback(uri))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    Some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_uris_are_compared_exactly() {
        let registered = BTreeSet::from(["https://app.example.com/cb".to_owned()]);
        assert_eq!(reason_to_reject("https://app.example.com/cb", &registered, false), None);
        for other in [
            "https://app.example.com/cb/",
            "https://app.example.com/CB",
            "https://app.example.com/cb?x=1",
            "https://app.example.com/cb#x",
            "https://app.example.com.evil.test/cb",
            "http://app.example.com/cb",
            "",
        ] {
            assert!(reason_to_reject(other, &registered, true).is_some(), "{other}");
        }
        let long = format!("https://app.example.com/{}", "a".repeat(256));
        let registered = BTreeSet::from([long.clone()]);
        assert!(reason_to_reject(&long, &registered, true).is_some());
    }

    #[test]
    fn only_loopback_hosts_count_as_loopback() {
        let none = BTreeSet::new();
        for good in
            ["http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:8080/auth/callback"]
        {
            assert_eq!(reason_to_reject(good, &none, true), None, "{good}");
            assert!(reason_to_reject(good, &none, false).is_some(), "{good}");
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
            assert!(reason_to_reject(bad, &none, true).is_some(), "{bad}");
        }
    }

    #[test]
    fn clients_register_safe_redirect_uris_only() {
        for good in [
            "https://app.example.com/cb",
            "http://127.0.0.1:33418/",
            "http://localhost/callback",
            "http://[::1]/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "com.example.app:/callback",
        ] {
            assert_eq!(reason_not_to_register(good), None, "{good}");
        }
        for bad in [
            "",
            "/callback",
            "http://app.example.com/cb",
            "http://localhost.evil.test/cb",
            "https://user@app.example.com/cb",
            "https:app.example.com/cb",
            "https://app.example.com/cb#x",
            "https://app.example.com/cb?x=1",
            "https://app.example.com\\@evil.test/cb",
            "javascript:alert(1)",
            "JavaScript://localhost/%0aalert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
        ] {
            assert!(reason_not_to_register(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_port_is_ignored_on_loopback_only() {
        let registered = [
            "http://127.0.0.1:1/cb".to_owned(),
            "http://[::1]/cb".to_owned(),
            "https://app.example.com/cb".to_owned(),
            "cursor://app/cb".to_owned(),
        ];
        for good in [
            "http://127.0.0.1/cb",
            "http://127.0.0.1:65535/cb",
            "http://[::1]:8080/cb",
            "https://app.example.com/cb",
            "cursor://app/cb",
        ] {
            assert!(is_registered(good, &registered), "{good}");
        }
        for bad in [
            "http://127.0.0.2:1/cb",
            "http://localhost:1/cb",
            "http://127.0.0.1:1/cb/",
            "http://127.0.0.1:1/x/../cb",
            "http://127.0.0.1:1/cb?x=1",
            "http://127.0.0.1:1@evil.test/cb",
            "http://127.0.0.1:99999/cb",
            "https://127.0.0.1:1/cb",
            "https://app.example.com:8443/cb",
            "https://app.example.com/CB",
            "cursor://app:1/cb",
        ] {
            assert!(!is_registered(bad, &registered), "{bad}");
        }
    }
}
