//! Login by code or magic link, with your own pages. Scalekit sends the e-mail, the app creates the
//! session.
//!
//! | service | mounted at | what it does |
//! |---|---|---|
//! | [`SendEmail`] | `POST /passwordless/send` | sends an e-mail to `email` |
//! | [`ResendEmail`] | `POST /passwordless/resend` | sends it again |
//! | [`Verify`] | `POST /passwordless/verify` | verifies the `code`, or the fields of the page below |
//! | [`Link`] | `GET /passwordless/verify/{attempt}`, and without `/{attempt}` | receives magic links |
//! | [`Switch`] | `GET` or `POST /passwordless/switch` | asks before a login replaces another user's session |
//!
//! All are plain tower services; [`PasswordlessLogin::routes`] (feature `axum`) mounts them. They
//! accept forms and JSON. A form is redirected (303): to the page that asks for the code, with
//! `attempt` in its query, or after the login to the page where it began (`return_to`). A script
//! gets JSON. Pages show the state of a login with [`PasswordlessLogin::pending`].
//!
//! The pages are the app's, with these forms; the [guide](crate::guides::passwordless_email) has the
//! handlers:
//!
//! ```html
//! <form method="post" action="/passwordless/send">
//!   <input name="email" type="email" required>
//!   <input name="return_to" type="hidden" value="/plans"> <!-- optional -->
//!   <button>Send e-mail</button>
//! </form>
//!
//! <!-- the page for the code: `attempt` is in its query -->
//! <form method="post" action="/passwordless/verify">
//!   <input name="attempt" type="hidden" value="…">
//!   <input name="code" inputmode="numeric" autocomplete="one-time-code" required>
//!   <button>Log in</button>
//! </form>
//! <form method="post" action="/passwordless/resend">
//!   <input name="attempt" type="hidden" value="…">
//!   <button>Send it again</button>
//! </form>
//! ```
//!
//! 1. The request at Scalekit is bound to the browser that requested the e-mail: its ID and a
//!    random `state` are sealed in a cookie, which lives ten minutes longer than the code. A code
//!    is valid only there. Each tab can have its own attempt; the form field `attempt` selects one.
//!    Default: the newest.
//! 2. A link contains the ID of its attempt. In the browser of the attempt, the link logs in at
//!    once if the returned `state` equals that of the cookie. If Scalekit enforces the same
//!    browser, the request ID is sent with the link.
//! 3. A link that is opened in another browser, such as by a mail scanner or on a phone, shows a
//!    page with a button. Only the button uses the link up and logs in; forms of other sites are
//!    rejected. With [`same_browser_only`](PasswordlessLoginBuilder::same_browser_only) such a link
//!    is rejected instead.
//! 4. If the browser has a session of another user, that session stays until the user has confirmed
//!    the new login on the page of [`Switch`]; the redirect, or `return_to` in the JSON, leads
//!    there.
//! 5. Sending reveals nothing about accounts: no user is looked up before the address is verified,
//!    and the response does not depend on whether the environment accepts the address.
//! 6. A code or link that arrives twice within ten seconds, such as by a double click, is used
//!    once, and both responses contain the same session, on all replicas that share a store. The
//!    same applies to a resend in one process, but not to the first e-mail.
//! 7. When a service is unavailable, the response is 503, and the same code or link can be tried
//!    again. If Scalekit had accepted it already, this works for a minute in this process. A new
//!    e-mail is necessary only if Scalekit's response was lost.
//!
//! The session is a [`LocalSession`] in the shared store; with the
//! store in memory, it ends with the process. Its user's ID is the e-mail address in lower case,
//! unless [`on_login`](PasswordlessLoginBuilder::on_login) returns another one.
//!
//! # Limits
//!
//! All are counted in the shared store, regardless of the environment's own counts. A rejection is
//! a 429.
//!
//! | what | limit | set with |
//! |---|---|---|
//! | lifetime of a code | 10 minutes, or the environment's, if that is less | [`expires_in`](PasswordlessLoginBuilder::expires_in) |
//! | codes tried in one login, resends included | 5, with those whose rejection has an unknown form | |
//! | wrong codes for one address and day | 10; after these, each login has one try, so that the recipient of the e-mail can log in | |
//! | e-mails to one address | 2 in a minute, 20 in a day, resends included | [`max_emails_per_address`](PasswordlessLoginBuilder::max_emails_per_address) |
//! | e-mails for one client | 60 in an hour; to one address, half of the address's daily limit | [`max_emails_per_client`](PasswordlessLoginBuilder::max_emails_per_client) |
//! | limits of the app | none | [`before_send`](PasswordlessLoginBuilder::before_send) |
//!
//! At most 30 codes are therefore tried per day for an address: 10, and one for each e-mail. With
//! six digits, one day of guessing succeeds with a probability of 30 in a million, regardless of
//! the lifetime of codes.
//!
//! A client is identified by its peer address, if that is public, or by
//! [`client_key`](PasswordlessLoginBuilder::client_key). Set it behind a reverse proxy: without it
//! there is no limit per client, and a warning is logged. [`client_key_from_ip`] derives it from an IP address, and
//! counts the addresses of an IPv6 network as one client.
//!
//! The response to a request for an e-mail is the same if the environment does not accept the
//! address, or the app [denies it silently](SendDenied::Silently): the login looks like any other,
//! and every code is wrong.
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, StatusCode, header};
//! use http_body_util::Full;
//! use tower::ServiceExt;
//! use tower_scalekit::{PasswordlessLogin, Sandbox, SessionSecret, Sessions};
//!
//! let sandbox = Sandbox::new();
//! let sessions = Sessions::builder(sandbox.scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let login = PasswordlessLogin::builder(&sessions).code_page("/code").build()?;
//!
//! let form = |path: &str, form: String| {
//!     Request::post(path)
//!         .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
//!         .header(header::ACCEPT, "text/html")
//!         .body(Full::<bytes::Bytes>::from(form))
//! };
//! let request = form(login.send_path(), "email=jane@acme.test&return_to=/plans".to_owned())?;
//! let sent = login.send_email().oneshot(request).await?;
//! assert_eq!(sent.status(), StatusCode::SEE_OTHER);
//! assert!(sent.headers()[header::LOCATION].to_str()?.starts_with("/code?attempt="));
//!
//! let code = sandbox.mail().outbox()[0].code.clone().ok_or("no code")?;
//! let mut request = form(login.verify_path(), format!("code={code}"))?;
//! let cookie = sent.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap_or_default();
//! request.headers_mut().insert(header::COOKIE, cookie.parse()?);
//! let done = login.verify().oneshot(request).await?;
//! assert_eq!(done.headers()[header::LOCATION], "/plans");
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod attempt;
mod before_send;
mod builder;
pub(crate) mod confirmation_page;
pub(crate) mod form;
mod limits;
mod link;
mod paths;
pub(crate) mod rejection;
#[cfg(feature = "axum")]
mod router;
pub(crate) mod send;
mod service;
mod switch;
mod verify;
pub(crate) mod verify_credential;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;

