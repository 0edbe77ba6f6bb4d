//! Codes and magic links by e-mail: who reads an address's mail proves that it is theirs.
//!
//! [`PasswordlessLogin`](crate::PasswordlessLogin) makes a login of these calls, bound to a
//! browser; here they are alone.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::api::passwordless::{NewMail, PasswordlessError};
//!
//! let sandbox = Sandbox::new();
//! let passwordless = sandbox.scalekit().api().passwordless();
//!
//! let mut mail = NewMail::new("jane@acme.test");
//! mail.magiclink_auth_uri = Some("https://app.example.com/passwordless/verify".to_owned());
//! mail.expires_in = Some(Duration::from_secs(120));
//! mail.template_variables.insert("team".to_owned(), "Alpha".to_owned());
//! let sent = passwordless.send(&mail).await?;
//!
//! let wrong = passwordless.verify_code(sent.auth_request_id.expose(), "no").await;
//! assert!(matches!(wrong, Err(PasswordlessError::Rejected(_))));
//! let code = sandbox.mail().outbox()[0].code.clone().ok_or("no code")?;
//! let verified = passwordless.verify_code(sent.auth_request_id.expose(), &code).await?;
//! assert_eq!(verified.email, "jane@acme.test");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```
//!
//! # What is inferred
//!
//! Scalekit documents its limits, two mails a minute and address and five codes in ten minutes and
//! request, and that the sixth code is responded with 429; not what else stands in the responses. So
//! [`PasswordlessError`] tells them apart by the call that was responded with 429, a link's excepted, unless
//! the error code is the general `RATE_LIMITED` and the message names nothing of the call's own. All other 4xx of
//! a verification but 401 and 403 count as a rejection, and one whose code, or else message, speaks of
//! expiry as [`Expired`](PasswordlessError::Expired), unless it may as well be wrong.

mod details;

pub(crate) use self::details::check_variables;
pub use self::details::{MailTemplate, NewMail, PasswordlessType, SentMail, VerifiedEmail};

use std::time::Duration;

use http::Method;
use serde::Serialize;

use self::details::{SentResponse, VerifiedResponse};
use super::{Api, ApiError, ErrorResponse};

/// The calls about passwordless e-mail. Made by [`Api::passwordless`].
#[derive(Clone, Debug)]
pub struct PasswordlessApi(Api);

impl PasswordlessApi {
    pub(super) fn new(api: Api) -> Self {
        Self(api)
    }

    /// Sends a mail with a code, a link or both, as the dashboard has it. Never sent twice.
    ///
    /// # Errors
    /// [`PasswordlessError::TooManyEmails`] after two in a minute to one address, resent ones
    /// included; see [`PasswordlessError`].
    pub async fn send(&self, mail: &NewMail) -> Result<SentMail, PasswordlessError> {
        if let Some(problem) = mail.problem() {
            return Err(ApiError::InvalidCall(problem).into());
        }
        self.mail("send", mail).await
    }

    /// Sends the mail of a request once more. If the dashboard says "issue new credentials on
    /// resend", the earlier code and link no longer work. Go on with the id in the response: it may
    /// be another one.
    ///
    /// # Errors
    /// [`PasswordlessError::Rejected`] for a request that is over; as [`send`](Self::send).
    pub async fn resend(&self, auth_request_id: &str) -> Result<SentMail, PasswordlessError> {
        let request = Credentials { auth_request_id: Some(auth_request_id), ..Default::default() };
        self.mail("resend", &request).await
    }

    /// Checks the code of a mail.
    ///
    /// # Errors
    /// [`PasswordlessError::TooManyAttempts`] after five codes in ten minutes; see
    /// [`PasswordlessError`].
    pub async fn verify_code(
        &self,
        auth_request_id: &str,
        code: &str,
    ) -> Result<VerifiedEmail, PasswordlessError> {
        let (auth_request_id, code) = (Some(auth_request_id), Some(code));
        let credentials = Credentials { auth_request_id, code, ..Default::default() };
        self.verify(&credentials).await.map_err(PasswordlessError::of_code)
    }

