//! Paths and addresses of an app, and what they must be like.

use http::Request;
use url::Url;

use super::Sessions;
use super::origins::{AppOrigin, Origins};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::scalekit::Scalekit;
use crate::util::host_redirect::with_redirect_param;
use crate::util::return_to::{ReturnTo, with_return_to};
use crate::util::url_path::has_dot_segments;
use crate::util::url_policy::require_https_or_loopback;

/// Where the callback is below the base path, unless it is set.
const CALLBACK_PATH: &str = "/auth/callback";

/// The setting of all redirect URIs but the first.
const ADDITIONAL: &str = "additional_redirect_uri";

/// The addresses of an app as they are set. Paths do not contain the base path.
#[derive(Clone, Debug, Default)]
pub(super) struct PathSettings {
    pub(super) redirect_uri: Option<String>,
    pub(super) additional_redirect_uris: Vec<String>,
    pub(super) post_logout_redirect_uri: Option<String>,
    pub(super) base_path: Option<String>,
    pub(super) callback: Option<String>,
    pub(super) login: Option<String>,
    pub(super) session_info: Option<String>,
    pub(super) refresh: Option<String>,
    pub(super) logout: Option<String>,
    pub(super) backchannel_logout: Option<String>,
    pub(super) switch_account: Option<String>,
    pub(super) logged_out_page: Option<String>,
}

impl PathSettings {
    /// Checks all settings, and joins them with the base path.
    pub(super) fn resolve(&self) -> Result<Paths, ConfigError> {
        let mut problems = Problems::default();
        let redirect_uri = match &self.redirect_uri {
            Some(uri) => problems.collect(parse_redirect_uri("redirect_uri", uri)),
            None => {
                problems.push(ConfigProblem::Missing { setting: "redirect_uri" });
                None
            }
        };
        if self.callback.as_deref().is_some_and(|path| !is_plain_path(path)) {
            problems.push(ConfigProblem::invalid(
                "callback_path",
                "must be a plain path such as /auth/callback",
            ));
        }
        let base = problems.collect(self.base(redirect_uri.as_ref())).unwrap_or_default();
        let [login, session_info, refresh, logout, backchannel_logout, switch_account] = [
            ("login_path", &self.login, "/login"),
            ("session_info_path", &self.session_info, "/auth/session"),
            ("refresh_path", &self.refresh, "/auth/refresh"),
            ("logout_path", &self.logout, "/logout"),
            ("backchannel_logout_path", &self.backchannel_logout, "/auth/backchannel-logout"),
            ("switch_account_path", &self.switch_account, "/auth/switch-account"),
        ]
        .map(|(setting, path, default)| {
            problems.collect(base.join_set(setting, path.as_deref(), default)).unwrap_or_default()
        });
        let origins =
            redirect_uri.and_then(AppOrigin::new).map(|first| self.origins(first, &mut problems));
        let logout_callback = match &self.post_logout_redirect_uri {
            Some(uri) => problems
                .collect(parse_redirect_uri("post_logout_redirect_uri", uri))
                .and_then(|uri| problems.collect(logout_path(&uri, origins.as_ref(), &base))),
            None => Some(base.join("/auth/logout/callback")),
        };
        let logged_out_page = match self.logged_out_page.as_deref() {
            Some(page) if !page.starts_with('/') => {
                problems.collect(parse_app_url("logged_out_page", page)).map(String::from)
            }
            page => problems.collect(base.join_set("logged_out_page", page, "/")),
        };
        let (Some(origins), Some(logout_callback), Some(logged_out_page)) =
            (origins, logout_callback, logged_out_page)
        else {
            return problems.finish(None);
        };
        let paths = Paths {
            origins,
            logout_callback,
            base,
            login,
            session_info,
            refresh,
            logout,
            backchannel_logout,
            switch_account,
            logged_out_page,
        };
        problems.collect(paths.check());
        problems.finish(Some(paths))
    }

