use std::collections::HashSet;
use std::iter;

use axum::Router;
use axum::routing::{MethodRouter, any_service};

use crate::session::Sessions;

impl Sessions {
    /// Returns the routes of a login, for a router of any state. Merge them *beside* the routes
    /// that [`RequireSession`](crate::RequireSession) protects. With a
    /// [base path](crate::session::SessionsBuilder::base_path), each route is at its path with and
    /// without it, so that the router works nested under the base path, behind a proxy that removes
    /// it, and behind one that does not. Routers of several `Sessions` have these paths in common:
    /// nest each under its base path.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[doc(alias = "feature axum")]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.login_route().register();
        self.router(
            iter::once((self.login_path(), any_service(self.login()))).chain(self.other_routes()),
        )
    }

    /// Returns the same routes without the one at
    /// [`login_path`](crate::session::SessionsBuilder::login_path), where the app has a login page
    /// of its own: [`routes`](Self::routes) and that page would conflict.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{Sandbox, SessionSecret};
    /// use axum::{Router, response::Html, routing::get};
    /// use tower_scalekit::{RequireSession, Session, Sessions};
    ///
    /// # let scalekit = Sandbox::new().scalekit();
    /// let sessions = Sessions::builder(scalekit)
    ///     .secret(SessionSecret::generate()?)
    ///     .redirect_uri("https://app.example.com/auth/callback")
    ///     .login_path("/signin") // where `RequireSession` redirects
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     .route("/", get(async |session: Session| session.user().email.clone()))
    ///     .route_layer(RequireSession::new(&sessions))
    ///     .route("/signin", get(Html("a form, see PasswordlessLogin")))
    ///     .merge(sessions.routes_without_login());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[doc(alias = "feature axum")]
    pub fn routes_without_login<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.any_login_route().register();
        self.router(self.other_routes())
    }

    fn other_routes(&self) -> [(&str, MethodRouter); 7] {
        [
            (self.callback_path(), any_service(self.callback())),
            (self.switch_account_path(), any_service(self.switch_account())),
            (self.session_info_path(), any_service(self.session_info())),
            (self.refresh_path(), any_service(self.refresh())),
            (self.logout_path(), any_service(self.logout())),
            (self.logout_callback_path(), any_service(self.logout_callback())),
            (self.backchannel_logout_path(), any_service(self.backchannel_logout())),
        ]
    }

    /// Returns a router with each route at its path, and at its path without the base path, which a
    /// proxy or another router may have removed.
    pub(crate) fn router<'p, S>(
        &'p self,
        routes: impl IntoIterator<Item = (&'p str, MethodRouter)>,
    ) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let routes: Vec<_> = routes.into_iter().collect();
        let mut taken = HashSet::new();
        routes
            .iter()
            .map(|(path, route)| (*path, route))
            .chain(routes.iter().map(|(path, route)| (self.strip_base_path(path), route)))
            .filter(|(path, _)| taken.insert(*path))
            .fold(Router::new(), |router, (path, route)| router.route_service(path, route.clone()))
    }
}
