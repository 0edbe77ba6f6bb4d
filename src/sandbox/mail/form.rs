//! `POST /outbox`: changes the dashboard's "magic link & OTP" settings.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::pages;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::mail::{Passwordless, PasswordlessType};

pub(crate) fn submit(mail: &mut Passwordless, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, "Nothing was changed", |form| {
        if let Some(chosen) =
            PasswordlessType::ALL.into_iter().find(|known| form.get("type") == Some(known.as_str()))
        {
            mail.passwordless_type = chosen;
        }
        mail.enforce_same_browser = form.get("same_browser").is_some();
        mail.new_credentials_on_resend = form.get("new_credentials").is_some();
        redirect(StatusCode::SEE_OTHER, "/outbox")
    })
}
