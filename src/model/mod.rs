//! Values that both responses of the API and webhooks contain.
//!
//! Objects are read strictly in responses and leniently in webhooks, and some have other fields there,
//! so each of the two has types of its own: `Organization` in [`api`](crate::api), `OrganizationData` in
//! [`webhook`](crate::webhook), as an event calls it `data`. A [`UserProfile`] is read leniently in both.

mod connected_account;
mod directory;
mod domain;
pub(crate) mod lenient;
mod organization;
mod session;
mod user;
pub(crate) mod wire;

pub use self::connected_account::ConnectedAccountStatus;
pub use self::directory::{DirectoryProvider, DirectoryType};
pub use self::domain::{DomainType, DomainVerificationMethod, DomainVerificationStatus};
pub use self::organization::{OrganizationFeature, OrganizationSettings, RegionCode};
pub use self::session::{SessionDevice, SessionLocation, SessionStatus};
pub use self::user::{ExternalIdentity, MembershipStatus, UserProfile};
