use std::fmt;

use super::Sessions;
use super::revocation::Revoked;
use crate::shared_store::StoreError;
use crate::util::telemetry;
use crate::webhook::{EventPayload, WebhookEvent};

/// Ends the sessions of users who are deprovisioned, from webhook events. With a
/// [shared store](super::SessionsBuilder::shared_store) they end on every replica within two
/// seconds; without one, in this process only, and until it restarts.
///
/// | event | whose sessions end |
/// |---|---|
/// | `user.logout` | that session's; without its id, the user's |
/// | `organization.directory.user_deleted` | those in the organization with the user's e-mail address |
/// | `organization.directory.user_updated` with `active: false` | the same |
/// | `user.organization_membership_deleted` | the user's in that organization |
/// | `organization.deleted` | all in the organization |
/// | `organization.directory_disabled` | all in the organization, if [enabled](Self::on_directory_disabled) |
/// | `organization.sso_disabled`, `organization.sso_deleted` | all in the organization, if [enabled](Self::on_sso_disabled) |
///
/// A directory's e-mail address matches sessions of its own organization only, trimmed and without
/// case, because one customer's directory must not end another's sessions. Sessions without an
/// organization, such as those of logins by e-mail, end by directory events only if
/// [enabled](Self::end_sessions_without_organization). Sessions whose scope has no `email` never
/// do. An event that changes the address and disables the user at once contains the new address, so
/// it does not match sessions with the old one.
///
/// [`apply`](Self::apply) therefore returns what it matched. Handle [`Deprovisioned::Unmatched`],
/// for instance by [`Sessions::revoke_email`] or [`Sessions::revoke_user`] with the app's own
/// record of the user. It is logged and counted. Users who never logged in are unmatched, too.
///
/// Sessions end in this app only, as by [`Sessions::revoke_session`]. The environment and the
/// user's identity provider decide whether the user can log in again.
///
/// A `user.logout` event ends sessions whose login the environment had completed by then, by its
/// own clock; later logins are unaffected. All other events end the sessions that began before the
/// event arrived, because a deprovisioned user may have logged in meanwhile. An event that arrives
/// late or twice therefore costs at most a login.
///
/// ```
/// # #[cfg(all(feature = "axum", feature = "sandbox"))] {
/// use axum::{Router, routing::post};
/// use http::StatusCode;
/// use tower_scalekit::session::Deprovisioning;
/// use tower_scalekit::shared_store::MemoryStore;
/// use tower_scalekit::webhook::WebhookEvent;
/// use tower_scalekit::webhook_verify::WebhookSecret;
/// use tower_scalekit::{Sandbox, SessionSecret, Sessions, WebhookVerify};
///
/// let sandbox = Sandbox::new();
/// let sessions = Sessions::builder(sandbox.scalekit())
///     .secret(SessionSecret::generate()?)
///     .redirect_uri("https://app.example/auth/callback")
///     .build()?;
/// let deprovisioning = Deprovisioning::new(&sessions);
///
/// let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let webhooks: Router = Router::new()
///     .route("/webhooks/scalekit", post(async move |event: WebhookEvent| {
///         match deprovisioning.apply(&event).await {
///             Ok(_) => StatusCode::NO_CONTENT,
///             Err(_) => StatusCode::SERVICE_UNAVAILABLE, // Scalekit sends it again
///         }
///     }))
///     .route_layer(WebhookVerify::new(secret));
/// # let _ = webhooks;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Deprovisioning {
    sessions: Sessions,
    on_directory_disabled: bool,
    on_sso_disabled: bool,
    without_organization: bool,
}

/// The effect of a webhook event. Returned by [`Deprovisioning::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deprovisioned {
    /// The event ends no sessions.
    NotApplicable,
    /// Matching sessions have begun in this app, and are ended.
    Matched(RevokedSessions),
    /// Matching sessions are revoked, but none is known to have begun in this app. Or the event is not
    /// [complete](WebhookEvent::is_complete) and the names of the sessions are missing: none is revoked.
    Unmatched(RevokedSessions),
}

/// The sessions that an event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevokedSessions {
    /// One session.
    Session,
    /// All sessions of a user, of one organization or of all.
    User,
    /// All sessions in an organization.
    Organization,
}

impl Deprovisioning {
    /// Ends sessions of this app.
    pub fn new(sessions: &Sessions) -> Self {
        let sessions = sessions.clone();
        Self {
            sessions,
            on_directory_disabled: false,
            on_sso_disabled: false,
            without_organization: false,
        }
    }

    /// Also ends all sessions in an organization when its directory is disabled. Default: they are
    /// unaffected, because the directory may only be replaced.
    pub fn on_directory_disabled(mut self) -> Self {
        self.on_directory_disabled = true;
        self
    }

    /// Also ends all sessions in an organization when its single sign-on is disabled or deleted.
    /// Default: they are unaffected.
    pub fn on_sso_disabled(mut self) -> Self {
        self.on_sso_disabled = true;
        self
    }

