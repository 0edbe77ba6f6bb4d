use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::Sessions;
use super::directory_users::{DirectoryEvent, KnownUser};
use crate::revocation::RevocationTarget;
use crate::shared_store::StoreError;
use crate::util::telemetry;
use crate::webhook::{DirectoryUserData, EventPayload, WebhookEvent};

/// The time limit of the app's hook.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Ends the sessions of users who are deprovisioned, from webhook events. With a
/// [shared store](super::SessionsBuilder::shared_store) they end on every replica within two
/// seconds; without one, in this process only, and until it restarts.
///
/// | event | whose sessions end |
/// |---|---|
/// | `user.logout` | that session's; without its id, the user's |
/// | `organization.directory.user_deleted` | those in the organization with an e-mail address of the user, or with the user's ID at the identity provider; all in the organization of users who have had such a session within 400 days |
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
/// do. The ID at the identity provider (`dp_id`) matches sessions of modular single sign-on, whose
/// subject contains it.
///
/// A user who was renamed may have sessions with an earlier address. Therefore
/// [`apply`](Self::apply) records, as hashes in the shared store, up to sixteen addresses per
/// directory user, for 400 days after the latest event: pass it all events of directory users, also
/// of those who are active. Addresses from before the first event are unknown; a metric counts users
/// whose first event is no `organization.directory.user_created`. An event that occurred before a
/// user was deprovisioned and arrives later ends sessions, too. If an address is passed on to another
/// user of the organization, the deprovisioning of one costs the other a login.
///
/// Bearer tokens of these users are rejected with
/// [`RequireToken::reject_revoked`](crate::RequireToken::reject_revoked), also if they have no e-mail
/// address. Of a user who has had no session in this app, only those with the claims `email` and `oid`
/// are.
///
/// [`apply`](Self::apply) returns what it matched. Handle events without a match in
/// [`on_unmatched`](Self::on_unmatched), for instance by [`Sessions::revoke_email`] or
/// [`Sessions::revoke_user`] with the app's own record of the user. They are logged and counted.
/// Users who never logged in are unmatched, too.
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
    on_unmatched: Option<Arc<UnmatchedHook>>,
}

type UnmatchedHook =
    dyn Fn(WebhookEvent) -> BoxFuture<'static, Result<(), DeprovisioningError>> + Send + Sync;

/// The effect of a webhook event. Returned by [`Deprovisioning::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deprovisioned {
    /// The event ends no sessions.
    NotApplicable,
    /// Matching sessions have begun in this app, and are ended.
    Matched(RevocationScope),
    /// Matching sessions are revoked, but none is known to have begun in this app. Or the event does
    /// not name the sessions, for instance because it is not [complete](WebhookEvent::is_complete):
    /// none is revoked.
    Unmatched(RevocationScope),
}

