//! `POST /outbox`: changes the dashboard's "magic link & OTP" settings.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::pages;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::mail::PasswordlessType;

pub(crate) fn submit(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, "Nothing was changed", |form| {
        let chosen = form.get("type").unwrap_or_default();
        let mut state = environment.lock();
        let passwordless = &mut state.mail;
        if let Some(chosen) =
            PasswordlessType::ALL.into_iter().find(|known| known.as_str() == chosen)
        {
            passwordless.passwordless_type = chosen;
        }
        passwordless.enforce_same_browser = form.get("same_browser").is_some();
        passwordless.new_credentials_on_resend = form.get("new_credentials").is_some();
        redirect(StatusCode::SEE_OTHER, "/outbox")
    })
}
