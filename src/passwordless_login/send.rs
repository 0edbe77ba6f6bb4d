//! Sending and resending e-mails.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use serde_json::json;

use super::PasswordlessLogin;
use super::attempt::{AttemptIds, Delivery, EmailAttempt, MAX_RETURN_TO_BYTES};
use super::before_send::SendDenied;
use super::form::Fields;
use super::rejection::{PasswordlessLoginError, json};
use crate::api::passwordless::{
    EmailTemplate, NewEmail, PasswordlessError, PasswordlessType, SentEmail,
};
use crate::api::{ApiError, ErrorResponse};
use crate::middleware::route::route;
use crate::middleware::route_response::redirect;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::util::fetch_metadata::wants_html;
use crate::util::pasted;
use crate::util::return_to::ReturnTo;
use crate::util::shared_results::DedupKey;
use crate::util::telemetry;

/// Sends an e-mail: `POST /passwordless/send`. Returned by [`PasswordlessLogin::send_email`].
///
/// Fields: `email`; `return_to`, a path of this app (other values are ignored); `template`,
/// `SIGNIN` or `SIGNUP`. Redirects a browser to the page that asks for the code. A script gets
/// `{"attempt","passwordless_type","expires_at","expires_in"}`. The response does not depend on
/// whether the address has an account.
#[derive(Clone, Debug)]
pub struct SendEmail {
    pub(super) login: PasswordlessLogin,
}

impl SendEmail {
    async fn respond<B>(&self, request: &Request<()>, body: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let login = &self.login;
        let fields = match login.fields(request, body).await {
            Ok(fields) => fields,
            Err(failure) => {
                return self
                    .form_at_canonical_host(None, request)
                    .unwrap_or_else(|| login.reject(failure, request, None));
            }
        };
        let return_to = login.allowed_return_to(&fields);
        if let Some(page) = self.form_at_canonical_host(Some(&return_to), request) {
            return page;
        }
        self.begin(&fields, &return_to, request)
            .await
            .and_then(|attempt| login.sent_response(&attempt, request))
            .unwrap_or_else(|failure| match self.previous_attempt(&failure, &fields, request) {
                Some(attempt) => login.reject(failure, request, Some(&attempt)),
                None => {
                    login.reject_with_link(failure, login.start_page(Some(&return_to)), request)
                }
            })
    }

    /// Responds to a form at another host than that of the link in the e-mail, for which the cookie
    /// of the attempt is.
    fn form_at_canonical_host(
        &self,
        return_to: Option<&ReturnTo>,
        request: &Request<()>,
    ) -> Option<Response<Bytes>> {
        self.login.sessions().form_at_canonical_host(request, &self.login.start_page(return_to))
    }

    /// Returns the attempt of the earlier e-mails if there were too many: the newest one may still
    /// be used.
    fn previous_attempt(
        &self,
        failure: &PasswordlessLoginError,
        fields: &Fields,
        request: &Request<()>,
    ) -> Option<EmailAttempt> {
        let PasswordlessLoginError::TooManyEmails { .. } = failure else { return None };
        let address = pasted::trim(fields.get("email")?);
        EmailAttempt::of_address(self.login.sessions(), request.headers(), address)
    }

    async fn begin(
        &self,
        fields: &Fields,
        return_to: &ReturnTo,
        request: &Request<()>,
    ) -> Result<EmailAttempt, PasswordlessLoginError> {
        let login = &self.login;
        let ids = AttemptIds::new().map_err(no_random_numbers)?;
        let mut mail = self.new_email(fields, &ids, request)?;
        let email = mail.email.clone();
        let send = async {
            if let Some(hook) = &login.inner.recipient_variables {
                mail.template_variables.extend(hook.call(&email, request.headers()).await?);
            }
            login.api().send(&mail).await.map_err(send_failure)
        };
        let client = login.inner.limits.client(request);
        let delivery = login.send_within_limits(&email, client, request.headers(), send).await?;
        let (now, max_lifetime) = (login.sessions().now(), login.max_lifetime());
        Ok(EmailAttempt::begin(ids, email, return_to, &delivery, max_lifetime, now))
    }

    fn new_email(
        &self,
        fields: &Fields,
        ids: &AttemptIds,
        request: &Request<()>,
    ) -> Result<NewEmail, PasswordlessLoginError> {
        let config = &self.login.inner;
        let email = fields
            .get("email")
            .map(pasted::trim)
            .filter(|email| is_address(email))
            .ok_or(PasswordlessLoginError::InvalidEmail)?;
        let link = config.sessions.origin_of(request).url(self.login.verify_path());
        let mut mail = NewEmail::new(email);
        mail.template = match fields.get("template").map(EmailTemplate::from) {
            Some(EmailTemplate::Unknown(_)) => return Err(PasswordlessLoginError::InvalidRequest),
            template => template.or_else(|| config.template.clone()),
        };
        mail.template_variables = config.template_variables.clone();
        mail.expires_in = config.expires_in;
        mail.magiclink_auth_uri = Some(format!("{link}/{}", ids.id));
        mail.state = Some(ids.state.clone());
        Ok(mail)
    }
}