/// The sessions that an event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationScope {
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
        Self {
            sessions: sessions.clone(),
            on_directory_disabled: false,
            on_sso_disabled: false,
            without_organization: false,
            on_unmatched: None,
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

    /// Calls `hook` with each event that should end sessions and matches none, for apps that know
    /// their users by other names. Its errors make [`apply`](Self::apply) fail, as does a hook that
    /// takes longer than thirty seconds. Default: the event is logged and counted only.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::session::Deprovisioning;
    /// # use tower_scalekit::webhook::EventPayload;
    /// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example/auth/callback")
    /// #     .build()?;
    /// # async fn user_of(employee_id: &str) -> Result<String, std::io::Error> { Ok(employee_id.into()) }
    /// let hook_sessions = sessions.clone();
    /// let deprovisioning = Deprovisioning::new(&sessions).on_unmatched(move |event| {
    ///     let sessions = hook_sessions.clone();
    ///     async move {
    ///         if let EventPayload::DirectoryUserDeleted(user) = event.payload()
    ///             && let Some(id) = &user.employee_id
    ///         {
    ///             sessions.revoke_user(&user_of(id).await?).await?;
    ///         }
    ///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    ///     }
    /// });
    /// # let _ = deprovisioning;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_unmatched<F, Fut, E>(mut self, hook: F) -> Self
    where
        F: Fn(WebhookEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.on_unmatched = Some(Arc::new(move |event| {
            let called = tokio::time::timeout(HOOK_TIMEOUT, hook(event));
            Box::pin(async move {
                called
                    .await
                    .map_err(|late| DeprovisioningError::Hook(late.into()))?
                    .map_err(|error| DeprovisioningError::Hook(error.into()))
            })
        }));
        self
    }

    /// Ends the sessions that match the event, and returns what it matched.
    ///
    /// # Errors
    /// Returned when the shared store fails: the sessions that the event names are ended in this
    /// process only. Or when the hook for unmatched events fails. Respond with 503, so that Scalekit
    /// sends the event again.
    pub async fn apply(&self, event: &WebhookEvent) -> Result<Deprovisioned, DeprovisioningError> {
        let applied = self.end_sessions(event).await?;
        if let (Deprovisioned::Unmatched(_), Some(hook)) = (applied, &self.on_unmatched) {
            hook(event.clone()).await?;
        }
        Ok(applied)
    }

    async fn end_sessions(&self, event: &WebhookEvent) -> Result<Deprovisioned, StoreError> {
        let mut targets = self.targets(event);
        let mut whose = self.revokes(event, &targets);
        let is_active = match event.payload() {
            _ if whose.is_some() => Some(false),
            EventPayload::DirectoryUserCreated(user) if user.active != Some(false) => Some(true),
            EventPayload::DirectoryUserUpdated(user) => user.active,
            _ => None,
        };
        let known = self.known_user(event, &targets, is_active).await;
        if let Ok(Some(user)) = &known {
            targets = user.targets.iter().copied().map(RevocationTarget::Recorded).collect();
            whose = whose.or_else(|| user.has_ended.then_some(RevocationScope::User));
        }
        let result = known.map(drop);
        let Some(whose) = whose else {
            return result.map(|()| Deprovisioned::NotApplicable);
        };
        let ended = match (event.payload(), event.occurred_at()) {
            (EventPayload::UserLogout(_), Some(at)) => match targets[..] {
                [target] => self.sessions.revoke_ended_at(at, target).await,
                _ => Ok(()),
            },
            _ => self.sessions.revoke_with_users(&targets).await.map(|users| targets.extend(users)),
        };
        result.and(ended)?;
        let mut is_matched = false;
        for target in targets {
            is_matched = is_matched || self.sessions.has_marker(target).await?;
        }
        telemetry::deprovisioned(event.event_type(), is_matched);
        Ok(match is_matched {
            true => Deprovisioned::Matched(whose),
            false => Deprovisioned::Unmatched(whose),
        })
    }

    /// Records an event of a directory user. Returns all that is known about the user, or `None` if
    /// the event is about none.
    async fn known_user(
        &self,
        event: &WebhookEvent,
        targets: &[RevocationTarget<'_>],
        is_active: Option<bool>,
    ) -> Result<Option<KnownUser>, StoreError> {
        let (Some(organization), Some(user_id)) =
            (event.organization_id(), directory_user(event).and_then(|user| user.id.as_deref()))
        else {
            return Ok(None);
        };
        let event = DirectoryEvent { event, organization, user_id, targets, is_active };
        self.sessions.record_directory_user(&event).await.map(Some)
    }

    /// Returns whose sessions the event ends, whatever targets it has.
    fn revokes(
        &self,
        event: &WebhookEvent,
        targets: &[RevocationTarget<'_>],
    ) -> Option<RevocationScope> {
        match event.payload() {
            EventPayload::UserLogout(_) => Some(match targets {
                [RevocationTarget::User(_)] => RevocationScope::User,
                _ => RevocationScope::Session,
            }),
            EventPayload::DirectoryUserUpdated(user) if user.active != Some(false) => None,
            EventPayload::DirectoryUserDeleted(_)
            | EventPayload::DirectoryUserUpdated(_)
            | EventPayload::UserOrganizationMembershipDeleted(_) => Some(RevocationScope::User),
            EventPayload::OrganizationDeleted(_) => Some(RevocationScope::Organization),
            EventPayload::DirectoryDisabled(_) if self.on_directory_disabled => {
                Some(RevocationScope::Organization)
            }
            EventPayload::SsoDisabled(_) | EventPayload::SsoDeleted(_) if self.on_sso_disabled => {
                Some(RevocationScope::Organization)
            }
            _ => None,
        }
    }

    /// Returns the targets of the sessions that the event is about, whether it ends them or not.
    fn targets<'a>(&self, event: &'a WebhookEvent) -> Vec<RevocationTarget<'a>> {
        let organization = event.organization_id();
        if let Some(user) = directory_user(event) {
            let email = user.email.as_deref();
            return [
                organization
                    .zip(email)
                    .map(|(id, email)| RevocationTarget::OrganizationEmail(id, email)),
                organization
                    .zip(user.dp_id.as_deref())
                    .map(|(id, user)| RevocationTarget::OrganizationIdpUser(id, user)),
                email.filter(|_| self.without_organization).map(RevocationTarget::Email),
            ]
            .into_iter()
            .flatten()
            .collect();
        }
        let target = match event.payload() {
            EventPayload::UserLogout(ended) => match &ended.user_session.session_id {
                Some(session) => Some(RevocationTarget::EnvironmentSession(session)),
                None if has_session_id(event) => None,
                None => ended
                    .user
                    .id
                    .as_deref()
                    .or(ended.user_session.user_id.as_deref())
                    .map(RevocationTarget::User),
            },
            EventPayload::UserOrganizationMembershipDeleted(membership) => organization
                .zip(membership.user.id.as_deref())
                .map(|(id, user)| RevocationTarget::OrganizationUser(id, user)),
            _ => organization.map(RevocationTarget::Organization),
        };
        target.into_iter().collect()
    }
}

/// Returns the user that an event of a directory is about.
fn directory_user(event: &WebhookEvent) -> Option<&DirectoryUserData> {
    match event.payload() {
        EventPayload::DirectoryUserCreated(user)
        | EventPayload::DirectoryUserDeleted(user)
        | EventPayload::DirectoryUserUpdated(user) => Some(user),
        _ => None,
    }
}

/// Whether the event is about one session, even if its ID is not understood here.
fn has_session_id(event: &WebhookEvent) -> bool {
    event
        .raw()
        .get("data")
        .and_then(|data| data.pointer("/user_session/session_id"))
        .is_some_and(|id| !id.is_null() && id != "")
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

/// Returned when an event could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeprovisioningError {
    /// The app's hook for unmatched events failed.
    #[error("the hook for unmatched events failed: {0}")]
    Hook(#[source] Box<dyn StdError + Send + Sync>),
    /// The shared store failed: the sessions are ended in this process only.
    #[error(transparent)]
    Store(#[from] StoreError),
}
