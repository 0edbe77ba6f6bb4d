use std::collections::HashSet;

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
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.router([
            (self.login_path(), any_service(self.login())),
            (self.callback_path(), any_service(self.callback())),
            (self.switch_account_path(), any_service(self.switch_account())),
            (self.session_info_path(), any_service(self.session_info())),
            (self.refresh_path(), any_service(self.refresh())),
            (self.logout_path(), any_service(self.logout())),
            (self.logout_callback_path(), any_service(self.logout_callback())),
            (self.backchannel_logout_path(), any_service(self.backchannel_logout())),
        ])
    }

    /// Returns a router with each route at its path, and at its path without the base path, which a
    /// proxy or another router may have removed.
    pub(crate) fn router<'p, S, const N: usize>(
        &'p self,
        routes: [(&'p str, MethodRouter); N],
    ) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let mut taken = HashSet::new();
        let stripped = routes.clone().map(|(path, route)| (self.strip_base_path(path), route));
        let all = routes.into_iter().chain(stripped).filter(|(path, _)| taken.insert(*path));
        all.fold(Router::new(), |router, (path, route)| router.route_service(path, route))
    }
}