route!(SendEmail.login reads body);

/// Sends an e-mail again: `POST /passwordless/resend`. Returned by
/// [`PasswordlessLogin::resend_email`].
///
/// Field: `attempt`. Default: the newest of this browser. Responds as [`SendEmail`]. The attempt
/// stays the same, even if Scalekit creates another request with another code.
#[derive(Clone, Debug)]
pub struct ResendEmail {
    pub(super) login: PasswordlessLogin,
}

impl ResendEmail {
    async fn respond<B>(&self, request: &Request<()>, body: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let login = &self.login;
        let attempt = match login.fields_of_attempt(request, body).await {
            Ok((_, Some(attempt))) => attempt,
            Ok((_, None)) => {
                return login.reject(PasswordlessLoginError::NoPendingLogin, request, None);
            }
            Err(failure) => return login.reject(failure, request, None),
        };
        let resent = login.inner.resends.run(DedupKey::new(&attempt.secrets()), || {
            let (login, attempt) = (login.clone(), attempt.clone());
            let (client, headers) = (login.inner.limits.client(request), request.headers().clone());
            async move { login.resend(&attempt, client, &headers).await }
        });
        match resent.await {
            Ok(delivery) => {
                let now = login.sessions().now();
                let attempt = attempt.with_new_email(&delivery, login.max_lifetime(), now);
                login
                    .sent_response(&attempt, request)
                    .unwrap_or_else(|failure| login.reject(failure, request, Some(&attempt)))
            }
            Err(failure) => login.reject(failure, request, Some(&attempt)),
        }
    }
}

route!(ResendEmail.login reads body);

/// The reason why no e-mail was sent.
enum SendFailure {
    /// The environment does not accept the address, or the app denies it silently.
    AddressNotAccepted,
    Failed(PasswordlessLoginError),
}

impl From<SendDenied> for SendFailure {
    fn from(denied: SendDenied) -> Self {
        match denied {
            SendDenied::Silently => Self::AddressNotAccepted,
            SendDenied::TooManyEmails { retry_after } => {
                Self::Failed(PasswordlessLoginError::TooManyEmails { retry_after })
            }
            SendDenied::Unavailable(_) => {
                telemetry::internal_error("before_send", &denied);
                Self::Failed(PasswordlessLoginError::Unavailable)
            }
        }
    }
}

/// The properties of an e-mail in responses.
#[derive(Clone)]
pub(super) struct MailProperties {
    id_length: usize,
    passwordless_type: Option<PasswordlessType>,
    expires_in: Option<Duration>,
}

impl PasswordlessLogin {
    async fn resend(
        &self,
        attempt: &EmailAttempt,
        client: Option<String>,
        headers: &HeaderMap,
    ) -> Result<Delivery, PasswordlessLoginError> {
        let send = async {
            if !attempt.is_delivered {
                return Err(SendFailure::AddressNotAccepted);
            }
            self.api()
                .resend(attempt.auth_request_id.expose())
                .await
                .map_err(|error| SendFailure::Failed(resend_error(error)))
        };
        self.send_within_limits(&attempt.email, client, headers, send).await
    }

    /// Sends an e-mail if the app and the limits allow it. The result does not reveal whether the
    /// environment accepts the address.
    async fn send_within_limits(
        &self,
        email: &str,
        client: Option<String>,
        headers: &HeaderMap,
        send: impl Future<Output = Result<SentEmail, SendFailure>>,
    ) -> Result<Delivery, PasswordlessLoginError> {
        let allowed = match &self.inner.before_send {
            Some(hook) => hook.call(email, headers).await.map_err(SendFailure::from),
            None => Ok(()),
        };
        if let Err(SendFailure::Failed(failure)) = allowed {
            return Err(failure);
        }
        // Also counted if the app silently sends no e-mail: the responses must not differ.
        let counted = self.count_email(email, client.as_deref()).await?;
        let sent = match allowed {
            Ok(()) => send.await,
            Err(denied) => Err(denied),
        };
        match sent {
            Ok(sent) => {
                *self.mail_properties() = Some(MailProperties {
                    id_length: sent.auth_request_id.expose().len(),
                    passwordless_type: sent.passwordless_type.clone(),
                    expires_in: sent.expires_in,
                });
                Ok(Delivery { sent, is_delivered: true })
            }
            Err(SendFailure::AddressNotAccepted) => self.simulated_delivery(),
            Err(SendFailure::Failed(failure)) => {
                self.subtract(counted).await;
                Err(failure)
            }
        }
    }

