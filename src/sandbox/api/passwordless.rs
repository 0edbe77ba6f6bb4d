//! `/api/v1/passwordless/email/…`
//!
//! Statuses and limits are documented. The codes and messages of errors are not, and follow the
//! style of the other endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use url::Url;

use super::{ApiErrorResponse, ApiResult, GrpcCode, parse};
use crate::sandbox::forms::is_email_address;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::mail::{Credential, MailRequest, PasswordlessError, Sent};

const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_VARIABLES: usize = 30;
const RESERVED: [&str; 5] = ["otp", "expiry_time_relative", "link", "expire_time", "expiry_time"];

pub(super) fn send(state: &mut State, body: &[u8]) -> ApiResult {
    let mail = mail_request(&object(body)?)?;
    Ok(sent(&state.mail.send(mail, state.now)?))
}

pub(super) fn resend(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let id = text(&body, "auth_request_id")?.ok_or(NO_REQUEST_ID)?;
    Ok(sent(&state.mail.resend(id, state.now)?))
}

pub(super) fn verify(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let auth_request_id = text(&body, "auth_request_id")?;
    let credential = match (text(&body, "code")?, text(&body, "link_token")?) {
        (Some(code), None) => {
            Credential::Code { code, auth_request_id: auth_request_id.ok_or(NO_REQUEST_ID)? }
        }
        (None, Some(token)) => Credential::Link { token, auth_request_id },
        _ => return Err(ApiErrorResponse::invalid("either code or link_token is needed")),
    };
    let verified = state.mail.verify(&credential, state.now)?;
    Ok(without_nulls(json!({
        "email": verified.email,
        "passwordless_type": verified.passwordless_type.as_str(),
        "template": verified.template,
        "state": verified.state,
    }))
    .into())
}

const NO_REQUEST_ID: ApiErrorResponse = ApiErrorResponse::invalid("auth_request_id is missing");

fn sent(sent: &Sent) -> Value {
    json!({
        "auth_request_id": sent.auth_request_id,
        // Gateways serialize 64-bit numbers as text.
        "expires_at": sent.expires_at.unix_timestamp().to_string(),
        "expires_in": sent.expires_in.as_secs(),
        "passwordless_type": sent.passwordless_type.as_str(),
    })
}

fn mail_request(body: &Map<String, Value>) -> ApiResult<MailRequest> {
    let email = text(body, "email")?.unwrap_or_default();
    if !is_email_address(email) {
        return Err(ApiErrorResponse::invalid("email is not an e-mail address"));
    }
    let template = match text(body, "template")? {
        None | Some("SIGNIN" | "UNSPECIFIED") => "SIGNIN",
        Some("SIGNUP") => "SIGNUP",
        Some(_) => return Err(ApiErrorResponse::invalid("template is unknown")),
    };
    Ok(MailRequest {
        email: email.to_owned(),
        template,
        template_variables: variables(body)?,
        state: text(body, "state")?.map(str::to_owned),
        expires_in: lifetime(body)?,
        magiclink_auth_uri: text(body, "magiclink_auth_uri")?.map(web_address).transpose()?,
    })
}

fn web_address(text: &str) -> ApiResult<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or(ApiErrorResponse::invalid("magiclink_auth_uri is not a web address"))
}

fn lifetime(body: &Map<String, Value>) -> ApiResult<Duration> {
    let seconds = match body.get("expires_in") {
        None | Some(Value::Null) => return Ok(DEFAULT_LIFETIME),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
    };
    match seconds.map(Duration::from_secs).filter(|lifetime| *lifetime <= MAX_LIFETIME) {
        // Gateways omit a zero, so an absent value is zero.
        Some(Duration::ZERO) => Ok(DEFAULT_LIFETIME),
        Some(lifetime) => Ok(lifetime),
        None => {
            Err(ApiErrorResponse::invalid("expires_in is not a number of seconds within a day"))
        }
    }
}

fn variables(body: &Map<String, Value>) -> ApiResult<BTreeMap<String, String>> {
    let given = match body.get("template_variables") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(ApiErrorResponse::invalid("template_variables is not an object")),
    };
    if given.len() > MAX_VARIABLES {
        return Err(ApiErrorResponse::invalid("template_variables has more than 30 pairs"));
    }
    if RESERVED.iter().any(|name| given.contains_key(*name)) {
        return Err(ApiErrorResponse::invalid("template_variables has a reserved name"));
    }
    given
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect::<Option<_>>()
        .ok_or(ApiErrorResponse::invalid("a template variable is not text"))
}

fn object(body: &[u8]) -> ApiResult<Map<String, Value>> {
    parse::body(body, "the body is not a JSON object")
}

/// Text; empty text counts as absent.
fn text<'a>(body: &'a Map<String, Value>, name: &str) -> ApiResult<Option<&'a str>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(ApiErrorResponse::invalid("a member is not text")),
    }
}

impl From<PasswordlessError> for ApiErrorResponse {
    fn from(rejection: PasswordlessError) -> Self {
        match rejection {
            PasswordlessError::CodeWrong => Self::invalid("the verification code is invalid"),
            PasswordlessError::Expired => {
                Self::invalid("the verification code or magic link has expired")
            }
            PasswordlessError::LinkUnknown => Self::invalid("the magic link is invalid"),
            PasswordlessError::NoLinkAddress => {
                Self::invalid("magiclink_auth_uri is needed for magic links")
            }
            PasswordlessError::BrowserMismatch => {
                Self::invalid("the magic link must be opened in the browser that requested it")
            }
            PasswordlessError::TooManyAttempts => {
                Self::new(GrpcCode::ResourceExhausted, "too many attempts: start again")
            }
            PasswordlessError::TooManyEmails => {
                Self::new(GrpcCode::ResourceExhausted, "too many emails to this address")
            }
            PasswordlessError::UnknownRequest => {
                Self::not_found("authentication request not found")
            }
            PasswordlessError::Used => {
                Self::invalid("the verification code or magic link was used already")
            }
        }
    }
}
