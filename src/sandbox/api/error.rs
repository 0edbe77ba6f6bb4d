//! Errors of the API.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use crate::sandbox::respond;

/// A code of gRPC, with the HTTP status that its gateway responds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcCode {
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
}

impl GrpcCode {
    fn status(self) -> StatusCode {
        match self {
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::FailedPrecondition | Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }

    fn number_and_name(self) -> (u8, &'static str) {
        match self {
            Self::AlreadyExists => (6, "ALREADY_EXISTS"),
            Self::FailedPrecondition => (9, "FAILED_PRECONDITION"),
            Self::InvalidArgument => (3, "INVALID_ARGUMENT"),
            Self::NotFound => (5, "NOT_FOUND"),
            Self::PermissionDenied => (7, "PERMISSION_DENIED"),
            Self::ResourceExhausted => (8, "RESOURCE_EXHAUSTED"),
            Self::Unauthenticated => (16, "UNAUTHENTICATED"),
        }
    }
}

/// An error in the format of a gRPC gateway.
#[derive(Debug)]
pub(super) struct ApiErrorResponse {
    code: GrpcCode,
    message: Cow<'static, str>,
}

impl ApiErrorResponse {
    pub(super) const UNAUTHENTICATED: Self = Self {
        code: GrpcCode::Unauthenticated,
        message: Cow::Borrowed("the access token is missing, invalid or expired"),
    };

    pub(super) fn new(code: GrpcCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) const fn invalid(message: &'static str) -> Self {
        Self { code: GrpcCode::InvalidArgument, message: Cow::Borrowed(message) }
    }

    pub(super) const fn conflict(message: &'static str) -> Self {
        Self { code: GrpcCode::AlreadyExists, message: Cow::Borrowed(message) }
    }

    pub(super) const fn not_found(message: &'static str) -> Self {
        Self { code: GrpcCode::NotFound, message: Cow::Borrowed(message) }
    }

    /// The error as `errdetailsErrorInfo`, which the document has for some operations.
    pub(super) fn info_response(&self) -> Response<Bytes> {
        let (_, error_code) = self.code.number_and_name();
        let body = json!({
            "error_code": error_code,
            "localized_message_info": { "locale": "en", "message": self.message },
        });
        respond::json(self.code.status(), &body)
    }

    pub(super) fn response(&self) -> Response<Bytes> {
        let (code, error_code) = self.code.number_and_name();
        let body = json!({
            "code": code,
            "message": self.message,
            "details": [{
                "@type": "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo",
                "error_code": error_code,
            }],
        });
        respond::json(self.code.status(), &body)
    }
}
