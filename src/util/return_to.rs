use std::fmt;

use url::{Position, Url, form_urlencoded};

use super::host_redirect::without_redirect_param;

const MAX_BYTES: usize = 2048;
/// The parameter of an IdP-initiated login, on any path.
pub(crate) const IDP_INITIATED_LOGIN: &str = "idp_initiated_login";

/// Where a user goes after the login: a path of this app, as a browser resolves it.
///
/// ```
/// use tower_scalekit::auth_routes::ReturnTo;
///
/// assert_eq!(ReturnTo::parse("/a/../b?c=d").unwrap().as_str(), "/b?c=d");
/// for elsewhere in ["https://evil.test", "//evil.test", "/\\evil.test", "/\t/evil.test", "/.//evil.test"] {
///     assert!(ReturnTo::parse(elsewhere).is_none());
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

// Manual impl: the query may contain a credential, such as that of an invitation.
impl fmt::Debug for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.split(['?', '#']).next().unwrap_or_default();
        f.debug_tuple("ReturnTo").field(&path).finish_non_exhaustive()
    }
}

impl ReturnTo {
    /// Accepts text that starts with a slash and that a browser resolves (WHATWG URL) to a path on
    /// the same origin; otherwise `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with('/')
            || text.len() > MAX_BYTES
            || text.contains(|c: char| c == '\\' || c.is_control())
        {
            return None;
        }
        // The origin is arbitrary; the check is that the result has the same one.
        let here = Url::parse("https://return-to.invalid/").ok()?;
        let mut there = here.join(text).ok()?;
        // Removing dot segments can leave a path that starts like the URL of another host.
        if there.origin() != here.origin() || there.path().starts_with("//") {
            return None;
        }
        if let Some(query) = there.query().and_then(without_redirect_param) {
            there.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        }
        // Percent-encoding made it longer; it must fit into the login cookie and parse there.
        let target = &there[Position::BeforePath..];
        (target.len() <= MAX_BYTES).then(|| Self(target.to_owned()))
    }

    /// The path of an absolute URL on the origin of `ours`; otherwise `None`.
    pub(crate) fn on_origin(address: &str, ours: &Url) -> Option<Self> {
        let address = Url::parse(address).ok().filter(|url| url.origin() == ours.origin())?;
        Self::parse(&address[Position::BeforePath..])
    }

    /// The start page of an app without a base path.
    pub(crate) fn root() -> Self {
        Self("/".to_owned())
    }

    /// Path, query and fragment in a form that is safe in a `Location` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its query has this parameter.
    fn has(&self, parameter: &str) -> bool {
        self.0.split('#').next().and_then(|page| page.split_once('?')).is_some_and(|(_, query)| {
            form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == parameter)
        })
    }

    /// Whether it is a redirect of the environment, from a consent or of an IdP-initiated login, which
    /// must not be repeated.
    pub(crate) fn is_single_use(&self) -> bool {
        self.has("auth_request_id") || self.has(IDP_INITIATED_LOGIN)
    }

    /// Whether its path is this one.
    pub(crate) fn is_path(&self, path: &str) -> bool {
        self.path() == path.trim_end_matches('/')
    }

    /// Whether its path is below this one.
    pub(crate) fn is_below(&self, path: &str) -> bool {
        self.path()
            .strip_prefix(path.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
    }

    fn path(&self) -> &str {
        self.0.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/')
    }
}

/// The login URL with the return path as a parameter.
pub(crate) fn with_return_to(login: &str, return_to: Option<&ReturnTo>) -> String {
    match return_to {
        Some(ReturnTo(page)) => {
            let page: String = form_urlencoded::byte_serialize(page.as_bytes()).collect();
            format!("{login}?return_to={page}")
        }
        None => login.to_owned(),
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_paths_are_kept() {
        for (text, path) in [
            ("/", "/"),
            ("/a?b=//c#d", "/a?b=//c#d"),
            ("/a//b", "/a//b"),
            ("/a/../b", "/b"),
            ("/%2F%2Fevil.test", "/%2F%2Fevil.test"),
            ("/%5cevil.test", "/%5cevil.test"),
            ("/é", "/%C3%A9"),
            ("/a b\"<", "/a%20b%22%3C"),
            ("/@evil.test", "/@evil.test"),
            ("/http://evil.test", "/http://evil.test"),
        ] {
            assert_eq!(ReturnTo::parse(text).map(|path| path.0).as_deref(), Some(path), "{text}");
        }
    }

    #[test]
    fn other_origins_are_rejected_in_every_spelling() {
        let long = format!("/{}", "a".repeat(MAX_BYTES));
        for text in [
            "",
            "a",
            " /a",
            "?a",
            "#a",
            "https://evil.test",
            "https:/evil.test",
            "javascript:alert(1)",
            "//evil.test",
            "///evil.test",
            "////evil.test",
            "/\\evil.test",
            "\\/evil.test",
            "/\\/evil.test",
            "/\t/evil.test",
            "/\n/evil.test",
            "/\r\n/evil.test",
            "\t//evil.test",
            "/.//evil.test",
            "/..//evil.test",
            "/a/..//evil.test",
            "/%2e//evil.test",
            "/a/%2E%2e//evil.test",
            "/\u{0}",
            "/\u{7f}",
            "/\u{85}",
            "//[::1]",
            "//evil.test@app.test",
            &long,
        ] {
            assert_eq!(ReturnTo::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn paths_that_percent_encoding_makes_too_long_are_rejected() {
        let text = |letters| format!("/{}", "é".repeat(letters));
        let parsed = ReturnTo::parse(&text(341)).unwrap();
        assert_eq!(parsed.as_str().len(), 2047);
        assert_eq!(ReturnTo::parse(parsed.as_str()), Some(parsed));
        assert_eq!(ReturnTo::parse(&text(342)), None);
    }

    #[test]
    fn the_return_path_is_one_encoded_parameter() {
        let page = ReturnTo::parse("/a%20b?x=1&y=%2F#z").unwrap();
        assert_eq!(
            with_return_to("/login", Some(&page)),
            "/login?return_to=%2Fa%2520b%3Fx%3D1%26y%3D%252F%23z"
        );
        assert_eq!(with_return_to("/login", None), "/login");
    }

    #[test]
    fn the_mark_of_a_redirect_to_another_host_is_no_part_of_the_page() {
        for page in ["/a", "/a?b=1", "/a?b=1#c", "/a#c", "/a?", "/a?b=%2F&b"] {
            let (target, fragment) = page.split_once('#').unwrap_or((page, ""));
            let marked = super::super::host_redirect::with_redirect_param(target);
            let marked = if fragment.is_empty() { marked } else { format!("{marked}#{fragment}") };
            let expected = if page == "/a?" { "/a" } else { page };
            assert_eq!(ReturnTo::parse(&marked).unwrap().as_str(), expected, "{marked}");
            assert_eq!(ReturnTo::parse(page).unwrap().as_str(), page);
        }
    }

    #[test]
    fn own_routes_are_recognized() {
        let path = |text| ReturnTo::parse(text).unwrap();
        assert!(path("/login").is_path("/login") && path("/login/?a=b#c").is_path("/login"));
        assert!(!path("/login/help").is_path("/login") && !path("/logins").is_path("/login"));
    }
}
