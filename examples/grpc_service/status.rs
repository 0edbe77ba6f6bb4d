//! Rejections as gRPC clients expect them.

use bytes::Bytes;
use http::{Response, StatusCode};
use tonic::Status;
use tower_scalekit::middleware::RejectionContext;
use tower_scalekit::require_token::TokenRejection;

/// A rejection with 200, and with its status in the headers ("trailers only"). The default response
/// has 503 if the token may be valid.
pub fn as_grpc_status(rejected: RejectionContext<'_, TokenRejection>) -> Response<Bytes> {
    let status = match rejected.into_default_response().status() {
        StatusCode::SERVICE_UNAVAILABLE => Status::unavailable("try again"),
        _ => Status::unauthenticated("send a token"),
    };
    status.into_http()
}