    /// Returns the origins of all redirect URIs, and reports additional ones that are invalid.
    fn origins(&self, first: AppOrigin, problems: &mut Problems) -> Origins {
        let mut origins = Origins::new(first);
        for uri in &self.additional_redirect_uris {
            let uri = problems.collect(parse_redirect_uri(ADDITIONAL, uri));
            if let Some(origin) = uri.and_then(AppOrigin::new)
                && let Err(reason) = origins.add(origin)
            {
                problems.push(ConfigProblem::invalid(ADDITIONAL, reason));
            }
        }
        origins
    }

    /// Returns the base path that is set, or else that of the redirect URI.
    fn base(&self, redirect_uri: Option<&Url>) -> Result<BasePath, ConfigProblem> {
        let callback = self.callback.as_deref().filter(|path| is_plain_path(path));
        match (&self.base_path, redirect_uri.map(Url::path)) {
            (None, None) => Ok(BasePath::default()),
            (None, Some(path)) => match path.strip_suffix(callback.unwrap_or(CALLBACK_PATH)) {
                Some("") => BasePath::parse("/"),
                Some(base) if !base.ends_with('/') => BasePath::parse(base),
                _ if callback.is_some() => Err(callback_mismatch()),
                _ => Ok(BasePath::default()),
            },
            (Some(base), path) => {
                let base = BasePath::parse(base)?;
                match path.map(|path| base.strip(path)) {
                    Some(None) => Err(ConfigProblem::invalid(
                        "redirect_uri",
                        format!("must be below the base path {}", base.prefix()),
                    )),
                    Some(rest) if callback.is_some() && callback != rest => {
                        Err(callback_mismatch())
                    }
                    _ => Ok(base),
                }
            }
        }
    }
}

/// Returns the path of the post-logout redirect URI.
fn logout_path(
    uri: &Url,
    origins: Option<&Origins>,
    base: &BasePath,
) -> Result<String, ConfigProblem> {
    let reason = if origins
        .is_some_and(|origins| uri.origin() != origins.canonical().redirect_uri().origin())
    {
        "must be on the redirect URI's origin"
    } else if base.strip(uri.path()).is_none() {
        "must be below the base path"
    } else {
        return Ok(uri.path().to_owned());
    };
    Err(ConfigProblem::invalid("post_logout_redirect_uri", reason))
}

fn callback_mismatch() -> ConfigProblem {
    ConfigProblem::invalid(
        "callback_path",
        "is not the path of the redirect URI below the base path",
    )
}

/// The path of an app on its origin.
#[derive(Clone, Debug)]
pub(super) struct BasePath {
    /// Without a slash at its end; `None` if it is unknown.
    path: Option<String>,
    /// The base path as it was set, with or without a slash at its end.
    start_page: ReturnTo,
}

impl Default for BasePath {
    fn default() -> Self {
        Self { path: None, start_page: ReturnTo::root() }
    }
}

impl BasePath {
    fn parse(text: &str) -> Result<Self, ConfigProblem> {
        let path = text.trim_end_matches('/');
        if text != "/" && !is_plain_path(path) {
            return Err(ConfigProblem::invalid(
                "base_path",
                "must be a plain path such as /app, or /",
            ));
        }
        Ok(Self {
            path: Some(path.to_owned()),
            start_page: ReturnTo::parse(text).unwrap_or_else(ReturnTo::root),
        })
    }

    /// Returns what precedes the app's own paths.
    pub(super) fn prefix(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
    }

    pub(super) fn known(&self) -> Option<&str> {
        self.path.as_deref()
    }

    pub(super) fn start_page(&self) -> &ReturnTo {
        &self.start_page
    }

    /// Returns a path of the app without the base path, if it is below it.
    pub(super) fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(self.prefix())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    /// Returns the path that browsers request for a path without the base path.
    pub(super) fn join(&self, path: &str) -> String {
        match path {
            "/" => self.start_page.to_string(),
            path => format!("{}{path}", self.prefix()),
        }
    }

