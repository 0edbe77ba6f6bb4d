use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Request};

use super::before_send::{SendDenied, SendHook};
use super::confirmation_page::LinkConfirmation;
use super::limits::{ClientKey, EmailLimits, RESEND_RESULT_TTL, UNFINISHED_TTL, public_peer};
use super::paths::{Pages, Paths};
use super::rejection::PasswordlessLoginError;
use super::{Inner, PasswordlessLogin};
use crate::api::passwordless::{EmailTemplate, VerifiedEmail, check_variables};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::session::{LocalSession, LoginHook, LoginHookError, Sessions};
use crate::util::shared_results::{RESULT_TTL, SharedResults, TtlMap};

const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(10 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Each one is stored with its time, in one value of the shared store.
const MAX_EMAILS: usize = 1000;

/// The app's own page for a link that was opened in another browser.
pub(super) type LinkPage = dyn Fn(&LinkConfirmation) -> String + Send + Sync + 'static;

/// Configures [`PasswordlessLogin`].
#[must_use]
pub struct PasswordlessLoginBuilder {
    sessions: Sessions,
    path: Option<String>,
    start_page: Option<String>,
    code_page: Option<String>,
    template: Option<EmailTemplate>,
    template_variables: BTreeMap<String, String>,
    expires_in: Option<Duration>,
    max_emails_per_address: usize,
    max_emails_per_client: usize,
    client_key: Arc<ClientKey>,
    before_send: Option<SendHook<()>>,
    recipient_variables: Option<SendHook<BTreeMap<String, String>>>,
    same_browser_only: bool,
    login_hook: Option<LoginHook<VerifiedEmail, LocalSession>>,
    admits_everyone: bool,
    confirmation_page: Option<Arc<LinkPage>>,
    renderer: Renderer<RouteRejection<PasswordlessLoginError>>,
}

impl PasswordlessLoginBuilder {
    pub(super) fn new(sessions: &Sessions) -> Self {
        sessions.any_login_route().register();
        Self {
            sessions: sessions.clone(),
            path: None,
            start_page: None,
            code_page: None,
            template: None,
            template_variables: BTreeMap::new(),
            expires_in: None,
            max_emails_per_address: 20,
            max_emails_per_client: 60,
            client_key: Arc::new(public_peer),
            before_send: None,
            recipient_variables: None,
            same_browser_only: false,
            login_hook: None,
            admits_everyone: false,
            confirmation_page: None,
            renderer: Renderer::default(),
        }
    }

    /// Sets the path prefix of the routes. Default: `/passwordless`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Sets the path of your page that asks for the address. Users who have to start again are
    /// redirected there, with `return_to` in the query; include it in the form. Default: `/`.
    pub fn start_page(mut self, path: impl Into<String>) -> Self {
        self.start_page = Some(path.into());
        self
    }

    /// Sets the path of your page that asks for the code. Browsers are redirected there after an
    /// e-mail was sent, with `attempt` in the query; include it in the forms. Default: `/`.
    pub fn code_page(mut self, path: impl Into<String>) -> Self {
        self.code_page = Some(path.into());
        self
    }

    /// Sets the template of the e-mails. A form's field `template` takes precedence. Default: the
    /// environment decides.
    pub fn template(mut self, template: EmailTemplate) -> Self {
        self.template = Some(template);
        self
    }

    /// Adds a variable for the template of the e-mails, at most 30.
    pub fn template_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.template_variables.insert(name.into(), value.into());
        self
    }

    /// Sets a hook that returns variables for the template of one e-mail, in addition to those for
    /// all e-mails, which it can replace; together at most 30. It receives the address and the
    /// request's headers. It is called after the limits were checked, and not for a resend, which
    /// repeats the e-mail.
    ///
    /// The template is sent to whoever owns the address: before they have logged in, do not show
    /// what only they may see. A hook that takes longer than thirty seconds counts as
    /// [`SendDenied::Unavailable`].
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{PasswordlessLogin, Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// use std::collections::BTreeMap;
    ///
    /// let login = PasswordlessLogin::builder(&sessions)
    ///     .template_variable("team", "Everyone")
    ///     .recipient_variables(|email, _headers| async move {
    ///         let team = if email.ends_with("@acme.test") { "Acme" } else { "Guests" };
    ///         Ok(BTreeMap::from([("team".to_owned(), team.to_owned())]))
    ///     })
    ///     .build()?;
    /// # let _ = login;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recipient_variables<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(String, HeaderMap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<BTreeMap<String, String>, SendDenied>> + Send + 'static,
    {
        self.recipient_variables = Some(SendHook::new(hook));
        self
    }

    /// Sets how long codes and links are valid, up to a day. Default: the environment's lifetime
    /// (five minutes unless the dashboard sets another one), and at most ten minutes for codes.
    ///
    /// A longer lifetime does not allow more guesses: see the [limits](super#limits). It gives
    /// anyone who can read the e-mail more time.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// Sets how many e-mails are sent to one address in 24 hours, resends included. Further
    /// requests are rejected with 429. Default: 20.
    pub fn max_emails_per_address(mut self, per_day: usize) -> Self {
        self.max_emails_per_address = per_day;
        self
    }

    /// Sets how many e-mails are sent for one [client](Self::client_key) in an hour, resends and
    /// failures included. Further requests are rejected with 429. Default: 60.
    pub fn max_emails_per_client(mut self, per_hour: usize) -> Self {
        self.max_emails_per_client = per_hour;
        self
    }

    /// Sets what identifies the client of a request. `None` exempts the request from the limit per
    /// client.
    ///
    /// Default: the IP address of `axum::extract::ConnectInfo<SocketAddr>` (feature `axum`; serve
    /// with `into_make_service_with_connect_info`) or of a `SocketAddr` in the request's
    /// extensions, if it is public; for IPv6 the /64 network. A private address probably belongs to
    /// a reverse proxy, which all clients share.
    ///
    /// No header is read by default, because a client can send any. Behind a reverse proxy, use the
    /// header that your proxy sets and never forwards:
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{PasswordlessLogin, Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// use tower_scalekit::passwordless_login::client_key_from_ip;
    ///
    /// let login = PasswordlessLogin::builder(&sessions)
    ///     .client_key(|request| {
    ///         let client = request.headers().get("x-real-ip")?; // set by your proxy
    ///         client.to_str().ok()?.parse().ok().map(client_key_from_ip)
    ///     })
    ///     .build()?;
    /// # let _ = login;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_key<F>(mut self, key: F) -> Self
    where
        F: Fn(&Request<()>) -> Option<String> + Send + Sync + 'static,
    {
        self.client_key = Arc::new(key);
        self
    }

    /// Sets a hook that checks limits of the app before each e-mail, including resends. It receives
    /// the address and the request's headers, and returns [`SendDenied`] to reject the e-mail. A
    /// hook that takes longer than thirty seconds counts as [`SendDenied::Unavailable`]. Default:
    /// no further limits.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{PasswordlessLogin, Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// use tower_scalekit::passwordless_login::SendDenied;
    ///
    /// let login = PasswordlessLogin::builder(&sessions)
    ///     .before_send(|email, _headers| async move {
    ///         match email.ends_with("@acme.test") {
    ///             true => Ok(()),
    ///             false => Err(SendDenied::Silently),
    ///         }
    ///     })
    ///     .build()?;
    /// # let _ = login;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn before_send<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(String, HeaderMap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), SendDenied>> + Send + 'static,
    {
        self.before_send = Some(SendHook::new(hook));
        self
    }

    /// Rejects links that are opened in another browser than the one that requested them,
    /// regardless of "Enforce same-browser origin" in the dashboard. This prevents login CSRF by
    /// links that an attacker requested. Default: such links show a confirmation page.
    pub fn same_browser_only(mut self) -> Self {
        self.same_browser_only = true;
        self
    }

    /// Sets a hook that returns the session of a verified e-mail address or denies the login, for
    /// instance after looking up or creating the user. [`LoginHookError::Denied`] is a 403;
    /// [`LoginHookError::Unavailable`], or a hook that takes longer than 30 seconds, is a 503,
    /// after which this process accepts the same code or link again for a minute. A hook that panics
    /// is a 500. A double click
    /// calls the hook once. It is called again if the shared store fails after it, so it must find
    /// a user that it has created.
    ///
    /// Default: every verified address is logged in, with [`VerifiedEmail::session`]. It must be
    /// set, or [`admit_everyone`](Self::admit_everyone), if the sessions have their own
    /// [`on_login`](crate::session::SessionsBuilder::on_login), which logins by e-mail do not call.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// use tower_scalekit::api::passwordless::VerifiedEmail;
    /// use tower_scalekit::session::{LocalSession, LoginHookError, User};
    /// # use tower_scalekit::{PasswordlessLogin, Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    ///
    /// let login = PasswordlessLogin::builder(&sessions)
    ///     .on_login(|verified: VerifiedEmail| async move {
    ///         if !verified.email.ends_with("@acme.test") {
    ///             return Err(LoginHookError::Denied);
    ///         }
    ///         let mut user = User::default();
    ///         user.id = "usr_1".to_owned(); // from your database
    ///         user.email = verified.email;
    ///         Ok(LocalSession::new(user).organization_id("org_1").roles(["member"]))
    ///     })
    ///     .build()?;
    /// # let _ = login;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_login<F, Fut>(mut self, admit: F) -> Self
    where
        F: Fn(VerifiedEmail) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<LocalSession, LoginHookError>> + Send + 'static,
    {
        self.login_hook = Some(LoginHook::new(admit));
        self
    }

    /// Logs in every verified address, although the sessions have an
    /// [`on_login`](crate::session::SessionsBuilder::on_login) hook for other logins.
    pub fn admit_everyone(mut self) -> Self {
        self.admits_everyone = true;
        self
    }

    /// Sets the HTML page that asks for confirmation when a link was opened in another browser.
    /// Scripts are blocked, and styles, images and fonts must be inline or from the app. For
    /// browsers from before 2023 it should contain
    /// `<meta name="referrer" content="strict-origin">`; otherwise they send its form without an
    /// origin, and it is rejected.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{PasswordlessLogin, Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// let login = PasswordlessLogin::builder(&sessions)
    ///     .confirmation_page(|confirmation| {
    ///         format!(
    ///             "<!doctype html><title>Log in</title><p>Did you ask for this e-mail?
    ///             <form method=post action='{}'>{}<button>Yes, log in</button></form>",
    ///             confirmation.action(),
    ///             confirmation.hidden_fields(),
    ///         )
    ///     })
    ///     .build()?;
    /// # let _ = login;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn confirmation_page<F>(mut self, page: F) -> Self
    where
        F: Fn(&LinkConfirmation) -> String + Send + Sync + 'static,
    {
        self.confirmation_page = Some(Arc::new(page));
        self
    }

    /// Validates the settings. Sends no request.
    ///
    /// # Errors
    /// Returned when settings are invalid; reports all of them.
    pub fn build(self) -> Result<PasswordlessLogin, ConfigError> {
        let mut problems = Problems::default();
        let [prefix, start, code] = [
            ("path", &self.path, "/passwordless"),
            ("start_page", &self.start_page, "/"),
            ("code_page", &self.code_page, "/"),
        ]
        .map(|(setting, path, default)| {
            let path = self.sessions.join_base_path(setting, path.as_deref(), default);
            problems.collect(path).unwrap_or_default()
        });
        let paths = Paths::below(&prefix);
        problems.collect(paths.check(&self.sessions));
        self.check(&mut problems);
        let inner = Inner {
            logins: shared_results(&self.sessions, "passwordless login", RESULT_TTL),
            switches: shared_results(&self.sessions, "passwordless login", RESULT_TTL),
            unfinished: TtlMap::new(self.sessions.scalekit().clock().clone(), UNFINISHED_TTL),
            resends: shared_results(&self.sessions, "passwordless email", RESEND_RESULT_TTL),
            sessions: self.sessions,
            paths,
            pages: Pages { start, code },
            template: self.template,
            template_variables: self.template_variables,
            expires_in: self.expires_in,
            limits: EmailLimits::new(
                self.max_emails_per_address,
                self.max_emails_per_client,
                self.client_key,
            ),
            before_send: self.before_send,
            recipient_variables: self.recipient_variables,
            properties: Mutex::default(),
            same_browser_only: self.same_browser_only,
            login_hook: self.login_hook,
            confirmation_page: self.confirmation_page,
            renderer: self.renderer,
        };
        problems.finish(Some(PasswordlessLogin { inner: Arc::new(inner) }))
    }

    /// Checks the settings that are independent of each other.
    fn check(&self, problems: &mut Problems) {
        if let Some(reason) = check_variables(&self.template_variables) {
            problems.push(ConfigProblem::invalid("template_variable", reason));
        }
        for (setting, max) in [
            ("max_emails_per_address", self.max_emails_per_address),
            ("max_emails_per_client", self.max_emails_per_client),
        ] {
            if !(1..=MAX_EMAILS).contains(&max) {
                problems.push(ConfigProblem::invalid(setting, "must be 1 to 1000"));
            }
        }
        if self.expires_in.is_some_and(|time| time < Duration::from_secs(1) || time > MAX_LIFETIME)
        {
            problems.push(ConfigProblem::invalid("expires_in", "must be 1 second to a day"));
        }
        match (&self.login_hook, self.admits_everyone) {
            (None, false) if self.sessions.has_login_hook() => {
                let reason = "must be set, or admit_everyone, because the sessions have a login \
                              hook, which logins by e-mail do not call";
                problems.push(ConfigProblem::invalid("on_login", reason));
            }
            (Some(_), true) => {
                problems.push(ConfigProblem::invalid("admit_everyone", "contradicts on_login"));
            }
            _ => {}
        }
    }
}

fn shared_results<T: Clone + Send + Sync + 'static>(
    sessions: &Sessions,
    name: &'static str,
    retention: Duration,
) -> SharedResults<T, PasswordlessLoginError> {
    SharedResults::new(
        sessions.scalekit().clock().clone(),
        retention,
        sessions.tasks(),
        name,
        PasswordlessLoginError::Misconfigured,
    )
}

on_rejection!(PasswordlessLoginBuilder, RouteRejection<PasswordlessLoginError>, renderer);

impl PasswordlessLogin {
    /// No code is accepted after this time.
    pub(super) fn max_lifetime(&self) -> Duration {
        self.inner.expires_in.unwrap_or(DEFAULT_MAX_LIFETIME)
    }
}

impl fmt::Debug for PasswordlessLoginBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordlessLoginBuilder")
            .field("path", &self.path)
            .field("start_page", &self.start_page)
            .field("code_page", &self.code_page)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::UnreachableClient;
    use crate::session::SessionsBuilder;
    use crate::{Scalekit, SessionSecret};

    fn sessions() -> Sessions {
        sessions_builder().build().unwrap()
    }

    fn sessions_builder() -> SessionsBuilder {
        let scalekit = Scalekit::builder("https://acme.test", "skc_1", "hush");
        Sessions::builder(scalekit.http_client(UnreachableClient).build().unwrap())
            .secret(SessionSecret::generate().unwrap())
            .redirect_uri("https://app.test/auth/callback")
            .logout_path("/mail/send")
    }

    #[test]
    fn a_login_hook_of_the_sessions_is_not_bypassed_by_default() {
        let sessions = sessions_builder().on_login(|_| async { Err(LoginHookError::Denied) });
        let sessions = sessions.build().unwrap();
        let builder = || PasswordlessLogin::builder(&sessions);
        let error = builder().build().unwrap_err().to_string();
        assert!(error.starts_with("on_login: ") && error.contains("admit_everyone"), "{error}");
        let reject = |_| async { Err(LoginHookError::Denied) };
        assert!(builder().on_login(reject).build().is_ok());
        assert!(builder().admit_everyone().build().is_ok());
        assert!(builder().on_login(reject).admit_everyone().build().is_err());
    }

    #[test]
    fn all_invalid_settings_are_reported_at_once() {
        let sessions = sessions();
        let builder = || PasswordlessLogin::builder(&sessions);
        let error = builder()
            .path("/a b")
            .start_page("login")
            .code_page("//evil.test")
            .template_variable("otp", "1")
            .expires_in(Duration::ZERO)
            .max_emails_per_address(0)
            .max_emails_per_client(1001)
            .build()
            .unwrap_err();
        assert_eq!(error.problems().len(), 7, "{error}");
        assert!(builder().path("/mail").build().is_err(), "the path of the logout");
        let many =
            (0..31).fold(builder(), |builder, n| builder.template_variable(n.to_string(), ""));
        assert!(many.build().is_err());

        let login = builder().path("/by-mail/").build().unwrap();
        assert_eq!(login.verify_path(), "/by-mail/verify");
    }
}
