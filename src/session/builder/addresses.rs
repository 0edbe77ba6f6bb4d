//! Settings of the app's addresses.

use super::SessionsBuilder;

impl SessionsBuilder {
    /// Sets the redirect URI, as registered in the dashboard. Required; `https`, or `http` on
    /// loopback for development.
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.paths.redirect_uri = Some(uri.into());
        self
    }

    /// Adds the redirect URI of the same app at another host, as registered in the dashboard, with
    /// the scheme and path of the first. Can be called several times. Default: none; all other
    /// hosts are redirected to that of the redirect URI.
    ///
    /// A login begins and ends at the host of the request, with the cookies of that host: users log
    /// in at each host separately. Pages of one host are another site to the others, unless they are
    /// [trusted](Self::trusted_origin). See
    /// [an app at several hosts](crate::guides::behind_a_proxy#an-app-at-several-hosts).
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    /// let sessions = Sessions::builder(Sandbox::new().scalekit())
    ///     .secret(SessionSecret::generate()?)
    ///     .redirect_uri("https://app.example.com/auth/callback")
    ///     .additional_redirect_uri("https://app.example.org/auth/callback")
    ///     .build()?;
    /// assert_eq!(sessions.redirect_uris().count(), 2);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn additional_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.paths.additional_redirect_uris.push(uri.into());
        self
    }

    /// Sets the URI that logouts return to, as registered in the dashboard. It is on the redirect
    /// URI's origin, because the [`LogoutCallback`](crate::auth_routes::LogoutCallback) there checks
    /// `state`. Logouts at the host of an [additional](Self::additional_redirect_uri) redirect URI
    /// return to the same path there; register that too. Default: `/auth/logout/callback`.
    pub fn post_logout_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.paths.post_logout_redirect_uri = Some(uri.into());
        self
    }

    /// Sets the page that the browser opens after a logout: a path of the app, or an https URL.
    /// Default: `/`.
    pub fn logged_out_page(mut self, page: impl Into<String>) -> Self {
        self.paths.logged_out_page = Some(page.into());
        self
    }

    /// Sets the path of the app on its origin, such as `/app`. All other paths that are set are
    /// below it: `/login` is then `/app/login`. `/` states that the app has its origin for itself.
    /// With a slash at the end, the start page is `/app/`, otherwise `/app`.
    ///
    /// The app can be nested in an axum router, or behind a proxy, that removes the base path or
    /// does not: see [how to run an app behind a proxy](crate::guides::behind_a_proxy).
    ///
    /// Default: the path of the redirect URI without the [callback path](Self::callback_path). If
    /// it does not end with that, the base path is unknown: other paths are at the root, and logins
    /// return to the start page where no axum router knows the requested page.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.paths.base_path = Some(path.into());
        self
    }

    /// Sets the path of the redirect URI below the base path. Default: what follows the base path
    /// if that is set, otherwise `/auth/callback`.
    pub fn callback_path(mut self, path: impl Into<String>) -> Self {
        self.paths.callback = Some(path.into());
        self
    }

    /// Sets the path where logins start. Register its URL as the initiate-login URL in the
    /// dashboard. If it is a page of the app, merge `Sessions::routes_without_login`. Default: `/login`.
    pub fn login_path(mut self, path: impl Into<String>) -> Self {
        self.paths.login = Some(path.into());
        self
    }

    /// Sets the path that describes the session to scripts. Default: `/auth/session`.
    pub fn session_info_path(mut self, path: impl Into<String>) -> Self {
        self.paths.session_info = Some(path.into());
        self
    }

    /// Sets the path of the refresh endpoint. Default: `/auth/refresh`.
    pub fn refresh_path(mut self, path: impl Into<String>) -> Self {
        self.paths.refresh = Some(path.into());
        self
    }

    /// Sets the path of the logout. Default: `/logout`.
    pub fn logout_path(mut self, path: impl Into<String>) -> Self {
        self.paths.logout = Some(path.into());
        self
    }

    /// Sets the path that receives back-channel logouts. Register its URL as the back-channel
    /// logout URL in the dashboard. Default: `/auth/backchannel-logout`.
    pub fn backchannel_logout_path(mut self, path: impl Into<String>) -> Self {
        self.paths.backchannel_logout = Some(path.into());
        self
    }

    /// Sets the path where users confirm a login that would replace the session of another user.
    /// Default: `/auth/switch-account`.
    pub fn switch_account_path(mut self, path: impl Into<String>) -> Self {
        self.paths.switch_account = Some(path.into());
        self
    }
}
