//! `POST /outbox`: changes the dashboard's "magic link & OTP" settings.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::pages;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::mail::PasswordlessType;

pub(crate) fn submit(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, "Nothing was changed", |form| {
        let passwordless = &mut environment.lock().mail;
        if let Some(chosen) =
            PasswordlessType::ALL.into_iter().find(|known| form.get("type") == Some(known.as_str()))
        {
            passwordless.passwordless_type = chosen;
        }
        passwordless.enforce_same_browser = form.get("same_browser").is_some();
        passwordless.new_credentials_on_resend = form.get("new_credentials").is_some();
        redirect(StatusCode::SEE_OTHER, "/outbox")
    })
}
