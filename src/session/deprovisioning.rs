use std::fmt;

use super::Sessions;
use super::revocation::Revoked;
use crate::shared_store::StoreError;
use crate::util::telemetry;
use crate::webhook::{EventPayload, WebhookEvent};

/// Ends the sessions of people who may no longer log in, when a webhook tells of it: with a
/// [shared store](super::SessionsBuilder::shared_store) on every replica within two seconds, without
/// one in this process alone and until it ends.
///
/// | event | whose sessions end |
/// |---|---|
/// | `user.logout` | that session's; without its id, the user's |
/// | `organization.directory.user_deleted` | those in the organization with the person's e-mail address |
/// | `organization.directory.user_updated` with `active: false` | the same |
/// | `user.organization_membership_deleted` | the user's in that organization |
/// | `organization.deleted` | all in the organization |
/// | `organization.directory_disabled` | all in the organization, if [asked for](Self::on_directory_disabled) |
/// | `organization.sso_disabled`, `organization.sso_deleted` | all in the organization, if [asked for](Self::on_sso_disabled) |
///
/// A directory's e-mail address counts in its own organization only, trimmed and in upper or lower
/// case: one customer's directory must not end another's sessions. So a session without an
/// organization, such as that of a login by e-mail, ends by a directory's events only if
/// [asked for](Self::end_sessions_without_organization), and one whose scope has no `email` never. An
/// event that changes the address and disables the user at once names the new address, and the sessions
/// began with the old one.
///
/// [`apply`](Self::apply) therefore returns what it has matched: handle [`Deprovisioned::Unmatched`],
/// for instance by [`Sessions::revoke_email`] or [`Sessions::revoke_user`] with what the app knows of
/// the user. It is logged and counted. Users who were never logged in are unmatched, too.
///
/// Sessions are ended in this app only, as by [`Sessions::revoke_session`]: whether the person gets in
/// again is for the environment and their identity provider to say.
///
/// A logout ends sessions whose login the environment had completed by then, by its own clock: a
/// login after it is left alone. All else ends the sessions that began before the event arrived,
/// because a user who was locked out may have logged in meanwhile. An event that arrives late or
/// twice thus costs a login at worst.
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
///             Err(_) => StatusCode::SERVICE_UNAVAILABLE, // it is sent again
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

/// What a webhook event has ended. Made by [`Deprovisioning::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deprovisioned {
    /// The event ends no sessions.
    NotApplicable,
    /// Such sessions have begun in this app, and are ended.
    Matched(RevokedSessions),
    /// Such sessions are revoked, but none is known to have begun in this app.
    Unmatched(RevokedSessions),
}

/// Whose sessions an event ends.
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
    /// Ends sessions of these.
    pub fn new(sessions: &Sessions) -> Self {
        let sessions = sessions.clone();
        Self {
            sessions,
            on_directory_disabled: false,
            on_sso_disabled: false,
            without_organization: false,
        }
    }

    /// Ends all sessions in an organization also when its directory is switched off: whoever
    /// switches it off may only be about to set up another.
    pub fn on_directory_disabled(mut self) -> Self {
        self.on_directory_disabled = true;
        self
    }

    /// Ends all sessions in an organization also when it no longer logs in through its identity
    /// provider.
    pub fn on_sso_disabled(mut self) -> Self {
        self.on_sso_disabled = true;
        self
    }

    /// Lets a directory's events end sessions without an organization, too, if they have the same e-mail
    /// address: for apps whose users log in by e-mail. Any customer's directory can then end them: this
    /// costs the user a login.
    pub fn end_sessions_without_organization(mut self) -> Self {
        self.without_organization = true;
        self
    }

    /// Ends the sessions that the event names, and returns what it matched.
    ///
    /// # Errors
    /// When the shared store does not take it: the sessions are ended in this process only. Answer
    /// 503, then the event is sent again.
    pub async fn apply(&self, event: &WebhookEvent) -> Result<Deprovisioned, StoreError> {
        let Some(revoked) = self.revoked(event) else { return Ok(Deprovisioned::NotApplicable) };
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

    fn revoked<'a>(&self, event: &'a WebhookEvent) -> Option<Revoked<'a>> {
        let organization = event.organization_id();
        match event.payload() {
            EventPayload::UserLogout(ended) => match &ended.user_session.session_id {
                Some(session) => Some(Revoked::EnvironmentSession(session)),
                None if names_a_session(event) => None,
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

/// Whether it is about one session, though its id may be none that is understood here.
fn names_a_session(event: &WebhookEvent) -> bool {
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
