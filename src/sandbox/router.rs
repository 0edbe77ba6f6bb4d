//! From a request to its answer: faults first, then the endpoint.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::environment::Environment;
use super::faults::{Fault, Meets};
use super::{
    admin_portal, api, authorize, company_portal, connected_accounts, consent, discovery, login,
    logout, pages, passwordless, resources, respond, token_endpoint, webhooks,
};

/// The largest request body that is read.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request that gets no answer, on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoAnswer {
    /// It was carried out.
    Lost,
    NotConnected,
}

impl Environment {
    /// Answers a request, or does to it what a fault says.
    pub(super) async fn answer(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let meets = self.lock().endpoint_faults.arrival(&request);
        let fault = match meets {
            None => return Ok(self.route(&request)),
            Some(Meets::Hold(mut held)) => {
                // Nothing is ever sent: this ends when the other side is dropped.
                let _ = held.changed().await;
                return Ok(self.route(&request));
            }
            Some(Meets::Fault(fault)) => fault,
        };
        match fault {
            Fault::Answer(response) => Ok(response),
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(self.route(&request))
            }
            Fault::Html => {
                let page =
                    "<!doctype html><title>Welcome</title><p>Accept the terms of this network.";
                Ok(respond::answer(StatusCode::OK, "text/html; charset=utf-8", page))
            }
            Fault::ResponseLost => {
                self.route(&request);
                Err(NoAnswer::Lost)
            }
            Fault::Status(status) => {
                Ok(respond::api_error(status, 14, "the sandbox was told to fail"))
            }
            Fault::Unreachable => Err(NoAnswer::NotConnected),
        }
    }

    /// The endpoint's answer. Each endpoint is a file of its own.
    pub(super) fn route(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.body().len() > MAX_BODY_BYTES {
            return respond::api_error(StatusCode::PAYLOAD_TOO_LARGE, 3, "the body is too large");
        }
        let (method, path) = (request.method(), request.uri().path());
        let segments: Vec<_> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let read = [Method::GET, Method::HEAD];
        match segments.as_slice() {
            [""] => only(&read, method, || pages::index(self, request)),
            ["style.css"] => only(&read, method, pages::style),
            ["icon.svg"] => only(&read, method, pages::icon),
            [".well-known", "openid-configuration"] => {
                only(&read, method, || discovery::openid_configuration(self))
            }
            [
                ".well-known",
                "oauth-authorization-server" | "openid-configuration",
                "resources",
                id,
            ] => resources::metadata(self, request, id),
            ["resources", id, rest @ ..] => resources::answer(self, request, id, rest),
            ["keys"] => only(&read, method, || discovery::keys(self)),
            ["oauth", "authorize"] => {
                only(&[Method::GET], method, || authorize::authorize(self, request, None))
            }
            ["oauth", "token"] => {
                only(&[Method::POST], method, || token_endpoint::token(self, request, None))
            }
            ["oidc", "logout"] => only(&[Method::GET], method, || logout::logout(self, request)),
            ["api", "v1", "resources", id, "clients:register"] => {
                resources::register(self, request, id)
            }
            ["api", "v1", resource @ ..] => api::answer(self, request, resource),
            ["login"] if method == Method::POST => login::submit(self, request),
            ["login"] => only(&[Method::GET, Method::POST], method, || login::show(self, request)),
            ["idp", id] if method == Method::POST => company_portal::submit(self, request, id),
            ["idp", id] => {
                only(&[Method::GET, Method::POST], method, || company_portal::show(self, id))
            }
            ["magicLink", link] if admin_portal::is_link(self, link) => {
                only(&[Method::GET], method, || admin_portal::open(self, link))
            }
            ["magicLink", link] if method == Method::POST => {
                connected_accounts::submit(self, request, link)
            }
            ["magicLink", link] => only(&[Method::GET, Method::POST], method, || {
                connected_accounts::show(self, request, link)
            }),
            ["portal", session] if method == Method::POST => {
                admin_portal::submit(self, request, session)
            }
            ["portal", session] => {
                only(&[Method::GET, Method::POST], method, || admin_portal::show(self, session))
            }
            ["deliveries"] if method == Method::POST => webhooks::submit(self, request),
            ["deliveries"] => {
                only(&[Method::GET, Method::POST], method, || pages::deliveries(self))
            }
            ["outbox"] if method == Method::POST => passwordless::submit(self, request),
            ["outbox"] => only(&[Method::GET, Method::POST], method, || pages::outbox(self)),
            ["connected"] => only(&read, method, || connected_accounts::connected(request)),
            ["proxy", path @ ..] => api::proxy(self, request, path),
            ["consent"] if method == Method::POST => consent::submit(self, request),
            ["consent"] => {
                only(&[Method::GET, Method::POST], method, || consent::show(self, request))
            }
            _ => respond::api_error(StatusCode::NOT_FOUND, 5, "Not Found"),
        }
    }
}

/// The endpoint's answer if it has the method, else a 405 that names those it has.
pub(super) fn only(
    allowed: &[Method],
    method: &Method,
    endpoint: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    if allowed.contains(method) {
        return endpoint();
    }
    let message = "Method Not Allowed";
    let mut response = respond::api_error(StatusCode::METHOD_NOT_ALLOWED, 12, message);
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, names);
    }
    response
}