pub use self::attempt::PendingLogin;
pub use self::before_send::SendDenied;
pub use self::builder::PasswordlessLoginBuilder;
pub use self::confirmation_page::LinkConfirmation;
pub use self::limits::client_key_from_ip;
pub use self::link::Link;
pub use self::rejection::PasswordlessLoginError;
pub use self::send::{ResendEmail, SendEmail};
pub use self::switch::Switch;
pub use self::verify::Verify;

use self::attempt::{Delivery, EmailAttempt};
use self::before_send::SendHook;
use self::builder::LinkPage;
use self::limits::EmailLimits;
use self::paths::{Pages, Paths};
use self::send::MailProperties;
use crate::api::passwordless::{EmailTemplate, PasswordlessApi, VerifiedEmail};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::Renderer;
use crate::session::{EmailLogin, LocalSession, LoginHook, LoginOutcome, Sessions, Switched};
use crate::util::shared_results::{SharedResults, TtlMap};

/// Login by code or magic link. Cheap to clone; see the [module docs](self).
#[derive(Clone)]
pub struct PasswordlessLogin {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Sessions,
    paths: Paths,
    pages: Pages,
    template: Option<EmailTemplate>,
    template_variables: BTreeMap<String, String>,
    expires_in: Option<Duration>,
    limits: EmailLimits,
    before_send: Option<SendHook<()>>,
    recipient_variables: Option<SendHook<BTreeMap<String, String>>>,
    /// The properties of recent e-mails, for responses to those that are not sent.
    properties: Mutex<Option<MailProperties>>,
    same_browser_only: bool,
    login_hook: Option<LoginHook<VerifiedEmail, LocalSession>>,
    confirmation_page: Option<Arc<LinkPage>>,
    logins: SharedResults<LoginOutcome, PasswordlessLoginError>,
    /// Logins that were just confirmed.
    switches: SharedResults<Switched, PasswordlessLoginError>,
    /// Verifications that the environment has accepted while the app could not log in.
    unfinished: TtlMap<EmailLogin>,
    resends: SharedResults<Delivery, PasswordlessLoginError>,
    renderer: Renderer<RouteRejection<PasswordlessLoginError>>,
}

