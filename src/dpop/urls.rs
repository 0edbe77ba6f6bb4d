//! The URL that a proof is for (RFC 9449, section 4.3, check 9).

use http::{Extensions, Uri};
use url::Url;

use crate::error::ConfigProblem;
use crate::util::request_target::requested_target_of;
use crate::util::url_policy::parse_secure_url;

/// A public URL of the app, below which its routes are.
#[derive(Debug)]
pub(super) struct PublicUrl {
    origin: String,
    /// What a proxy may have removed from the path; without a slash at the end.
    base_path: String,
}

impl PublicUrl {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigProblem> {
        let url = parse_secure_url("public URL", text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ConfigProblem::invalid("public URL", "must not have a query or fragment"));
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            base_path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether requests at or below a URL can be requests at or below this one.
    pub(super) fn covers(&self, url: &Url) -> bool {
        let path = url.path().trim_end_matches('/');
        url.origin().ascii_serialization() == self.origin
            && (is_below(path, &self.base_path) || is_below(&self.base_path, path))
    }

    /// Whether `htu` is the URL of this request here, without query and fragment.
    pub(super) fn matches_htu(&self, htu: &str, uri: &Uri, extensions: &Extensions) -> bool {
        let Some(target) = requested_target_of(uri, extensions, Some(&self.base_path), None) else {
            return false;
        };
        let path = target.split(['?', '#']).next().unwrap_or_default();
        htu.strip_prefix(self.origin.as_str()) == Some(path)
            || !has_dot_segments(path)
                && normalized(htu).is_some_and(|htu| {
                    normalized(&[self.origin.as_str(), path].concat()) == Some(htu)
                })
    }
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Routers do not remove the dot segments of a request, so a path with some is equal to no other.
fn has_dot_segments(path: &str) -> bool {
    decode_unreserved(path).split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The URL without query and fragment, normalized by its syntax and scheme (RFC 3986, sections 6.2.2
/// and 6.2.3): names in lower case, no default port, no dot segments, at least `/` as the path, and
/// only reserved characters encoded, in upper case.
fn normalized(text: &str) -> Option<String> {
    // The parser would remove or replace these.
    if text.bytes().any(|byte| byte <= b' ' || byte == b'\\' || byte >= 0x7f) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https")
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return None;
    }
    Some(url.origin().ascii_serialization() + &decode_unreserved(url.path()))
}

fn decode_unreserved(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let encoded = part.split_at_checked(2).and_then(|(digits, rest)| {
            Some((char::from(u8::from_str_radix(digits, 16).ok()?), digits, rest))
        });
        match encoded {
            Some((byte, _, rest)) if byte.is_ascii_alphanumeric() || "-._~".contains(byte) => {
                decoded.push(byte);
                decoded.push_str(rest);
            }
            Some((_, digits, rest)) => decoded.extend(["%", &digits.to_ascii_uppercase(), rest]),
            None => decoded.extend(["%", part]),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches_htu(public_url: &str, htu: &str, target: &str) -> bool {
        let target: Uri = target.parse().unwrap();
        PublicUrl::parse(public_url).unwrap().matches_htu(htu, &target, &Extensions::new())
    }

    #[test]
    fn equivalent_urls_are_equal_without_query_and_fragment() {
        let here = "https://api.test";
        for (htu, target) in [
            ("https://api.test/a/b", "/a/b"),
            ("https://api.test/a/b", "/a/b?c=d"),
            ("https://api.test/a/b?x=y#z", "/a/b?c=d"),
            ("HTTPS://API.test:443/a/b", "/a/b"),
            ("https://api.test/a/./x/../b", "/a/b"),
            ("https://api.test/a/%2E/x/%2e%2E/b", "/a/b"),
            ("https://api.test/a/x/../b", "/a/x/../b"),
            ("https://api.test/a/..b/.c", "/a/..b/%2Ec"),
            ("https://api.test", "/"),
            ("https://api.test/%7Ejane/%c3%a9", "/~jane/%C3%A9"),
            ("https://api.test/~jane/%C3%A9", "/%7ejane/%c3%a9"),
            ("https://api.test/a%zz", "/a%zz"),
            ("https://api.test/a/b", "http://other.test/a/b"),
        ] {
            assert!(matches_htu(here, htu, target), "{htu} {target}");
        }
    }

    #[test]
    fn other_urls_are_not_equal() {
        for htu in [
            "",
            "/a/b",
            "http://api.test/a/b",
            "https://api.test:8443/a/b",
            "https://api.test.evil.test/a/b",
            "https://evil.test/a/b",
            "https://api.test/a/b/",
            "https://api.test/a/B",
            "https://api.test/a%2Fb",
            "https://api.test/a\\b",
            "https://api.test/a/\tb",
            " https://api.test/a/b",
            "https://api.test@evil.test/a/b",
            "https://me@api.test/a/b",
            "https://api.test/a/b%00",
        ] {
            assert!(!matches_htu("https://api.test", htu, "/a/b"), "{htu}");
        }
        // What the router sees is what counts.
        for target in
            ["/a%2Fb", "/a/x/../b", "/a/./b", "/a/x/%2e%2E/b", "/a/b/.", "/../a/b", "/x/.%2e/a/b"]
        {
            assert!(!matches_htu("https://api.test", "https://api.test/a/b", target), "{target}");
        }
        assert!(!matches_htu("https://api.test", "https://api.test/a/x/./../b", "/a/x/../b"));
    }

    #[test]
    fn a_path_that_a_proxy_removes_is_added() {
        for target in ["/todos", "/app/todos"] {
            assert!(
                matches_htu("https://api.test/app/", "https://api.test/app/todos", target),
                "{target}"
            );
            assert!(
                !matches_htu("https://api.test/app/", "https://api.test/todos", target),
                "{target}"
            );
        }
    }

    #[test]
    fn public_urls_are_https_or_loopback() {
        for url in ["", "api.test", "http://api.test", "https://api.test/?a", "https://a@api.test"]
        {
            assert!(PublicUrl::parse(url).is_err(), "{url}");
        }
        assert!(PublicUrl::parse("http://127.0.0.1:3000").is_ok());
    }
}
