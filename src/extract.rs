//! Extractors for axum handlers: [`Session`], [`Principal`], and `Option` of either;
//! [`WebhookEvent`] and [`InterceptorRequest`].
//!
//! If the layer that inserts them is missing, they respond with 500 and log it. They never treat
//! the request as anonymous.

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::auth_routes::CallbackRejection;
use crate::middleware::principal::{self, NoPrincipal};
use crate::middleware::rejection::{json_response, misconfigured_response};
use crate::require_token::RequireToken;
use crate::session::{Session, SessionCookies, SessionTokenError};
use crate::token::Principal;
use crate::util::request_target::matched_path;
use crate::util::telemetry;
use crate::webhook::interceptor::{InterceptorRequest, InterceptorResponse};
use crate::webhook::{EventError, WebhookEvent};
use crate::webhook_verify::signed_body::parsed;

/// Returned when the layer that inserts the extracted value is not around the route. Responds with
/// 500, and logs it: a handler that takes a `Result` of it may respond otherwise.
#[derive(Clone, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
pub struct MissingLayer {
    extractor: &'static str,
    layer: &'static str,
    route: Option<Box<str>>,
}

impl MissingLayer {
    fn new(extractor: &'static str, layer: &'static str, parts: &Parts) -> Self {
        let route = matched_path(&parts.extensions).map(Box::from);
        Self { extractor, layer, route }
    }

    fn session(parts: &Parts) -> Self {
        Self::new("Session", "RequireSession", parts)
    }

    fn principal(parts: &Parts) -> Self {
        Self::new("Principal", "RequireSession, RequireToken or RequireAuth", parts)
    }
}

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        telemetry::layer_missing(self.extractor, self.layer, self.route.as_deref());
        misconfigured_response().map(Body::from)
    }
}

impl IntoResponse for SessionTokenError {
    fn into_response(self) -> Response {
        Self::into_response(self).map(Body::from)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        Self::from_extensions(&parts.extensions).ok_or_else(|| MissingLayer::session(parts))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    /// `None` for anonymous requests, and for those of a bearer token.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, MissingLayer> {
        Ok(optional(parts, MissingLayer::session)?
            .and_then(|_| Self::from_extensions(&parts.extensions)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        principal::find(&parts.extensions).cloned().map_err(|_| MissingLayer::principal(parts))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, MissingLayer> {
        Ok(optional(parts, MissingLayer::principal)?.cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookEvent {
    type Rejection = WebhookPayloadRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebhookPayloadRejection> {
        payload(parts, Self::from_extensions, "WebhookEvent", "WebhookVerify").await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InterceptorRequest {
    type Rejection = WebhookPayloadRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebhookPayloadRejection> {
        payload(parts, Self::from_extensions, "InterceptorRequest", "WebhookVerify::interceptor")
            .await
    }
}

/// Rejection of the [`WebhookEvent`] and [`InterceptorRequest`] extractors.
#[derive(Clone, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
#[non_exhaustive]
pub enum WebhookPayloadRejection {
    /// The body is signed, but is not one of Scalekit's events or requests. Responds with 400.
    Malformed(EventError),
    /// The layer is missing. Responds with 500.
    MissingLayer(MissingLayer),
}

impl IntoResponse for WebhookPayloadRejection {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed(_) => {
                json_response(StatusCode::BAD_REQUEST, "invalid_request", "Not accepted")
                    .map(Body::from)
            }
            Self::MissingLayer(missing) => missing.into_response(),
        }
    }
}

async fn payload<T: Send + 'static>(
    parts: &Parts,
    parse: fn(&Extensions) -> Option<Result<T, EventError>>,
    extractor: &'static str,
    layer: &'static str,
) -> Result<T, WebhookPayloadRejection> {
    parsed(&parts.extensions, parse)
        .await
        .ok_or_else(|| MissingLayer::new(extractor, layer, parts))
        .map_err(WebhookPayloadRejection::MissingLayer)?
        .map_err(WebhookPayloadRejection::Malformed)
}

/// The principal of a bearer token: an axum extractor that verifies the token itself, without a
/// layer around the route.
///
/// The app's state holds the [`RequireToken`] that configures validation. Rejections are the same
/// as the layer's.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "axum"))] {
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, body::Body, extract::FromRef, routing::get};
/// use http::{Request, StatusCode, header};
/// use tower::ServiceExt;
/// use tower_scalekit::{Bearer, RequireToken, Sandbox};
///
/// #[derive(Clone, FromRef)]
/// struct App {
///     tokens: RequireToken,
/// }
///
/// # let sandbox = Sandbox::new();
/// let tokens = RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id())?;
/// let app = Router::new()
///     .route("/", get(|Bearer(principal): Bearer| async move { principal.subject().to_owned() }))
///     .with_state(App { tokens });
/// let anonymous = Request::get("/").body(Body::empty())?;
/// let rejected = app.clone().oneshot(anonymous).await?;
/// assert_eq!(rejected.headers()[header::WWW_AUTHENTICATE], "Bearer");
///
/// # let token = sandbox.tokens().access_token("jane@acme.test");
/// let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
/// assert_eq!(app.oneshot(request.body(Body::empty())?).await?.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
pub struct Bearer(pub Principal);

impl<S> FromRequestParts<S> for Bearer
where
    S: Send + Sync,
    RequireToken: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        RequireToken::from_ref(state)
            .verify(parts)
            .await
            .map(Self)
            .map_err(|rejected| rejected.map(Body::from))
    }
}

/// Sets the session cookie and `Cache-Control: no-store`.
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
impl IntoResponseParts for SessionCookies {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        self.set(parts.headers_mut());
        Ok(parts)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
impl IntoResponse for CallbackRejection {
    fn into_response(self) -> Response {
        CallbackRejection::into_response(self).map(Body::from)
    }
}

/// Always HTTP 200: the body contains the decision.
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
impl IntoResponse for InterceptorResponse {
    fn into_response(self) -> Response {
        http::Response::from(self).map(Body::from)
    }
}

/// The principal of a request, `None` behind an optional layer that has not inserted one.
fn optional(
    parts: &Parts,
    missing: fn(&Parts) -> MissingLayer,
) -> Result<Option<&Principal>, MissingLayer> {
    match principal::find(&parts.extensions) {
        Ok(principal) => Ok(Some(principal)),
        Err(NoPrincipal::Anonymous(_)) => Ok(None),
        Err(NoPrincipal::MissingLayer) => Err(missing(parts)),
    }
}