    /// The same for a setting, or its default.
    pub(super) fn join_set(
        &self,
        setting: &'static str,
        path: Option<&str>,
        default: &str,
    ) -> Result<String, ConfigProblem> {
        if let Some(path) = path {
            if !is_plain_path(path) {
                return Err(ConfigProblem::invalid(setting, "must be a plain path such as /login"));
            }
            let base = self.prefix();
            if !base.is_empty() && self.strip(path).is_some() {
                let reason = format!("must not begin with the base path {base}, which is added");
                return Err(ConfigProblem::invalid(setting, reason));
            }
        }
        Ok(self.join(path.unwrap_or(default)))
    }
}

/// The addresses of an app. Paths are those that browsers request.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) origins: Origins,
    /// The path of the post-logout redirect URIs.
    pub(super) logout_callback: String,
    pub(super) base: BasePath,
    pub(super) login: String,
    pub(super) session_info: String,
    pub(super) refresh: String,
    pub(super) logout: String,
    pub(super) backchannel_logout: String,
    pub(super) switch_account: String,
    /// A path, or the URL of a page elsewhere.
    pub(super) logged_out_page: String,
}

impl Paths {
    /// Returns the first redirect URI, which identifies the app.
    pub(super) fn redirect_uri(&self) -> &str {
        self.origins.canonical().redirect_uri().as_str()
    }

    pub(super) fn callback(&self) -> &str {
        self.origins.canonical().redirect_uri().path()
    }

    pub(super) fn is_https(&self) -> bool {
        self.origins.canonical().redirect_uri().scheme() == "https"
    }

    /// Rejects a public redirect URI if the environment is a sandbox that the app has started.
    /// Otherwise, identity providers of that sandbox lead to the login of this app.
    pub(super) fn check_environment(&self, scalekit: &Scalekit) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        for (index, origin) in self.origins.iter().enumerate() {
            let setting = if index == 0 { "redirect_uri" } else { ADDITIONAL };
            problems.collect(scalekit.check_app_url(setting, origin.redirect_uri()));
        }
        #[cfg(all(feature = "reqwest", feature = "sandbox"))]
        if let Some(sandbox) = scalekit.sandbox() {
            sandbox.idp().default_initiate_login_url(&self.origins.canonical().url(&self.login));
        }
        problems.finish(Some(()))
    }

    /// Checks that each route has its own path: the later one would never be reached.
    fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        if self.base.strip(self.callback()) == Some("/") {
            problems.push(ConfigProblem::invalid(
                "redirect_uri",
                "must have a path of its own below the base path",
            ));
        }
        let named = [
            ("redirect_uri", self.callback()),
            ("post_logout_redirect_uri", &self.logout_callback),
            ("login_path", &self.login),
            ("session_info_path", &self.session_info),
            ("refresh_path", &self.refresh),
            ("logout_path", &self.logout),
            ("backchannel_logout_path", &self.backchannel_logout),
            ("switch_account_path", &self.switch_account),
        ];
        for (index, (setting, path)) in named.iter().enumerate() {
            if !path.is_empty() && named.iter().take(index).any(|(_, other)| other == path) {
                problems.push(ConfigProblem::invalid(setting, "is the path of another route too"));
            }
        }
        problems.finish(Some(()))
    }
}

impl Sessions {
    /// Returns the [target](Self::login_target) of a login that a request leads to, marked as
    /// redirected to the canonical host if the request is.
    pub(crate) fn login_target_for<B>(
        &self,
        request: &Request<B>,
        return_to: Option<&ReturnTo>,
        prompt_login: bool,
    ) -> String {
        let login = self.login_target(return_to, prompt_login);
        if self.is_still_at_foreign_host(request) { with_redirect_param(&login) } else { login }
    }

    /// Returns path and query of a login that returns to this page. `prompt_login` requires the user's
    /// credentials again.
    pub(crate) fn login_target(&self, return_to: Option<&ReturnTo>, prompt_login: bool) -> String {
        let mut login = self.with_return_to(self.login_path(), return_to);
        if prompt_login {
            login.push(if login.contains('?') { '&' } else { '?' });
            login.push_str("prompt=login");
        }
        login
    }

