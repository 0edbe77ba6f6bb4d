//! Login by code or magic link, with pages of your own: Scalekit sends the mail, the app makes the
//! session.
//!
//! | service | mounted at | what it does |
//! |---|---|---|
//! | [`SendMail`] | `POST /passwordless/send` | sends a mail to `email` |
//! | [`ResendMail`] | `POST /passwordless/resend` | sends it once more |
//! | [`Verify`] | `POST /passwordless/verify` | takes the `code`, or the fields of the page below |
//! | [`Link`] | `GET /passwordless/verify/{attempt}`, and without `/{attempt}` | where magic links lead |
//! | [`Switch`] | `GET` or `POST /passwordless/switch` | asks before a login replaces another user's session |
//!
//! All are plain tower services; [`PasswordlessLogin::routes`] (feature `axum`) mounts them. They
//! take forms and JSON. A browser that sends a form is sent on (303): to the page that asks for
//! the code with `attempt` in its query, or after the login to where it began (`return_to`). A
//! script gets JSON. Pages show what is going on with [`PasswordlessLogin::pending`].
//!
//! 1. The request at Scalekit is bound to the browser that asked for the mail: its id and a random
//!    `state` are sealed in a cookie, which lives ten minutes longer than the code. A code is good
//!    only there. Several tabs can each have an attempt; forms say which they are of with
//!    `attempt`, or mean the newest.
//! 2. A link says which attempt it is of. In the browser that makes it, the link logs in at once, if
//!    the `state` that comes back is the one in the cookie. Where Scalekit enforces the same
//!    browser, the id of the request goes with the link.
//! 3. A link that is opened elsewhere, by a mail scanner, on a phone, shows a page with a button.
//!    Only the button, whose form no other site can send, uses the link up and logs in. With
//!    [`same_browser_only`](PasswordlessLoginBuilder::same_browser_only) it is rejected instead.
//! 4. If the browser has a session of another user, that stays until the user has confirmed the new
//!    login at the page of [`Switch`]; the redirect, or `return_to` in the JSON, leads there.
//! 5. Sending tells nothing about accounts: no one is looked up before the mail has been read, and
//!    the response does not depend on whether the environment accepts the address.
//! 6. A code or link that comes twice while the first is under way, as by a double click, is used
//!    once, in this process, and both answers bring the same session. So it is with a resend, but not
//!    with the first mail.
//! 7. When something is out of reach the response is 503, and the same code or link can be tried again;
//!    for a minute, in this process, also if Scalekit had accepted it already. Only if its response was
//!    lost, a new mail is needed.
//!
//! The session is a [`LocalSession`](crate::session::LocalSession), kept in the shared store: with
//! the one in memory it ends with the process. It is of a user whose id is the e-mail address in small letters, unless
//! [`on_login`](PasswordlessLoginBuilder::on_login) knows better.
//!
//! # Limits
//!
//! All are counted in the shared store, whatever the environment counts; a rejection is 429.
//!
//! | what | limit | set with |
//! |---|---|---|
//! | lifetime of a code | 10 minutes, or what the environment says if that is less | [`expires_in`](PasswordlessLoginBuilder::expires_in) |
//! | codes tried in one login, resends included | 5 | |
//! | wrong codes for one address and day | 10; after these, each login has one try, so that the reader of the mail gets in | |
//! | mails to one address | 2 in a minute, 20 in a day, resends included | [`max_emails_per_address`](PasswordlessLoginBuilder::max_emails_per_address) |
//! | mails for one client | 60 in an hour; to one address, half of what the address has in a day | [`max_emails_per_client`](PasswordlessLoginBuilder::max_emails_per_client) |
//! | what the app knows | none | [`before_send`](PasswordlessLoginBuilder::before_send) |
//!
//! So at most 30 codes are tried in a day for an address: 10, and one for each mail. With six digits, one
//! day of guessing succeeds with a probability of 30 in a million, whatever the lifetime of codes.
//!
//! A client is known by its peer address, if that is public, or by what
//! [`client_key`](PasswordlessLoginBuilder::client_key) makes of the request. Behind a reverse proxy, set
//! it: without it there is no limit per client, and the log says so.
//!
//! The response to a request for a mail is the same if the environment does not accept the address, or
//! the app [denies it silently](SendDenied::Silently): such a login looks like any other, and no code is
//! right.
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
//! let sent = login.send_mail().oneshot(request).await?;
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
pub use self::link::Link;
pub use self::rejection::PasswordlessLoginError;
pub use self::send::{ResendMail, SendMail};
pub use self::switch::Switch;
pub use self::verify::Verify;

