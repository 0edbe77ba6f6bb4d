//! Login codes and magic links by e-mail, which verify e-mail addresses.
//!
//! [`PasswordlessLogin`](crate::PasswordlessLogin) is a login that uses these calls and is bound to
//! a browser. This module has the calls only.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tower_scalekit::Sandbox;
//! use tower_scalekit::api::passwordless::{NewEmail, PasswordlessError};
//!
//! let sandbox = Sandbox::new();
//! let passwordless = sandbox.scalekit().api().passwordless();
//!
//! let mut mail = NewEmail::new("jane@acme.test");
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
//! # Undocumented behavior
//!
//! Scalekit documents its limits (two e-mails per minute and address, five codes per ten minutes
//! and request, 429 for the sixth code), but not the bodies of the responses. So a 429 is
//! attributed to the limit of its call, unless the call verifies a link or the error code is the
//! general `RATE_LIMITED` and the message does not mention the call. A verification is rejected if
//! the error is [of the API](ApiError#gateways) and is an
//! [invalid request](ApiError::InvalidRequest), [not found](ApiError::NotFound) or a
//! [conflict](ApiError::Conflict). A rejection is [`Expired`](PasswordlessError::Expired) if its
//! code, or else its message, mentions only an expiry.

mod details;

pub(crate) use self::details::check_variables;
pub use self::details::{EmailTemplate, NewEmail, PasswordlessType, SentEmail, VerifiedEmail};

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde_json::json;

use self::details::{SentResponse, VerifiedResponse};
use super::{Api, ApiError, ApiRequest, ErrorResponse};

/// API for passwordless e-mail. Returned by [`Api::passwordless`].
#[derive(Clone, Debug)]
pub struct PasswordlessApi {
    api: Api,
}

impl PasswordlessApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Sends an e-mail with a code, a link or both, as configured in the dashboard. Never retried.
    ///
    /// # Errors
    /// [`PasswordlessError::TooManyEmails`] after two e-mails in a minute to one address, including
    /// resent ones; see [`PasswordlessError`].
    #[doc(alias("sendPasswordlessEmail", "send_passwordless_email"))]
    pub async fn send(&self, mail: &NewEmail) -> Result<SentEmail, PasswordlessError> {
        self.request("send", mail)
            .problem(mail.problem())
            .send::<SentResponse>()
            .await
            .and_then(SentResponse::sent)
            .map_err(PasswordlessError::from_send)
    }

    /// Sends the e-mail of a request again. If the dashboard is set to "issue new credentials on
    /// resend", the earlier code and link stop working. Use the ID in the response from then on: it
    /// may be a new one.
    ///
    /// # Errors
    /// [`PasswordlessError::Rejected`] if the request has ended; see [`send`](Self::send).
    #[doc(alias("resendPasswordlessEmail", "resend_passwordless_email"))]
    pub async fn resend(&self, auth_request_id: &str) -> Result<SentEmail, PasswordlessError> {
        self.request("resend", &json!({ "auth_request_id": auth_request_id }))
            .send::<SentResponse>()
            .await
            .and_then(SentResponse::sent)
            .map_err(PasswordlessError::from_resend)
    }

    /// Verifies a code.
    ///
    /// # Errors
    /// [`PasswordlessError::TooManyAttempts`] after five codes in ten minutes; see
    /// [`PasswordlessError`].
    #[doc(alias("verifyPasswordlessEmail", "verify_passwordless_email"))]
    pub async fn verify_code(
        &self,
        auth_request_id: &str,
        code: &str,
    ) -> Result<VerifiedEmail, PasswordlessError> {
        self.verify(&json!({ "auth_request_id": auth_request_id, "code": code }))
            .await
            .map_err(PasswordlessError::from_code)
    }

    /// Verifies the `link_token` of a magic link. If the dashboard is set to "enforce same browser
    /// origin", the ID of the request is required: store it where only the requesting browser has
    /// it.
    ///
    /// # Errors
    /// See [`PasswordlessError`].
    #[doc(alias("verifyPasswordlessEmail", "verify_passwordless_email"))]
    pub async fn verify_link(
        &self,
        link_token: &str,
        auth_request_id: Option<&str>,
    ) -> Result<VerifiedEmail, PasswordlessError> {
        #[derive(Serialize)]
        struct Body<'a> {
            link_token: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            auth_request_id: Option<&'a str>,
        }
        self.verify(&Body { link_token, auth_request_id })
            .await
            .map_err(PasswordlessError::rejection)
    }

    async fn verify(&self, body: &impl Serialize) -> Result<VerifiedEmail, ApiError> {
        self.request("verify", body).send::<VerifiedResponse>().await?.verified()
    }

    fn request(&self, verb: &str, body: &impl Serialize) -> ApiRequest {
        self.api.request(Method::POST, format!("/api/v1/passwordless/email/{verb}")).json(body)
    }
}

/// Returned when an e-mail cannot be sent, or a code or link is rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordlessError {
    /// Any other error of the API, including the general request limit of the environment
    /// ([`ApiError::RateLimited`]).
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The code or link has expired: send a new e-mail.
    #[error("the code or link has expired, send a new e-mail: {0}")]
    Expired(ErrorResponse),
    /// The code is wrong; the link or the request is unknown or used; or the link belongs to
    /// another browser, where the environment enforces the same one. Ask for the code again, or
    /// send a new e-mail.
    #[error("the code or link is invalid: {0}")]
    Rejected(ErrorResponse),
    /// Five codes were tried for the request in ten minutes: start again with a new e-mail.
    #[error("too many codes were tried, start again with a new e-mail: {0}")]
    TooManyAttempts(ErrorResponse),
    /// Two e-mails were sent to the address within a minute: wait before the next one.
    #[error("too many e-mails to this address, wait a minute: {response}")]
    TooManyEmails {
        /// The environment's error.
        response: ErrorResponse,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
}

impl PasswordlessError {
    fn from_send(error: ApiError) -> Self {
        match error {
            ApiError::RateLimited { response, retry_after }
                if !is_of_the_environment(&response, &["mail", "otp", "passwordless"]) =>
            {
                Self::TooManyEmails { response, retry_after }
            }
            error => Self::Api(error),
        }
    }

    fn from_resend(error: ApiError) -> Self {
        match Self::from_send(error) {
            Self::Api(error) => Self::rejection(error),
            error => error,
        }
    }

    fn from_code(error: ApiError) -> Self {
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

/// Whether the response mentions an expiry as the only reason. The code takes precedence.
fn is_expiry(response: &ErrorResponse) -> bool {
    const OTHER_REASONS: [&str; 7] = [
        "invalid",
        "incorrect",
        "wrong",
        "not found",
        "or expired",
        "or has expired",
        "expired or",
    ];
    response
        .texts()
        .map(|text| text.replace('_', " "))
        .find(|text| text.contains("expire"))
        .is_some_and(|text| !OTHER_REASONS.iter().any(|reason| text.contains(reason)))
}

/// Whether a 429 is the environment's general limit, and not that of the call.
fn is_of_the_environment(response: &ErrorResponse, own: &[&str]) -> bool {
    response.error_code.as_deref() == Some("RATE_LIMITED") && !response.mentions(own)
}