    /// Checks the `link_token` of a magic link. If the dashboard says "enforce same browser
    /// origin", the id of the request must come with it: take it from where only the browser that
    /// asked for the mail has it.
    ///
    /// # Errors
    /// See [`PasswordlessError`].
    pub async fn verify_link(
        &self,
        link_token: &str,
        auth_request_id: Option<&str>,
    ) -> Result<VerifiedEmail, PasswordlessError> {
        let link_token = Some(link_token);
        let credentials = Credentials { auth_request_id, link_token, ..Default::default() };
        self.verify(&credentials).await.map_err(PasswordlessError::rejection)
    }

    async fn mail(
        &self,
        verb: &'static str,
        body: &impl Serialize,
    ) -> Result<SentMail, PasswordlessError> {
        let path = format!("/api/v1/passwordless/email/{verb}");
        let response = self.0.request(Method::POST, path).json(body).send::<SentResponse>().await;
        Ok(response.map_err(|error| PasswordlessError::of_mail(error, verb == "resend"))?.sent()?)
    }

    async fn verify(&self, body: &Credentials<'_>) -> Result<VerifiedEmail, ApiError> {
        let request = self.0.request(Method::POST, "/api/v1/passwordless/email/verify").json(body);
        request.send::<VerifiedResponse>().await?.verified()
    }
}

/// A mail could not be sent, or what was in it is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordlessError {
    /// What can go wrong with any call; the general request limit of the environment
    /// ([`ApiError::RateLimited`]) is here too.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The code or link was right, and its time is over: send a new mail.
    #[error("the code or link has expired, send a new mail: {0}")]
    Expired(ErrorResponse),
    /// The code is wrong, or the link or the request unknown or used; or the link belongs to
    /// another browser, where the environment enforces the same one. Ask for the code again, or
    /// send a new mail.
    #[error("the code or link is not accepted: {0}")]
    Rejected(ErrorResponse),
    /// Five codes were tried for the request in ten minutes, and no further one is: begin again
    /// with a new mail.
    #[error("too many codes were tried, begin again with a new mail: {0}")]
    TooManyAttempts(ErrorResponse),
    /// Two mails went to the address within a minute: wait before the next.
    #[error("too many mails to this address, wait a minute: {response}")]
    TooManyEmails {
        /// What the environment says.
        response: ErrorResponse,
        /// When to try again, if told.
        retry_after: Option<Duration>,
    },
}

impl PasswordlessError {
    fn of_mail(error: ApiError, is_resend: bool) -> Self {
        match error {
            ApiError::RateLimited { response, retry_after }
                if !is_of_the_environment(&response, &["mail", "otp", "passwordless"]) =>
            {
                Self::TooManyEmails { response, retry_after }
            }
            error if is_resend => Self::rejection(error),
            error => Self::Api(error),
        }
    }

    fn of_code(error: ApiError) -> Self {
        match error {
            ApiError::RateLimited { response, .. }
                if !is_of_the_environment(&response, &["attempt", "otp", "passwordless"]) =>
            {
                Self::TooManyAttempts(response)
            }
            error => Self::rejection(error),
        }
    }

    fn rejection(error: ApiError) -> Self {
        match error {
            ApiError::Conflict(response)
            | ApiError::InvalidRequest(response)
            | ApiError::NotFound(response) => {
                if is_expiry(&response) {
                    Self::Expired(response)
                } else {
                    Self::Rejected(response)
                }
            }
            error => Self::Api(error),
        }
    }
}

/// Whether the response tells of an expiry, and not of one possibility of several. The code has the
/// first word.
fn is_expiry(response: &ErrorResponse) -> bool {
    let others = [
        "invalid",
        "incorrect",
        "wrong",
        "not found",
        "or expired",
        "or has expired",
        "expired or",
    ];
    let mut texts = response.texts().map(|text| text.replace('_', " "));
    let text = texts.find(|text| text.contains("expire"));
    text.is_some_and(|text| !others.iter().any(|other| text.contains(other)))
}

/// Whether a 429 is the environment's general one, and not of the call's own limit.
fn is_of_the_environment(response: &ErrorResponse, own: &[&str]) -> bool {
    response.error_code.as_deref() == Some("RATE_LIMITED") && !response.speaks_of(own)
}

/// What came by mail, and the request it belongs to.
#[derive(Default, Serialize)]
struct Credentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_token: Option<&'a str>,
}
