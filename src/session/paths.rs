//! Paths and addresses of an app, and what they must be like.

use url::Url;

use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::util::fetch_metadata::check_address;
use crate::util::url_path::has_dot_segments;

/// Paths of the routes, except the callback's, which is in the redirect URI.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) login: String,
    pub(super) refresh: String,
    pub(super) logout: String,
    pub(super) backchannel_logout: String,
    pub(super) switch_account: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            login: "/login".to_owned(),
            refresh: "/auth/refresh".to_owned(),
            logout: "/logout".to_owned(),
            backchannel_logout: "/auth/backchannel-logout".to_owned(),
            switch_account: "/auth/switch-account".to_owned(),
        }
    }
}

impl Paths {
    /// Checks that each route has its own path: the later one would never be reached.
    pub(super) fn check(&self, callbacks: [Option<&Url>; 2]) -> Result<(), ConfigError> {
        let named = [
            ("login_path", self.login.as_str()),
            ("refresh_path", self.refresh.as_str()),
            ("logout_path", self.logout.as_str()),
            ("backchannel_logout_path", self.backchannel_logout.as_str()),
            ("switch_account_path", self.switch_account.as_str()),
        ];
        let mut problems = Problems::default();
        for (index, (setting, path)) in named.iter().enumerate() {
            if !is_plain_path(path) {
                let reason = "must be a plain path such as /login";
                problems.push(ConfigProblem::invalid(setting, reason));
            }
            let others = named.iter().take(index).map(|(_, path)| *path);
            let callbacks = callbacks.into_iter().flatten().map(Url::path);
            if others.chain(callbacks).any(|other| other == *path) {
                let reason = "is the path of another route too";
                problems.push(ConfigProblem::invalid(setting, reason));
            }
        }
        if let [Some(login), Some(logout)] = callbacks {
            let problem = |reason| ConfigProblem::invalid("post_logout_redirect_uri", reason);
            if login.origin() != logout.origin() {
                problems.push(problem("must be on the redirect URI's origin"));
            } else if login.path() == logout.path() {
                problems.push(problem("is the path of another route too"));
            }
        }
        problems.finish(Some(()))
    }
}

/// Whether it is a path of this host that routers match literally.
pub(crate) fn is_plain_path(path: &str) -> bool {
    // A browser resolves dot segments: it never requests such a path.
    path.starts_with('/') && !path.starts_with("//") && is_plain(path) && !has_dot_segments(path)
}

fn is_plain(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\{}*:\"'<>&".contains(&b))
}

/// The rules of the dashboard: at most 256 characters, no query, no fragment.
pub(super) fn parse_redirect_uri(setting: &'static str, text: &str) -> Result<Url, ConfigError> {
    let url = parse_app_url(setting, text)?;
    let reason = if url.query().is_some() || url.fragment().is_some() {
        "must not have a query or fragment"
    } else if text.len() > 256 {
        "must not be longer than 256 characters"
    } else if url.path() == "/" || !is_plain(url.path()) {
        "must have a plain path of its own such as /auth/callback"
    } else if url.as_str() != text {
        "must be written in its normal form, because the dashboard compares letter by letter"
    } else {
        return Ok(url);
    };
    Err(ConfigProblem::invalid(setting, reason).into())
}

fn parse_app_url(setting: &'static str, text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text)
        .map_err(|error| ConfigProblem::invalid(setting, format!("not a URL: {error}")))?;
    check_address(&url).map_err(|reason| ConfigProblem::invalid(setting, reason))?;
    Ok(url)
}

/// Parses a page of this app or another one. Returns `None` for a path without a redirect URI to
/// join it with.
pub(super) fn parse_page(
    text: &str,
    redirect_uri: Option<&Url>,
) -> Result<Option<Url>, ConfigError> {
    if !text.starts_with('/') {
        return parse_app_url("logged_out_page", text).map(Some);
    }
    if !is_plain_path(text) {
        let reason = "must be a plain path such as /, or an https URL";
        return Err(ConfigProblem::invalid("logged_out_page", reason).into());
    }
    Ok(redirect_uri.and_then(|uri| uri.join(text).ok()))
}

/// Returns the path without a trailing slash.
pub(super) fn check_base_path(path: Option<&str>) -> Result<Option<String>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    let trimmed = path.trim_end_matches('/');
    if path != "/" && !is_plain_path(trimmed) {
        let reason = "must be a plain path such as /app, or /";
        return Err(ConfigProblem::invalid("base_path", reason).into());
    }
    Ok(Some(trimmed.to_owned()))
}

pub(super) fn check_origin(text: &str) -> Result<(), ConfigError> {
    let url = parse_app_url("trusted_origin", text)?;
    if url.origin().ascii_serialization() != text {
        let reason = "must be an origin such as https://app.example.com, without a path";
        return Err(ConfigProblem::invalid("trusted_origin", reason).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::http_client::UnreachableClient;
    use crate::scalekit::Scalekit;
    use crate::session::{SessionSecret, Sessions, SessionsBuilder};

    fn good() -> SessionsBuilder {
        let scalekit = Scalekit::builder("https://acme.test", "skc_1", "hush");
        Sessions::builder(scalekit.http_client(UnreachableClient).build().unwrap())
            .secret(SessionSecret::generate().unwrap())
            .redirect_uri("https://app.test/auth/callback")
    }

    #[test]
    fn a_base_path_is_a_plain_path() {
        for (path, expected) in [("/", ""), ("/app", "/app"), ("/app/", "/app"), ("/a/b", "/a/b")] {
            assert_eq!(good().base_path(path).build().unwrap().base_path(), Some(expected));
        }
        assert_eq!(good().build().unwrap().base_path(), None);
        for path in ["", "app", "//", "//app", "/a b", "/app?x", "/a/../b", "https://app.test/app"]
        {
            assert!(good().base_path(path).build().is_err(), "{path}");
        }
    }

    #[test]
    fn every_route_has_its_own_path() {
        assert!(good().login_path("/auth/callback").build().is_err());
        assert!(good().logout_path("/login").build().is_err());
        for path in [
            "",
            "login",
            "//login",
            "/lo gin",
            "/login?x",
            "/{login}",
            "/lo\\gin",
            "/a/../login",
            "/.",
            "/a/%2E%2e/b",
        ] {
            assert!(good().login_path(path).build().is_err(), "{path}");
        }
        let sessions = good().login_path("/start").build().unwrap();
        assert_eq!((sessions.login_path(), sessions.callback_path()), ("/start", "/auth/callback"));
        assert_eq!(sessions.logout_callback_path(), "/auth/logout/callback");
        assert_eq!(sessions.logged_out_page().as_str(), "https://app.test/");
        for uri in [
            "https://app.test/",
            "https://app.test/login",
            "https://app.test/auth/callback",
            "https://www.app.test/bye",
            "https://app.test/bye?x=1",
        ] {
            assert!(good().post_logout_redirect_uri(uri).build().is_err(), "{uri}");
        }
        for page in ["//evil.test", "bye", "http://app.test/", "/a b", "javascript:alert(1)"] {
            assert!(good().logged_out_page(page).build().is_err(), "{page}");
        }
        let sessions = good().logged_out_page("https://www.app.test/bye?x=1").build().unwrap();
        assert_eq!(sessions.logged_out_page().as_str(), "https://www.app.test/bye?x=1");
    }
}
