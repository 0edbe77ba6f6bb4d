//! Routes a request: faults first, then the endpoint.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::hosted_login::{consent, idp_portal, invitation, login, own_login};
use crate::sandbox::oauth::{authorize, discovery, logout, token_endpoint};
use crate::sandbox::respond::allow_methods;
use crate::sandbox::state::faults::{Fault, FaultAction};
use crate::sandbox::{admin_portal, api, connected_accounts, mail, mcp, pages, respond, webhooks};

/// The largest request body that is read.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Why a request has no response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dropped {
    /// The request was processed.
    ResponseLost,
    NotConnected,
}

impl Environment {
    /// Responds to a request, after the next fault of its endpoint.
    pub(crate) async fn respond(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Dropped> {
        // The lock ends before the match.
        let action = self.lock().endpoint_faults.next_action(&request);
        match action {
            None => Ok(self.fetch_and_route(&request).await),
            Some(FaultAction::Hold(mut held)) => {
                // Never sends: ends when the other side is dropped.
                let _ = held.changed().await;
                Ok(self.fetch_and_route(&request).await)
            }
            Some(FaultAction::Fault(Fault::Response(response))) => Ok(response),
            Some(FaultAction::Fault(Fault::Delay(delay))) => {
                tokio::time::sleep(delay).await;
                Ok(self.fetch_and_route(&request).await)
            }
            Some(FaultAction::Fault(Fault::Html)) => Ok(respond::response(
                StatusCode::OK,
                "text/html; charset=utf-8",
                "<!doctype html><title>Welcome</title><p>Accept the terms of this network.",
            )),
            Some(FaultAction::Fault(Fault::ResponseLost)) => {
                self.fetch_and_route(&request).await;
                Err(Dropped::ResponseLost)
            }
            Some(FaultAction::Fault(Fault::Status(status))) => {
                Ok(respond::api_error(status, 14, "the sandbox is configured to fail"))
            }
            Some(FaultAction::Fault(Fault::Unreachable)) => Err(Dropped::NotConnected),
        }
    }

    /// The response of the endpoint, after the document of its client was fetched if necessary.
    async fn fetch_and_route(&self, request: &Request<Bytes>) -> Response<Bytes> {
        mcp::documents::fetch_if_named(self, request).await;
        self.route(request)
    }

    /// The response of the endpoint, without faults.
    pub(crate) fn route(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.body().len() > MAX_BODY_BYTES {
            return respond::api_error(StatusCode::PAYLOAD_TOO_LARGE, 3, "the body is too large");
        }
        if respond::is_grpc(request.headers()) {
            return respond::grpc_rejection();
        }
        let (method, path) = (request.method(), request.uri().path());
        let segments: Vec<_> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let read = [Method::GET, Method::HEAD];
        match segments.as_slice() {
            [""] => allow_methods(&read, method, || pages::index(self, request)),
            ["style.css"] => allow_methods(&read, method, pages::style),
            ["icon.svg"] => allow_methods(&read, method, pages::icon),
            [".well-known", "openid-configuration"] => {
                allow_methods(&read, method, || discovery::openid_configuration(self))
            }
            [
                ".well-known",
                "oauth-authorization-server" | "openid-configuration",
                "resources",
                id,
            ] => mcp::metadata(self, request, id),
            ["resources", id, "oauth", "authorize"] if mcp::is_known(self, id) => {
                allow_methods(&[Method::GET], method, || {
                    authorize::authorize(self, request, Some(id))
                })
            }
            ["resources", id, "oauth", "token"] => {
                mcp::open(self, request, id, &Method::POST, || {
                    token_endpoint::token(self, request, Some(id))
                })
            }
            [
                "resources",
                id,
                ".well-known",
                "oauth-authorization-server" | "openid-configuration",
            ] => mcp::metadata(self, request, id),
            ["keys"] => allow_methods(&read, method, || discovery::keys(self)),
            ["oauth", "authorize"] => {
                allow_methods(&[Method::GET], method, || authorize::authorize(self, request, None))
            }
            ["oauth", "token"] => allow_methods(&[Method::POST], method, || {
                token_endpoint::token(self, request, None)
            }),
            ["oidc", "logout"] => {
                allow_methods(&[Method::GET], method, || logout::logout(self, request))
            }
            ["api", "v1", "resources", id, "clients:register"] => mcp::register(self, request, id),
            ["api", "v1", resource @ ..] => api::response(self, request, resource),
            ["login"] => page(
                method,
                || login::show(&self.lock(), request),
                || login::submit(&mut self.lock(), request),
            ),
            ["sso", "v1", "connections", id, "partner:callback"] => {
                allow_methods(&[Method::GET], method, || {
                    own_login::callback(&mut self.lock(), request, id)
                })
            }
            ["invitations", token] => {
                allow_methods(&read, method, || invitation::open(&self.lock(), token))
            }
            ["idp", id] => page(
                method,
                || idp_portal::show(&self.lock(), id),
                || idp_portal::submit(self, request, id),
            ),
            ["magicLink", link] if admin_portal::is_link(&self.lock(), link) => {
                allow_methods(&[Method::GET], method, || admin_portal::open(&mut self.lock(), link))
            }
            ["magicLink", link] => page(
                method,
                || connected_accounts::consent::show(&mut self.lock(), request, link),
                || connected_accounts::consent::submit(&mut self.lock(), request, link),
            ),
            ["portal", session] => page(
                method,
                || admin_portal::show(&self.lock(), session),
                || admin_portal::submit(&mut self.lock(), request, session),
            ),
            ["deliveries"] => page(
                method,
                || pages::deliveries(&self.lock().webhooks),
                || webhooks::form::submit(&mut self.lock(), request),
            ),
            ["outbox"] => page(
                method,
                || pages::outbox(&self.lock()),
                || mail::form::submit(&mut self.lock().mail, request),
            ),
            ["connected"] => {
                allow_methods(&read, method, || connected_accounts::consent::connected(request))
            }
            ["mcp", "v3", "servers", id] => mcp::gateway::respond(self, request, id),
            ["proxy", path @ ..] => api::proxy(self, request, path),
            ["consent"] => page(
                method,
                || consent::show(&self.lock(), request),
                || consent::submit(&mut self.lock(), request),
            ),
            _ => respond::api_error(StatusCode::NOT_FOUND, 5, "Not Found"),
        }
    }
}

/// A page, whose form is sent to its own URL.
fn page(
    method: &Method,
    show: impl FnOnce() -> Response<Bytes>,
    submit: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    match *method {
        Method::POST => submit(),
        _ => allow_methods(&[Method::GET, Method::POST], method, show),
    }
}
