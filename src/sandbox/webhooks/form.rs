//! `POST /deliveries`: sends a message again.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::pages;
use crate::sandbox::respond::redirect;

const REJECTED: &str = "Nothing was sent";

pub(crate) fn submit(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, REJECTED, |form| {
        let now = environment.now();
        if environment.lock().webhooks.redeliver(form.get("message_id").unwrap_or_default(), now) {
            return redirect(StatusCode::SEE_OTHER, "/deliveries");
        }
        pages::problem(StatusCode::NOT_FOUND, REJECTED, "The message does not exist.")
    })
}
