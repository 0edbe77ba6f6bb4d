//! `POST /deliveries`: somebody wants a message sent again.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::login::form_of_own_page;
use crate::sandbox::pages;
use crate::sandbox::respond::redirect;

const REFUSED: &str = "Nothing is sent again";

pub(in crate::sandbox) fn submit(
    environment: &Environment,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let form = match form_of_own_page(request) {
        Ok(form) => form,
        Err(refused) => return refused.page_with_title(REFUSED),
    };
    let now = environment.now();
    let message_id = form.get("message_id").unwrap_or_default();
    if environment.lock().webhooks.redeliver(message_id, now) {
        return redirect(StatusCode::SEE_OTHER, "/deliveries");
    }
    let reason = "The message is not known, or no longer.";
    pages::problem(StatusCode::NOT_FOUND, REFUSED, reason)
}
