use bytes::Bytes;
use http::{Response, StatusCode};

use crate::middleware::rejection::{Rejection, json_response};

/// Why [`RequireOrigin`](super::RequireOrigin) rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginRejection {
    /// `Origin` is not one of the allowed origins, or the request has none and `Sec-Fetch-Site` names
    /// another site or origin. Responds with 403.
    OriginNotAllowed,
}

impl Rejection for OriginRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::OriginNotAllowed => "origin_not_allowed",
        }
    }

    fn response(&self) -> Response<Bytes> {
        json_response(
            StatusCode::FORBIDDEN,
            self.code(),
            "Requests from pages of this origin are not allowed",
        )
    }
}
