//! Webhook events of the environment, and requests to [interceptors](interceptor).
//!
//! An event is parsed from the body of a delivery. Its [`payload`](WebhookEvent::payload) has one
//! variant for each documented event type; unknown types are kept as JSON.
//!
//! ```
//! use tower_scalekit::webhook::{EventPayload, WebhookEvent};
//!
//! let body = br#"{
//!     "spec_version": "1",
//!     "id": "evt_53891546994442317",
//!     "type": "organization.directory.user_updated",
//!     "occurred_at": "2025-01-06T18:44:25.153954Z",
//!     "organization_id": "org_53879494091473415",
//!     "data": {"id": "diruser_1", "email": "john.doe@example.com", "active": false}
//! }"#;
//! let event = WebhookEvent::parse(body)?;
//! let organization = event.organization_id().unwrap_or_default();
//! let locked_out = match event.payload() {
//!     EventPayload::DirectoryUserUpdated(user) if user.active == Some(false) => &user.email,
//!     EventPayload::DirectoryUserDeleted(user) => &user.email,
//!     _ => &None, // respond with 2xx, else it is sent again
//! };
//! assert_eq!(organization, "org_53879494091473415");
//! assert_eq!(locked_out.as_deref(), Some("john.doe@example.com"));
//! # Ok::<(), tower_scalekit::webhook::EventError>(())
//! ```
//!
//! Events may be delivered more than once, and out of order: compare
//! [`occurred_at`](WebhookEvent::occurred_at).
//!
//! # Parsing
//!
//! 1. The body is a JSON object with unique members, among them `id`, `type` and `data`.
//! 2. Any other member may be absent, null or of another type, which reads as absent, as does empty
//!    text.
//! 3. An unknown type is [`EventPayload::Unknown`].
//! 4. [`raw`](WebhookEvent::raw) has the whole body.

mod connected_account;
mod connection;
mod directory;
mod directory_group;
mod directory_user;
mod domain;
mod event;
pub mod interceptor;
mod membership;
mod organization;
mod payload;
mod role;
mod user;

#[cfg(test)]
mod tests;

pub use self::connected_account::ConnectedAccountData;
pub use self::connection::ConnectionData;
pub use self::directory::DirectoryData;
pub use self::directory_group::DirectoryGroupData;
pub use self::directory_user::{DirectoryUserData, UserGroup, UserRole};
pub use self::domain::OrganizationDomain;
pub use self::event::{EventError, WebhookEvent};
pub use self::membership::OrganizationMembership;
pub use self::organization::OrganizationData;
pub use self::payload::EventPayload;
pub use self::role::{PermissionData, RoleData};
pub use self::user::{UserData, UserSession, UserWithSession};
