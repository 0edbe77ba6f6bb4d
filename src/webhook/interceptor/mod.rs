//! Interceptors: requests of the environment to allow or deny a signup, a login, an invitation or a
//! token.
//!
//! The response is always HTTP 200; its body contains the decision. The dashboard configures what
//! happens if the response is late or missing.
//!
//! ```
//! use tower_scalekit::webhook::interceptor::{
//!     InterceptorData, InterceptorRequest, InterceptorResponse,
//! };
//!
//! let body = br#"{
//!     "trigger_point": "PRE_SESSION_CREATION",
//!     "interceptor_context": {"ip_address": "203.0.113.24", "user_email": "john@acme.test"},
//!     "data": {"user": {"id": "usr_1", "email": "john@acme.test"}}
//! }"#;
//! let request = InterceptorRequest::parse(body)?;
//! let decision = match &request.data {
//!     InterceptorData::SessionCreation(user) if user.email.is_some() => {
//!         InterceptorResponse::allow().claim("plan", "gold")
//!     }
//!     _ => InterceptorResponse::deny("You cannot log in here."),
//! };
//! let response: http::Response<bytes::Bytes> = decision.into();
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.body(), r#"{"decision":"ALLOW","response":{"claims":{"plan":"gold"}}}"#);
//! # Ok::<(), tower_scalekit::webhook::EventError>(())
//! ```

mod request;
mod response;

pub use self::request::{
    AuthRequest, ConnectionDetails, InterceptorContext, InterceptorData, InterceptorRequest,
    InterceptorUser, InvitingOrganization, M2mClaims, M2mTokenClaims, TriggerPoint, UserMembership,
};
pub use self::response::{InterceptorResponse, NewMembership};