use self::attempt::{Delivery, MailAttempt};
use self::before_send::BeforeSend;
use self::builder::LinkPage;
use self::limits::EmailLimits;
use self::paths::{Pages, Paths};
use self::send::Shape;
use self::verify_credential::LoggedIn;
use crate::api::passwordless::{MailTemplate, VerifiedEmail};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::Renderer;
use crate::session::{EmailLogin, LoginHook, Sessions, Switched};
use crate::util::request_dedup::{Memory, Once};

/// Login by code or magic link. Cheap to clone; see the [module docs](self).
#[derive(Clone)]
pub struct PasswordlessLogin(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    paths: Paths,
    pages: Pages,
    /// Where the links in mails lead.
    link_address: String,
    template: Option<MailTemplate>,
    template_variables: BTreeMap<String, String>,
    expires_in: Option<Duration>,
    limits: EmailLimits,
    before_send: Option<BeforeSend>,
    /// How mails lately looked, for those that are not sent.
    shape: Mutex<Option<Shape>>,
    same_browser_only: bool,
    admission: Option<LoginHook<VerifiedEmail>>,
    confirmation_page: Option<Arc<LinkPage>>,
    logins: Once<LoggedIn, PasswordlessLoginError>,
    /// Logins that were just confirmed.
    switches: Once<Switched, PasswordlessLoginError>,
    /// What the environment has accepted, while the app could not log in.
    unfinished: Memory<EmailLogin>,
    resends: Once<Delivery, PasswordlessLoginError>,
    renderer: Renderer<RouteRejection<PasswordlessLoginError>>,
}

impl PasswordlessLogin {
    /// Logins that end in a session of these.
    pub fn builder(sessions: &Sessions) -> PasswordlessLoginBuilder {
        PasswordlessLoginBuilder::new(sessions)
    }

    /// The service that sends mails.
    #[must_use]
    pub fn send_mail(&self) -> SendMail {
        SendMail(self.clone())
    }

    /// The service that sends a mail once more.
    #[must_use]
    pub fn resend_mail(&self) -> ResendMail {
        ResendMail(self.clone())
    }

    /// The service that takes codes.
    #[must_use]
    pub fn verify(&self) -> Verify {
        Verify(self.clone())
    }

    /// The service that magic links lead to.
    #[must_use]
    pub fn link(&self) -> Link {
        Link(self.clone())
    }

    /// Where mails are asked for by `POST`: `/passwordless/send` unless set otherwise.
    #[must_use]
    pub fn send_path(&self) -> &str {
        &self.0.paths.send
    }

    /// Where they are asked for once more by `POST`: `/passwordless/resend` unless set otherwise.
    #[must_use]
    pub fn resend_path(&self) -> &str {
        &self.0.paths.resend
    }

    /// Where codes go by `POST`, and what links lead below by `GET`: `/passwordless/verify` unless
    /// set otherwise.
    #[must_use]
    pub fn verify_path(&self) -> &str {
        &self.0.paths.verify
    }

    /// The service where users confirm a login that would replace the session of another user.
    #[must_use]
    pub fn switch(&self) -> Switch {
        Switch(self.clone())
    }

    /// Where users confirm such a login: `/passwordless/switch` unless set otherwise.
    #[must_use]
    pub fn switch_path(&self) -> &str {
        &self.0.paths.switch
    }

    /// The login that has begun in the browser of a request: the one with this `attempt`, from the
    /// query of the page that asks for the code, or else the newest.
    #[must_use]
    pub fn pending(
        &self,
        request_headers: &HeaderMap,
        attempt: Option<&str>,
    ) -> Option<PendingLogin> {
        MailAttempt::find(&self.0.sessions, request_headers, attempt).map(PendingLogin::from)
    }
}

impl fmt::Debug for PasswordlessLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordlessLogin")
            .field("sessions", &self.0.sessions)
            .field("link_address", &self.0.link_address)
            .finish_non_exhaustive()
    }
}
