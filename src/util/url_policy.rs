//! Which URLs may receive users, credentials or keys.

use url::{Host, Url};

use crate::error::ConfigProblem;

/// Whether the host is a literal loopback name.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Parses the URL of a setting, and rejects one that must not receive users or credentials.
pub(crate) fn parse_secure_url(setting: &'static str, text: &str) -> Result<Url, ConfigProblem> {
    let url = Url::parse(text)
        .map_err(|error| ConfigProblem::invalid(setting, format!("not a URL: {error}")))?;
    require_https_or_loopback(&url).map_err(|reason| ConfigProblem::invalid(setting, reason))?;
    Ok(url)
}

/// Rejects a URL that must not receive users or credentials.
pub(crate) fn require_https_or_loopback(url: &Url) -> Result<(), &'static str> {
    let is_safe = match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    };
    if !is_safe {
        return Err("must be https (http only on loopback)");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or password");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_names_count_as_loopback() {
        let check = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for local in ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]/"]
        {
            assert!(check(local), "{local}");
        }
        for other in ["http://example.com", "http://localhost.example.com", "http://10.0.0.1"] {
            assert!(!check(other), "{other}");
        }
    }

    #[test]
    fn urls_are_https_or_loopback_without_credentials() {
        let check = |text: &str| require_https_or_loopback(&Url::parse(text).unwrap()).is_ok();
        assert!(check("https://acme.test/a?b") && check("http://127.0.0.1:3000"));
        for address in ["http://acme.test", "ftp://acme.test", "data:x", "https://a@acme.test"] {
            assert!(!check(address), "{address}");
        }
        assert!(!check("https://:b@acme.test"));
    }
}
