//! Routes of a login: start, callback, refresh and logout.
//!
//! | service | method and path | what it does |
//! |---|---|---|
//! | [`Login`] | `GET /login?return_to=` | sends the browser to the environment's login page |
//! | [`Callback`] | `GET` path of the redirect URI | exchanges the code for a session |
//! | [`SwitchAccount`] | `GET` or `POST /auth/switch-account` | asks before a login replaces another user's session |
//! | [`SessionInfo`] | `GET /auth/session` | describes the session, for scripts |
//! | [`Refresh`] | `POST /auth/refresh` | refreshes the session's tokens |
//! | [`Logout`] | `GET` or `POST /logout` | ends the session here and at the environment |
//! | [`LogoutCallback`] | `GET` path of the post-logout redirect URI | receives the browser after a logout at the environment |
//! | [`BackchannelLogout`] | `POST /auth/backchannel-logout` | receives logouts at the environment |
//!
//! All are plain tower services; [`Sessions::routes`](crate::Sessions::routes) (feature `axum`)
//! mounts them.
//!
//! Each login attempt has its own random `state`, `nonce` and PKCE verifier, in its own sealed
//! cookie, which expires after ten minutes and is valid for one callback. Several tabs can log in
//! at once, and the callback of another browser is rejected. Pages never show values of the
//! callback's address.
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::{Sandbox, SessionSecret, Sessions};
//!
//! let sessions = Sessions::builder(Sandbox::new().scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let request = Request::get("/login?return_to=/dashboard").body(())?;
//! let response = sessions.login().oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::FOUND);
//! assert!(response.headers()[header::LOCATION].to_str()?.contains("/oauth/authorize?"));
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod authorization_response;
mod backchannel_logout;
mod callback;
mod completion;
mod login;
mod login_attempt;
pub(crate) mod login_start;
pub(crate) mod login_url;
mod logout;
mod logout_attempt;
mod logout_callback;
mod refresh;
mod route;
#[cfg(feature = "axum")]
mod router;
#[cfg(feature = "sandbox")]
pub(crate) mod sandbox;
mod session_info;
mod switch_account;
mod switch_organization;

pub use self::backchannel_logout::BackchannelLogout;
pub use self::callback::{Callback, CallbackRejection, CompletedLogin};
pub use self::login::Login;
pub use self::login_url::LoginUrl;
pub use self::logout::Logout;
pub use self::logout_callback::LogoutCallback;
pub use self::refresh::Refresh;
pub use self::session_info::SessionInfo;
pub use self::switch_account::SwitchAccount;
pub use crate::session::login_error::LoginError;
pub use crate::util::return_to::ReturnTo;

pub(crate) use self::login_attempt::LoginTrigger;
pub(crate) use self::login_start::{LoginStart, is_redirect_loop};
pub(crate) use self::route::LoginRouteState;

use crate::session::Sessions;

impl Sessions {
    /// Returns the service that starts logins.
    pub fn login(&self) -> Login {
        self.any_login_route().register();
        Login { state: LoginRouteState::new(self) }
    }

    /// Returns the service that completes logins.
    pub fn callback(&self) -> Callback {
        Callback { state: LoginRouteState::new(self) }
    }

    /// Returns the service that asks before a login replaces the session of another user.
    pub fn switch_account(&self) -> SwitchAccount {
        SwitchAccount { state: LoginRouteState::new(self) }
    }

    /// Returns the service that describes the session of a request.
    pub fn session_info(&self) -> SessionInfo {
        SessionInfo { state: LoginRouteState::new(self) }
    }

    /// Returns the service that refreshes a session's tokens on request.
    pub fn refresh(&self) -> Refresh {
        Refresh { state: LoginRouteState::new(self) }
    }

    /// Returns the service that ends sessions.
    pub fn logout(&self) -> Logout {
        Logout { state: LoginRouteState::new(self) }
    }

    /// Returns the service that receives the browser after a logout at the environment.
    pub fn logout_callback(&self) -> LogoutCallback {
        LogoutCallback { state: LoginRouteState::new(self) }
    }

    /// Returns the service that receives logouts at the environment.
    pub fn backchannel_logout(&self) -> BackchannelLogout {
        BackchannelLogout { state: LoginRouteState::new(self) }
    }
}