    /// Applies a directory's events also to sessions without an organization that have the same
    /// e-mail address, for apps whose users log in by e-mail. Any customer's directory can then end
    /// these sessions, which costs the user a login. Default: they are unaffected.
    pub fn end_sessions_without_organization(mut self) -> Self {
        self.without_organization = true;
        self
    }

    /// Ends the sessions that match the event, and returns what it matched.
    ///
    /// # Errors
    /// Returned when the shared store fails: the sessions are ended in this process only. Respond
    /// with 503, so that Scalekit sends the event again.
    pub async fn apply(&self, event: &WebhookEvent) -> Result<Deprovisioned, StoreError> {
        let Some(revoked) = self.revoked(event) else {
            let unread = self.revokes(event).filter(|_| !event.is_complete());
            let Some(whose) = unread else { return Ok(Deprovisioned::NotApplicable) };
            telemetry::deprovisioned(event.event_type(), false);
            return Ok(Deprovisioned::Unmatched(whose));
        };
        let is_logout = matches!(event.payload(), EventPayload::UserLogout(_));
        match event.occurred_at().filter(|_| is_logout) {
            Some(at) => self.sessions.revoke_ended_at(at, revoked).await?,
            None => self.sessions.revoke(revoked).await?,
        }
        let mut matched = self.sessions.has_begun(revoked).await?;
        if let Revoked::OrganizationEmail(_, email) = revoked
            && self.without_organization
        {
            self.sessions.revoke(Revoked::Email(email)).await?;
            matched |= self.sessions.has_begun(Revoked::Email(email)).await?;
        }
        telemetry::deprovisioned(event.event_type(), matched);
        let whose = match revoked {
            Revoked::EnvironmentSession(_) | Revoked::Session(_) => RevokedSessions::Session,
            Revoked::Organization(_) => RevokedSessions::Organization,
            Revoked::Email(_)
            | Revoked::OrganizationEmail(..)
            | Revoked::OrganizationUser(..)
            | Revoked::User(_) => RevokedSessions::User,
        };
        Ok(if matched { Deprovisioned::Matched(whose) } else { Deprovisioned::Unmatched(whose) })
    }

    /// Whose sessions such an event ends, whatever names it has.
    fn revokes(&self, event: &WebhookEvent) -> Option<RevokedSessions> {
        match event.payload() {
            EventPayload::UserLogout(_) => Some(RevokedSessions::Session),
            EventPayload::DirectoryUserUpdated(user) if user.active != Some(false) => None,
            EventPayload::DirectoryUserDeleted(_)
            | EventPayload::DirectoryUserUpdated(_)
            | EventPayload::UserOrganizationMembershipDeleted(_) => Some(RevokedSessions::User),
            EventPayload::OrganizationDeleted(_) => Some(RevokedSessions::Organization),
            EventPayload::DirectoryDisabled(_) if self.on_directory_disabled => {
                Some(RevokedSessions::Organization)
            }
            EventPayload::SsoDisabled(_) | EventPayload::SsoDeleted(_) if self.on_sso_disabled => {
                Some(RevokedSessions::Organization)
            }
            _ => None,
        }
    }

    fn revoked<'a>(&self, event: &'a WebhookEvent) -> Option<Revoked<'a>> {
        let organization = event.organization_id();
        match event.payload() {
            EventPayload::UserLogout(ended) => match &ended.user_session.session_id {
                Some(session) => Some(Revoked::EnvironmentSession(session)),
                None if has_session_id(event) => None,
                None => {
                    let user = ended.user.id.as_deref();
                    user.or(ended.user_session.user_id.as_deref()).map(Revoked::User)
                }
            },
            EventPayload::DirectoryUserUpdated(user) if user.active != Some(false) => None,
            EventPayload::DirectoryUserDeleted(user) | EventPayload::DirectoryUserUpdated(user) => {
                Some(Revoked::OrganizationEmail(organization?, user.email.as_deref()?))
            }
            EventPayload::UserOrganizationMembershipDeleted(membership) => {
                Some(Revoked::OrganizationUser(organization?, membership.user.id.as_deref()?))
            }
            EventPayload::OrganizationDeleted(_) => organization.map(Revoked::Organization),
            EventPayload::DirectoryDisabled(_) if self.on_directory_disabled => {
                organization.map(Revoked::Organization)
            }
            EventPayload::SsoDisabled(_) | EventPayload::SsoDeleted(_) if self.on_sso_disabled => {
                organization.map(Revoked::Organization)
            }
            _ => None,
        }
    }
}

/// Whether the event is about one session, even if its ID is not understood here.
fn has_session_id(event: &WebhookEvent) -> bool {
    let session = event.raw().get("data").and_then(|data| data.pointer("/user_session/session_id"));
    session.is_some_and(|id| !id.is_null() && id != "")
}

impl fmt::Debug for Deprovisioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deprovisioning")
            .field("on_directory_disabled", &self.on_directory_disabled)
            .field("on_sso_disabled", &self.on_sso_disabled)
            .field("without_organization", &self.without_organization)
            .finish_non_exhaustive()
    }
}
