//! Creating sessions: from the tokens of a login, or by the app itself.
//!
//! First, the record is [built](super::build_record). A login may have to wait then, until the user
//! confirms it or the app's hook decides, and is checked for revocations since it was verified.
//! Then the session begins: its record is sealed for the cookie, stored, added to the index of its
//! user and marked as begun, and the former session of the browser is ended.

use http::{HeaderMap, HeaderValue, header};

use super::cookie::record::{NewRecordError, SessionRecord, SessionTooLarge};
use super::cookie::seal::SealingFailed;
use super::login_hook::Decision;
use super::store::StoringError;
use super::user_index::{CookieQuota, IndexError};
use super::{HookFailure, LocalSession, LoginDecision, Sessions};
use crate::shared_store::StoreError;
use crate::util::cache_control::{set_no_store, vary_on_cookie};
use crate::util::telemetry;

impl Sessions {
    /// Creates a local session. It replaces the session of the request.
    ///
    /// # Errors
    /// See [`CreateSessionError`].
    pub async fn create(
        &self,
        local: LocalSession,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, CreateSessionError> {
        self.begin(self.build_local_record(local).await?, request_headers).await
    }

    /// Begins the session of a login at the environment, or the session that the app's hook creates
    /// in its place.
    pub(crate) async fn begin_login_session(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginSessionError> {
        // It was verified up to ten minutes ago, if the user or the hook had to be waited for.
        let record = record.touch(self.inner.lifetimes, self.now());
        // Before the hook, which may store that the user has logged in.
        self.reject_revoked(&record).await?;
        let Some(login_hook) = &self.inner.login_hook else {
            return Ok(self.begin(record, request_headers).await?);
        };
        let login = record.verified_login().ok_or(CreateSessionError::InvalidClaims)?;
        let subject = login.identity().user().id.clone();
        let LoginDecision(decision) = login_hook.call(login).await?;
        // The app's own session may have another user ID or organization, by which the revocation
        // does not apply to it.
        self.reject_revoked(&record).await?;
        match decision {
            Decision::Accept { app_claims } => {
                let stored = self.inner.store_backed
                    || self.count_cookie_session(&subject).await == CookieQuota::Exceeded;
                let record =
                    record.accepted(stored, app_claims).map_err(CreateSessionError::from)?;
                Ok(self.begin(record, request_headers).await?)
            }
            Decision::Local(local) => {
                let mut local = local
                    .login_subject(&subject)
                    .revocation_position(record.position())
                    .authentication(record.authentication());
                local.id_token = record.id_token().map(Into::into);
                self.begin_local_session(local, request_headers).await
            }
        }
    }

    /// Begins the app's own session for a verified login, unless it was revoked since.
    pub(crate) async fn begin_local_session(
        &self,
        local: LocalSession,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginSessionError> {
        let record = self.build_local_record(local).await?;
        self.reject_revoked(&record).await?;
        Ok(self.begin(record, request_headers).await?)
    }

    /// Returns an error if the app's own session for a verified login was revoked since.
    pub(crate) async fn reject_revoked_login(
        &self,
        local: LocalSession,
    ) -> Result<(), BeginSessionError> {
        self.reject_revoked(&self.build_local_record(local).await?).await
    }

    /// Begins the session of a record, in place of the session of the request.
    async fn begin(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, CreateSessionError> {
        let (sealed, cookies) = self.seal_new(&record, request_headers)?;
        let session = record.into_session(self).ok_or(CreateSessionError::InvalidClaims)?;
        let replaced = self.session_handle(request_headers).await;
        if session.record().is_stored() {
            self.store_new(session.record()).await?;
            self.remember(&sealed, &session);
            if let Err(error) = self.index(&session, replaced.as_ref().map(|old| &*old.id)).await {
                if matches!(error, IndexError::Contended) {
                    // It would be missing from the index of its user.
                    self.end_stored(session.record().id()).await?;
                    return Err(StoreError::Unavailable(error.into()).into());
                }
                // A session that is missing from the index is better than no session.
                telemetry::internal_error("session_index", &error);
            }
        }
        self.add_markers(&session).await;
        // A late response for the replaced session must not restore it.
        if let Some(replaced) = replaced
            && let Err(error) = self.end(&replaced).await
        {
            telemetry::internal_error("login", &error);
        }
        Ok(cookies)
    }
}

/// `Set-Cookie` headers that begin a session, and that remove cookies of logins that have ended. Add
/// them to the response; in axum they are a response part.
#[derive(Clone)]
#[must_use = "the cookies have no effect until they are in the response"]
pub struct SessionCookies(Vec<HeaderValue>);

impl SessionCookies {
    /// Adds the cookies to a response. Also forbids caching and referrers.
    pub fn set(self, response: &mut HeaderMap) {
        for cookie in self.0 {
            response.append(header::SET_COOKIE, cookie);
        }
        set_no_store(response);
        vary_on_cookie(response);
        response.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }

    pub(crate) fn new(values: impl IntoIterator<Item = HeaderValue>) -> Self {
        Self(values.into_iter().collect())
    }

    pub(crate) fn into_values(self) -> Vec<HeaderValue> {
        self.0
    }

    /// Returns the values as text, for the same request on another replica.
    pub(crate) fn to_texts(&self) -> Vec<&str> {
        self.0.iter().filter_map(|value| value.to_str().ok()).collect()
    }

    pub(crate) fn from_texts(values: Vec<String>) -> Option<Self> {
        values.into_iter().map(|value| value.try_into().ok()).collect::<Option<_>>().map(Self)
    }
}

impl std::fmt::Debug for SessionCookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionCookies([redacted])")
    }
}

/// Returned when a login at the environment began no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginSessionError {
    #[error(transparent)]
    Create(#[from] CreateSessionError),
    #[error(transparent)]
    Hook(#[from] HookFailure),
    #[error("the login was revoked since it was verified")]
    Revoked,
}

/// Returned when a session could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateSessionError {
    /// The claims that the app added have more than 2,048 bytes as JSON.
    #[error("the app's own claims of the session have more than 2,048 bytes as JSON")]
    AppClaimsTooLarge,
    /// The claims of the session, or its ID token, are malformed.
    #[error("the session's claims or its ID token are malformed")]
    InvalidClaims,
    /// The session's user has no ID.
    #[error("the session's user has no id")]
    NoUserId,
    /// The system's random source or the cipher failed; neither happens in practice.
    #[error("the session could not be sealed")]
    NotSealed,
    /// The shared store failed, which keeps the session, or has not been reached since the process
    /// started, so that the session has no place among the revocations.
    #[error("the session could not be stored: {0}")]
    Store(#[from] StoreError),
    /// The session does not fit into the cookies that browsers and proxies accept.
    #[error(
        "the session is too large for cookies: reduce the claims that the dashboard adds to \
         tokens, or keep sessions in the shared store (SessionsBuilder::store_backed)"
    )]
    TooLarge,
}

impl From<NewRecordError> for CreateSessionError {
    fn from(error: NewRecordError) -> Self {
        match error {
            NewRecordError::AppClaimsTooLarge => Self::AppClaimsTooLarge,
            NewRecordError::InvalidClaims => Self::InvalidClaims,
            NewRecordError::RandomSourceFailed => Self::NotSealed,
        }
    }
}

impl From<SealingFailed> for CreateSessionError {
    fn from(_: SealingFailed) -> Self {
        Self::NotSealed
    }
}

impl From<SessionTooLarge> for CreateSessionError {
    fn from(_: SessionTooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<StoringError> for CreateSessionError {
    fn from(error: StoringError) -> Self {
        match error {
            StoringError::Sealing(error) => error.into(),
            StoringError::Store(error) => error.into(),
        }
    }
}
