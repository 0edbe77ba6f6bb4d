//! Extractors for axum handlers: [`Session`], [`Principal`], and `Option` of either;
//! [`WebhookEvent`] and [`InterceptorRequest`].
//!
//! If the layer that inserts them is missing, they respond with 500 and log it. They never treat
//! the request as anonymous.

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::StatusCode;
use http::request::Parts;

use crate::auth_routes::CallbackRejection;
use crate::middleware::identity::{self, NoPrincipal};
use crate::middleware::rejection::{json_response, misconfigured_response};
use crate::require_token::RequireToken;
use crate::session::{Session, SessionCookies, SessionTokenError};
use crate::token::Principal;
use crate::util::telemetry;
use crate::webhook::interceptor::{InterceptorRequest, InterceptorResponse};
use crate::webhook::{EventError, WebhookEvent};
use crate::webhook_verify::payload::parsed;

/// Returned when the layer that inserts the extracted value is not around the route. Responds with
/// 500.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
pub struct MissingLayer {
    extractor: &'static str,
    layer: &'static str,
}

impl MissingLayer {
    const SESSION: Self = Self { extractor: "Session", layer: "RequireSession" };
    const PRINCIPAL: Self =
        Self { extractor: "Principal", layer: "RequireSession, RequireToken or RequireAuth" };
    const WEBHOOK_EVENT: Self = Self { extractor: "WebhookEvent", layer: "WebhookVerify" };
    const INTERCEPTOR_REQUEST: Self =
        Self { extractor: "InterceptorRequest", layer: "WebhookVerify::interceptor" };
}

impl MissingLayer {
    /// Logs that the layer of a request is missing.
    fn logged(self, parts: &Parts) -> Self {
        telemetry::layer_missing(self.extractor, self.layer, &parts.extensions);
        self
    }
}

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
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
        Self::from_extensions(&parts.extensions).ok_or_else(|| MissingLayer::SESSION.logged(parts))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    /// `None` for anonymous requests, and for those of a bearer token.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, MissingLayer> {
        Ok(optional(parts, MissingLayer::SESSION)?
            .and_then(|_| Self::from_extensions(&parts.extensions)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        let principal = identity::principal(&parts.extensions).cloned();
        principal.map_err(|_| MissingLayer::PRINCIPAL.logged(parts))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, MissingLayer> {
        Ok(optional(parts, MissingLayer::PRINCIPAL)?.cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookEvent {
    type Rejection = WebhookPayloadRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebhookPayloadRejection> {
        let event = parsed(&parts.extensions, Self::from_extensions).await;
        payload(event, MissingLayer::WEBHOOK_EVENT, parts)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InterceptorRequest {
    type Rejection = WebhookPayloadRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebhookPayloadRejection> {
        let request = parsed(&parts.extensions, Self::from_extensions).await;
        payload(request, MissingLayer::INTERCEPTOR_REQUEST, parts)
    }
}

/// Rejection of the [`WebhookEvent`] and [`InterceptorRequest`] extractors.
#[derive(Clone, Copy, Debug)]
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

fn payload<T>(
    parsed: Option<Result<T, EventError>>,
    missing: MissingLayer,
    parts: &Parts,
) -> Result<T, WebhookPayloadRejection> {
    parsed
        .ok_or_else(|| WebhookPayloadRejection::MissingLayer(missing.logged(parts)))?
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
        let verified = RequireToken::from_ref(state).verify(parts).await;
        verified.map(Self).map_err(|rejected| rejected.map(Body::from))
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
fn optional(parts: &Parts, missing: MissingLayer) -> Result<Option<&Principal>, MissingLayer> {
    match identity::principal(&parts.extensions) {
        Ok(principal) => Ok(Some(principal)),
        Err(NoPrincipal::Anonymous(_)) => Ok(None),
        Err(NoPrincipal::MissingLayer) => Err(missing.logged(parts)),
    }
}