impl PasswordlessLogin {
    /// Configures logins that begin sessions of `sessions`.
    pub fn builder(sessions: &Sessions) -> PasswordlessLoginBuilder {
        PasswordlessLoginBuilder::new(sessions)
    }

    /// Returns the service that sends e-mails.
    #[must_use]
    pub fn send_email(&self) -> SendEmail {
        SendEmail { login: self.clone() }
    }

    /// Returns the service that sends an e-mail again.
    #[must_use]
    pub fn resend_email(&self) -> ResendEmail {
        ResendEmail { login: self.clone() }
    }

    /// Returns the service that verifies codes.
    #[must_use]
    pub fn verify(&self) -> Verify {
        Verify { login: self.clone() }
    }

    /// Returns the service that receives magic links.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { login: self.clone() }
    }

    /// Returns the path that sends e-mails by `POST`. Default: `/passwordless/send`.
    #[must_use]
    pub fn send_path(&self) -> &str {
        &self.inner.paths.send
    }

    /// Returns the path that sends an e-mail again by `POST`. Default: `/passwordless/resend`.
    #[must_use]
    pub fn resend_path(&self) -> &str {
        &self.inner.paths.resend
    }

    /// Returns the path that verifies codes by `POST`, and the prefix of magic links for `GET`.
    /// Default: `/passwordless/verify`.
    #[must_use]
    pub fn verify_path(&self) -> &str {
        &self.inner.paths.verify
    }

    /// Returns the service where users confirm a login that would replace the session of another
    /// user.
    #[must_use]
    pub fn switch(&self) -> Switch {
        Switch { login: self.clone() }
    }

    /// Returns the path where users confirm such a login. Default: `/passwordless/switch`.
    #[must_use]
    pub fn switch_path(&self) -> &str {
        &self.inner.paths.switch
    }

    /// Returns the login that is in progress in the browser of a request: the one with this
    /// `attempt`, which is in the query of the code page, or else the newest.
    #[must_use]
    pub fn pending(
        &self,
        request_headers: &HeaderMap,
        attempt: Option<&str>,
    ) -> Option<PendingLogin> {
        EmailAttempt::find(self.sessions(), request_headers, attempt).map(PendingLogin::from)
    }

    fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    fn api(&self) -> PasswordlessApi {
        self.sessions().scalekit().api().passwordless()
    }
}

impl fmt::Debug for PasswordlessLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordlessLogin")
            .field("sessions", self.sessions())
            .field("verify_path", &self.inner.paths.verify)
            .finish_non_exhaustive()
    }
}
