//! The identity of an authorized request, in headers for the upstream.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tower_service::Service;

use crate::middleware::principal::{self, NoPrincipal};
use crate::middleware::rejection::misconfigured_response;
use crate::session::Session;
use crate::token::Principal;
use crate::util::request_target::matched_path;
use crate::util::telemetry;

/// Names of the headers with the identity.
///
/// Characters other than visible ASCII, `%` and `,` are percent-encoded, as UTF-8. Items of a list
/// are separated by commas.
pub mod identity_headers {
    use http::HeaderName;

    /// The [subject](crate::Principal::subject): the user or the machine client.
    pub const USER: HeaderName = HeaderName::from_static("x-auth-request-user");
    /// The e-mail address: of the session's user, or the token's claim `email`.
    pub const EMAIL: HeaderName = HeaderName::from_static("x-auth-request-email");
    /// The [organization](crate::Principal::organization_id).
    pub const ORGANIZATION: HeaderName = HeaderName::from_static("x-auth-request-organization");
    /// The roles.
    pub const ROLES: HeaderName = HeaderName::from_static("x-auth-request-roles");
    /// The permissions.
    pub const PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-request-permissions");
    /// The scopes.
    pub const SCOPES: HeaderName = HeaderName::from_static("x-auth-request-scopes");
}

/// Extension of the response to an authorized request.
#[derive(Clone, Copy)]
pub(super) struct Authorized;

/// Responds to an authorized request with 200 and the identity in [headers](identity_headers). The
/// inner service of the layers that are passed to
/// [`ForwardAuth::service`](super::ForwardAuth::service).
///
/// Behind an optional layer, the headers of an anonymous request are empty. Without a layer that
/// authenticates, it responds with 500.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct IdentityService;

impl<B> Service<Request<B>> for IdentityService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let extensions = request.extensions();
        let mut response = Response::new(Full::default());
        response.extensions_mut().insert(Authorized);
        match principal::find(extensions) {
            Ok(principal) => {
                let session = Session::from_extensions(extensions);
                let email = match &session {
                    Some(session) => Some(session.user().email.as_str()),
                    None => principal.raw_claims().get("email").and_then(Value::as_str),
                };
                insert(response.headers_mut(), Some(principal), email);
            }
            Err(NoPrincipal::Anonymous(_)) => insert(response.headers_mut(), None, None),
            Err(NoPrincipal::MissingLayer) => {
                let layers = "RequireSession, RequireToken or RequireAuth";
                telemetry::layer_missing("ForwardAuth", layers, matched_path(extensions));
                response = misconfigured_response().map(Full::new);
            }
        }
        ready(Ok(response))
    }
}

/// Inserts all headers; those without a value are empty.
fn insert(headers: &mut HeaderMap, principal: Option<&Principal>, email: Option<&str>) {
    for (name, text) in [
        (identity_headers::USER, principal.map(Principal::subject)),
        (identity_headers::EMAIL, email),
        (identity_headers::ORGANIZATION, principal.and_then(Principal::organization_id)),
    ] {
        headers.insert(name, visible_ascii(encoded(text)));
    }
    for (name, list) in [
        (identity_headers::ROLES, principal.map(Principal::roles)),
        (identity_headers::PERMISSIONS, principal.map(Principal::permissions)),
        (identity_headers::SCOPES, principal.map(Principal::scopes)),
    ] {
        let items = list.unwrap_or_default().iter().map(String::as_str);
        headers.insert(name, visible_ascii(encoded(items)));
    }
}

fn visible_ascii(encoded: String) -> HeaderValue {
    HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
}

fn encoded<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut encoded = String::new();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            encoded.push(',');
        }
        for byte in item.bytes() {
            match byte {
                b'!'..=b'~' if byte != b'%' && byte != b',' => encoded.push(byte.into()),
                _ => _ = write!(encoded, "%{byte:02X}"),
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_visible_ascii_and_items_cannot_be_forged() {
        assert_eq!(encoded(["conn_1;jane@acme.test"]), "conn_1;jane@acme.test");
        assert_eq!(encoded(["a,b", "c d", "é%\r\n"]), "a%2Cb,c%20d,%C3%A9%25%0D%0A");
        assert_eq!(encoded([]), "");
    }
}