    /// Returns a path with `return_to` in its query, unless that is the start page.
    pub(crate) fn with_return_to(&self, path: &str, return_to: Option<&ReturnTo>) -> String {
        with_return_to(path, return_to.filter(|page| *page != self.start_page()))
    }
}

/// Whether it is a path of this host that routers match literally.
fn is_plain_path(path: &str) -> bool {
    // A browser resolves dot segments: it never requests such a path.
    path.starts_with('/') && !path.starts_with("//") && is_plain(path) && !has_dot_segments(path)
}

fn is_plain(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\{}*:\"'<>&".contains(&b))
}

/// The rules of the dashboard: at most 256 characters, no query, no fragment.
fn parse_redirect_uri(setting: &'static str, text: &str) -> Result<Url, ConfigError> {
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
    require_https_or_loopback(&url).map_err(|reason| ConfigProblem::invalid(setting, reason))?;
    Ok(url)
}

pub(super) fn check_origin(text: &str) -> Result<(), ConfigError> {
    if parse_app_url("trusted_origin", text)?.origin().ascii_serialization() != text {
        return Err(ConfigProblem::invalid(
            "trusted_origin",
            "must be an origin such as https://app.example.com, without a path",
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::http_client::UnreachableClient;
    use crate::scalekit::Scalekit;
    use crate::session::{Sessions, SessionsBuilder};
    use crate::session_secret::SessionSecret;

    fn good() -> SessionsBuilder {
        let scalekit = Scalekit::builder("https://acme.test", "skc_1", "hush");
        Sessions::builder(scalekit.http_client(UnreachableClient).build().unwrap())
            .secret(SessionSecret::generate().unwrap())
            .redirect_uri("https://app.test/auth/callback")
    }

    /// The base path, the path of the login and the start page with these settings.
    fn paths(
        redirect_uri: &str,
        base: Option<&str>,
        callback: Option<&str>,
    ) -> Result<(Option<String>, String, String), String> {
        let mut builder = good().redirect_uri(format!("https://app.test{redirect_uri}"));
        builder.paths.base_path = base.map(str::to_owned);
        builder.paths.callback = callback.map(str::to_owned);
        let sessions = builder.build().map_err(|error| error.to_string())?;
        let base = sessions.inner.paths.base.known().map(str::to_owned);
        Ok((base, sessions.login_path().to_owned(), sessions.start_page().to_string()))
    }

    #[test]
    fn the_base_path_is_that_of_the_redirect_uri_unless_it_is_set() {
        for (redirect_uri, base, callback, expected, start_page) in [
            ("/auth/callback", None, None, Some(""), "/"),
            ("/app/auth/callback", None, None, Some("/app"), "/app"),
            ("/a/b/auth/callback", None, None, Some("/a/b"), "/a/b"),
            ("/app/auth/callback", None, Some("/auth/callback"), Some("/app"), "/app"),
            ("/app/done", None, Some("/done"), Some("/app"), "/app"),
            ("/done", None, Some("/done"), Some(""), "/"),
            ("/app/auth/callback", Some("/app"), None, Some("/app"), "/app"),
            ("/app/auth/callback", Some("/app/"), None, Some("/app"), "/app/"),
            ("/app/auth/callback", Some("/app/auth"), None, Some("/app/auth"), "/app/auth"),
            ("/app/auth/callback", Some("/"), None, Some(""), "/"),
            ("/app/done", Some("/app"), Some("/done"), Some("/app"), "/app"),
            // Unknown: it does not end with the callback path.
            ("/done", None, None, None, "/"),
            ("/app/done", None, None, None, "/"),
            ("/myauth/callback", None, None, None, "/"),
            ("/app//auth/callback", None, None, None, "/"),
        ] {
            let login = format!("{}/login", expected.unwrap_or_default());
            let expected = (expected.map(str::to_owned), login, start_page.to_owned());
            let found = paths(redirect_uri, base, callback);
            assert_eq!(found, Ok(expected), "{redirect_uri} {base:?} {callback:?}");
        }
    }

    #[test]
    fn a_base_path_that_cannot_work_is_rejected_with_the_reason() {
        for base in ["", "app", "//", "//app", "/a b", "/app?x", "/a/../b", "https://app.test/app"]
        {
            let error = paths("/auth/callback", Some(base), None).unwrap_err();
            assert_eq!(error, "base_path: must be a plain path such as /app, or /", "{base}");
        }
        let outside = "redirect_uri: must be below the base path /app";
        let callback = "callback_path: is not the path of the redirect URI below the base path";
        for (redirect_uri, base, path, expected) in [
            ("/auth/callback", Some("/app"), None, outside),
            ("/application/auth/callback", Some("/app"), None, outside),
            ("/app/auth/callback", Some("/app"), Some("/done"), callback),
            ("/app/auth/callback", Some("/app"), Some("/app/auth/callback"), callback),
            ("/app/auth/callback", None, Some("/done"), callback),
            (
                "/app/auth/callback",
                None,
                Some("callback"),
                "callback_path: must be a plain path such as /auth/callback",
            ),
        ] {
            let found = paths(redirect_uri, base, path);
            assert_eq!(found, Err(expected.to_owned()), "{redirect_uri} {base:?} {path:?}");
        }
        let error = good()
            .redirect_uri("https://app.test/app/auth/callback")
            .post_logout_redirect_uri("https://app.test/bye")
            .login_path("/app/login")
            .logged_out_page("/app")
            .refresh_path("refresh")
            .build()
            .unwrap_err();
        assert_eq!(error.problems().len(), 4, "{error}");
        let both = paths("/auth/callback", Some("app"), Some("callback")).unwrap_err();
        assert_eq!(both.matches("must be a plain path").count(), 2, "{both}");
        let doubled = "login_path: must not begin with the base path /app, which is added";
        assert!(error.to_string().contains(doubled), "{error}");
        let outside = good()
            .redirect_uri("https://app.test/app/auth/callback")
            .post_logout_redirect_uri("https://app.test/bye")
            .build();
        let reason = "post_logout_redirect_uri: must be below the base path";
        assert_eq!(outside.unwrap_err().to_string(), reason);
    }

    #[test]
    fn all_paths_begin_with_the_base_path() {
        let builder = || good().redirect_uri("https://app.test/app/auth/callback");
        let sessions = builder().build().unwrap();
        for path in [
            sessions.login_path(),
            sessions.callback_path(),
            sessions.refresh_path(),
            sessions.logout_path(),
            sessions.logout_callback_path(),
            sessions.backchannel_logout_path(),
            sessions.switch_account_path(),
        ] {
            let stripped = sessions.strip_base_path(path);
            assert_eq!(path, format!("/app{stripped}"));
        }
        assert_eq!(sessions.logged_out_url(sessions.origins().canonical()), "https://app.test/app");
        assert_eq!(sessions.login_url().to_string(), "/app/login");
        assert_eq!(sessions.strip_base_path("/app"), "/");
        assert_eq!(sessions.strip_base_path("/application"), "/application");
        let sessions = builder().base_path("/app/").login_path("/").logged_out_page("/bye");
        let sessions = sessions.build().unwrap();
        assert_eq!(sessions.login_path(), "/app/");
        assert_eq!(
            sessions.logged_out_url(sessions.origins().canonical()),
            "https://app.test/app/bye"
        );
        // A default path may repeat the base path.
        let sessions = builder().base_path("/app/auth").build().unwrap();
        assert_eq!(sessions.refresh_path(), "/app/auth/auth/refresh");
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
        assert_eq!(sessions.logged_out_url(sessions.origins().canonical()), "https://app.test/");
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
        assert_eq!(
            sessions.logged_out_url(sessions.origins().canonical()),
            "https://www.app.test/bye?x=1"
        );
    }
}