    /// Returns a delivery that responses cannot distinguish from a sent e-mail.
    fn simulated_delivery(&self) -> Result<Delivery, PasswordlessLoginError> {
        let MailProperties { id_length, passwordless_type, expires_in } =
            self.mail_properties().clone().unwrap_or(MailProperties {
                id_length: 32,
                passwordless_type: None,
                expires_in: self.inner.expires_in,
            });
        let random = SecretString::random::<96>().map_err(no_random_numbers)?;
        let id = random.expose().get(..id_length).unwrap_or(random.expose());
        let sent = SentEmail {
            auth_request_id: id.into(),
            expires_at: None,
            expires_in,
            passwordless_type,
        };
        Ok(Delivery { sent, is_delivered: false })
    }

    fn mail_properties(&self) -> MutexGuard<'_, Option<MailProperties>> {
        self.inner.properties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Responds that an e-mail was sent.
    fn sent_response(
        &self,
        attempt: &EmailAttempt,
        request: &Request<()>,
    ) -> Result<Response<Bytes>, PasswordlessLoginError> {
        let sessions = self.sessions();
        let cookies = sessions
            .store_short_lived(attempt, request.headers())
            .ok_or(PasswordlessLoginError::Misconfigured)?;
        if wants_html(request.headers()) {
            return Ok(redirect(StatusCode::SEE_OTHER, &self.code_page(attempt), cookies));
        }
        let mut body = json!({
            "attempt": attempt.id,
            "expires_at": attempt.expires_at.unix_timestamp(),
            "expires_in": attempt.expires_in(sessions.now()).as_secs(),
        });
        if let (Some(members), Some(kind)) = (body.as_object_mut(), &attempt.passwordless_type) {
            members.insert("passwordless_type".to_owned(), kind.as_str().into());
        }
        Ok(json(&body, cookies))
    }

    /// Returns the page after the login, unless it is not a page of the app or would lead to a
    /// redirect loop.
    fn allowed_return_to(&self, fields: &Fields) -> ReturnTo {
        let verify_paths =
            [self.verify_path(), self.sessions().strip_base_path(self.verify_path())];
        let wanted = fields
            .get("return_to")
            .and_then(ReturnTo::parse)
            .filter(|page| page.as_str().len() <= MAX_RETURN_TO_BYTES)
            .filter(|page| !verify_paths.iter().any(|path| page.is_below(path)));
        self.sessions().allowed_return_to(wanted, &self.inner.paths.all())
    }
}

fn no_random_numbers(error: RandomSourceFailed) -> PasswordlessLoginError {
    telemetry::internal_error("passwordless_send", &error);
    PasswordlessLoginError::Misconfigured
}

/// Maps the reason why no e-mail was sent.
fn resend_error(error: PasswordlessError) -> PasswordlessLoginError {
    match error {
        PasswordlessError::TooManyEmails { retry_after, .. } => {
            PasswordlessLoginError::TooManyEmails { retry_after }
        }
        PasswordlessError::Expired(_) | PasswordlessError::Rejected(_) => {
            PasswordlessLoginError::NoPendingLogin
        }
        error => unexpected("passwordless_send", &error),
    }
}

/// Maps errors that the environment or the configuration causes.
pub(super) fn unexpected(what: &'static str, error: &PasswordlessError) -> PasswordlessLoginError {
    telemetry::internal_error(what, error);
    match error {
        PasswordlessError::Api(error) if error.is_temporary() => {
            PasswordlessLoginError::Unavailable
        }
        _ => PasswordlessLoginError::Misconfigured,
    }
}

/// Maps the reason why no login has begun. A response that does not clearly concern a setting may
/// concern the address: it is logged, and not revealed.
fn send_failure(error: PasswordlessError) -> SendFailure {
    let PasswordlessError::Api(
        ApiError::Conflict(response)
        | ApiError::Forbidden(response)
        | ApiError::InvalidRequest(response)
        | ApiError::NotFound(response),
    ) = &error
    else {
        return SendFailure::Failed(resend_error(error));
    };
    if concerns_settings(response) {
        return SendFailure::Failed(resend_error(error));
    }
    telemetry::internal_error("passwordless_send", &error);
    telemetry::login_failed("invalid_email", response.error_code.as_deref());
    SendFailure::AddressNotAccepted
}

/// Whether the environment rejects a setting that all e-mails share.
fn concerns_settings(response: &ErrorResponse) -> bool {
    const SETTINGS: [&str; 12] = [
        "template",
        "variable",
        "uri",
        "url",
        "sender",
        "provider",
        "smtp",
        "config",
        "enable",
        "disable",
        "is off",
        "ip address",
    ];
    response.mentions(&SETTINGS) && !response.mentions(&["user", "account", "recipient"])
}

/// Whether the text may be an e-mail address. The environment validates it further.
fn is_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && text.len() <= 254
        && !text.contains(|letter: char| {
            letter.is_whitespace() || letter.is_control() || matches!(letter, '<' | '>' | ',' | ';')
        })
}
