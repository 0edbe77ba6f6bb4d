//! Extractors for axum handlers: [`Session`], [`Principal`], and `Option` of either.
//!
//! Without the layer that inserts them they answer 500 and say so in the log: never "anonymous".

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::request::Parts;

use crate::rejection::misconfigured_answer;
use crate::session::{NoPrincipal, Session, SessionCookies};
use crate::telemetry;
use crate::token::Principal;

/// An extractor found nothing of the layer that must stand around the route: 500.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
pub struct LayerMissing {
    extractor: &'static str,
    layer: &'static str,
}

impl LayerMissing {
    const SESSION: Self = Self { extractor: "Session", layer: "RequireSession" };
    const PRINCIPAL: Self =
        Self { extractor: "Principal", layer: "RequireSession or RequireToken" };
}

impl IntoResponse for LayerMissing {
    fn into_response(self) -> Response {
        telemetry::layer_missing(self.extractor, self.layer);
        misconfigured_answer().map(Body::from)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = LayerMissing;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LayerMissing> {
        parts.extensions.get().cloned().ok_or(LayerMissing::SESSION)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = LayerMissing;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, LayerMissing> {
        present_or_anonymous(parts, LayerMissing::SESSION)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = LayerMissing;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LayerMissing> {
        parts.extensions.get().cloned().ok_or(LayerMissing::PRINCIPAL)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = LayerMissing;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, LayerMissing> {
        present_or_anonymous(parts, LayerMissing::PRINCIPAL)
    }
}

/// Gives the browser the session, and keeps caches away from the response.
#[cfg_attr(docsrs, doc(cfg(feature = "axum-core")))]
impl IntoResponseParts for SessionCookies {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        self.set(parts.headers_mut());
        Ok(parts)
    }
}

fn present_or_anonymous<T>(parts: &Parts, missing: LayerMissing) -> Result<Option<T>, LayerMissing>
where
    T: Clone + Send + Sync + 'static,
{
    match parts.extensions.get::<T>() {
        Some(found) => Ok(Some(found.clone())),
        None if parts.extensions.get::<NoPrincipal>().is_some() => Ok(None),
        None => Err(missing),
    }
}
