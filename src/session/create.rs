//! Creating sessions: from the tokens of a login, or by the app itself.
//!
//! The steps: build the record, seal it for the cookie, store it, add it to the index of its user and
//! mark it as begun, end the former session of the browser. A login is also checked for revocations
//! since it was verified.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use time::Duration;

use super::active::{CookieQuota, IndexError};
use super::cookie::record::{NewRecordError, SessionRecord, SessionTooLarge};
use super::cookie::seal::SealingFailed;
use super::login_hook::Decision;
use super::store::StoringError;
use super::{
    Authentication, HookFailure, Lifetimes, LoginDecision, NewSession, NewTokens, Sessions, User,
};
use crate::oauth::IdTokenHint;
use crate::revocation::RecordedPosition;
use crate::shared_store::StoreError;
use crate::util::cache_control::{set_no_store, vary_on_cookie};
use crate::util::telemetry;

/// A session that the app itself creates: after a passwordless login, single sign-on for users of
/// its own, or any other authentication.
///
/// The same layer, extractors and logout apply to it. It has no tokens, so it ends at its own
/// limits. It is kept in the shared store, because otherwise a copy of its cookie could not be
/// revoked after a restart. Without a [shared store](super::SessionsBuilder::shared_store) it ends
/// with the process.
///
/// ```
/// # #[cfg(feature = "sandbox")] {
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::{HeaderMap, Response, header};
/// use tower_scalekit::session::{LocalSession, User};
/// use tower_scalekit::{Sandbox, SessionSecret, Sessions};
///
/// let sessions = Sessions::builder(Sandbox::new().scalekit())
///     .secret(SessionSecret::generate()?)
///     .redirect_uri("https://app.example.com/auth/callback")
///     .build()?;
/// let mut user = User::default();
/// user.id = "usr_1".to_owned();
/// user.email = "jane@acme.test".to_owned();
///
/// // In a handler that has authenticated the user; `request_headers` are the request's.
/// # let request_headers = HeaderMap::new();
/// let cookies = sessions.create(LocalSession::new(user).roles(["admin"]), &request_headers).await?;
/// let mut response = Response::new("Welcome");
/// cookies.set(response.headers_mut()); // with axum: (cookies, "Welcome")
/// assert!(response.headers()[header::SET_COOKIE].to_str()?.starts_with("__Host-scalekit_session="));
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct LocalSession {
    user: User,
    claims: Map<String, Value>,
    app_claims: Map<String, Value>,
    lifetime: Option<std::time::Duration>,
    in_cookie: bool,
    id_token: Option<IdTokenHint>,
    login_subject: Option<String>,
    /// Position of the revocation counter when the login was verified. Unset for a session that
    /// begins now.
    position: Option<RecordedPosition>,
    /// Unset for a user whom the app authenticates itself.
    authentication: Option<Authentication>,
}

// Manual impl: claims may contain e-mail addresses.
impl fmt::Debug for LocalSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSession")
            .field("user", &self.user)
            .field("lifetime", &self.lifetime)
            .field("in_cookie", &self.in_cookie)
            .finish_non_exhaustive()
    }
}

impl LocalSession {
    /// Creates a session for this user. `user.id` becomes the principal's subject.
    pub fn new(user: User) -> Self {
        let claims = Map::from_iter([("sub".to_owned(), user.id.as_str().into())]);
        Self {
            user,
            claims,
            app_claims: Map::new(),
            lifetime: None,
            in_cookie: false,
            id_token: None,
            login_subject: None,
            position: None,
            authentication: None,
        }
    }

    /// Sets the user's organization.
    pub fn organization_id(self, id: impl Into<String>) -> Self {
        self.claim("oid", id.into().into())
    }

    /// Sets the environment's session that it belongs to (`ses_…`). A logout or revocation there
    /// ends this session once the app is notified.
    pub fn session_id(self, id: impl Into<String>) -> Self {
        self.claim("sid", id.into().into())
    }

    /// Sets when the environment issued the tokens of the login.
    pub(super) fn issued_at(self, seconds: Value) -> Self {
        self.claim("iat", seconds)
    }

    /// Sets the user's roles.
    pub fn roles(self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.claim("roles", roles.into_iter().map(Into::into).collect())
    }

    /// Sets the user's permissions, as `resource:action`.
    pub fn permissions(self, permissions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.claim("permissions", permissions.into_iter().map(Into::into).collect())
    }

    /// Adds a claim of the app's own, which [`Session::app_claims`](super::Session::app_claims)
    /// returns. All of them together have at most 2,048 bytes as JSON.
    pub fn app_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.app_claims.insert(name.into(), value.into());
        self
    }

    /// Sets the maximum lifetime, if that is less than
    /// [`SessionsBuilder::absolute_lifetime`](super::SessionsBuilder::absolute_lifetime).
    pub fn lifetime(mut self, lifetime: std::time::Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Keeps the whole session in the cookie, so that no request reads the shared store. A copy of
    /// the cookie then works again once the replicas have dropped the revocation: without a shared
    /// store, after their next restart.
    pub fn in_cookie(mut self) -> Self {
        self.in_cookie = true;
        self
    }

    /// Sets the ID token of the Scalekit login that the session begins with: logout then ends the
    /// session at Scalekit too. A session of
    /// [`on_login`](super::SessionsBuilder::on_login) has it already; after
    /// [`Callback::identify`](crate::auth_routes::Callback::identify) it comes with the identity.
    pub fn id_token_hint(mut self, id_token: IdTokenHint) -> Self {
        self.id_token = Some(id_token);
        self
    }

    /// Sets the subject of the login that the session begins with.
    pub(crate) fn login_subject(mut self, subject: &str) -> Self {
        self.login_subject = Some(subject.to_owned()).filter(|subject| *subject != self.user.id);
        self
    }

    /// Sets the position of the revocation counter at which the login was verified.
    pub(crate) fn revocation_position(mut self, position: RecordedPosition) -> Self {
        self.position = Some(position);
        self
    }

    /// Sets the authentication of the login that the session begins with.
    pub(super) fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }
}

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
        self.create_from_record(self.local_record(local).await?, request_headers).await
    }

    /// Creates the app's own session for a verified login, unless it has been revoked since.
    pub(crate) async fn create_verified(
        &self,
        local: LocalSession,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginLoginError> {
        self.create_unless_revoked(self.local_record(local).await?, request_headers).await
    }

    async fn local_record(&self, local: LocalSession) -> Result<SessionRecord, CreateSessionError> {
        if local.user.id.is_empty() {
            return Err(CreateSessionError::NoUserId);
        }
        let mut lifetimes = self.inner.lifetimes;
        if let Some(lifetime) = local.lifetime {
            let lifetime = Duration::try_from(lifetime).unwrap_or(Duration::MAX);
            lifetimes.absolute = lifetimes.absolute.min(lifetime);
        }
        let new = NewSession::Local {
            claims: local.claims,
            profile: local.user.to_claims(),
            id_token: local.id_token.map(Into::into),
            login_subject: local.login_subject,
        };
        let record = self.build_record(new, !local.in_cookie, lifetimes, local.position).await?;
        let authentication =
            local.authentication.unwrap_or_else(|| Authentication::by_app(self.now()));
        Ok(record.authenticated(authentication).with_app_claims(local.app_claims)?)
    }

    /// Builds the record of a session that has not begun yet, from the tokens of a login.
    pub(crate) async fn record_of_login(
        &self,
        tokens: NewTokens,
        position: RecordedPosition,
        authentication: Authentication,
        request_headers: &HeaderMap,
    ) -> Result<SessionRecord, CreateSessionError> {
        // With a hook, the session counts towards the limit of cookies once the hook has decided.
        let stored = self.inner.store_backed || self.has_login_hook();
        let lifetimes = self.inner.lifetimes;
        let record = self
            .build_record(NewSession::Tokens(tokens), stored, lifetimes, Some(position))
            .await?
            .authenticated(authentication);
        if !self.has_login_hook() {
            // Sealed only to determine whether it fits, before the user is asked to confirm anything.
            drop(self.seal_new(&record, request_headers)?);
        }
        Ok(record)
    }

    /// Whether a session that has not begun yet has been revoked.
    pub(crate) async fn is_record_revoked(&self, record: &SessionRecord) -> bool {
        self.inner.revocations.read_if_stale().await;
        record.principal().is_none_or(|principal| {
            self.inner.revocations.is_revoked(&record.revocable(&principal))
        })
    }

    /// Begins the session of a login at the environment, or the one that the app's hook decides on.
    pub(crate) async fn create_from_login(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginLoginError> {
        // It was verified up to ten minutes ago, if the user or the hook had to be waited for.
        let record = record.touch(self.inner.lifetimes, self.now());
        let Some(login_hook) = &self.inner.login_hook else {
            return self.create_unless_revoked(record, request_headers).await;
        };
        let login = record.verified_login().ok_or(CreateSessionError::InvalidClaims)?;
        let subject = login.identity().user().id.clone();
        let LoginDecision(decision) = login_hook.call(login).await?;
        // The app's own session may have another user ID or organization, by which the revocation
        // does not apply to it.
        if self.is_record_revoked(&record).await {
            return Err(BeginLoginError::Revoked);
        }
        match decision {
            Decision::Accept { app_claims } => {
                let stored = self.inner.store_backed
                    || self.count_cookie_session(&subject).await == CookieQuota::Exceeded;
                let record =
                    record.accepted(stored, app_claims).map_err(CreateSessionError::from)?;
                Ok(self.create_from_record(record, request_headers).await?)
            }
            Decision::Local(local) => {
                let mut local = local
                    .login_subject(&subject)
                    .revocation_position(record.position())
                    .authentication(record.authentication());
                local.id_token = record.id_token().map(Into::into);
                self.create_verified(local, request_headers).await
            }
        }
    }

    /// Creates the session, unless it was revoked since the login was verified.
    async fn create_unless_revoked(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginLoginError> {
        if self.is_record_revoked(&record).await {
            return Err(BeginLoginError::Revoked);
        }
        Ok(self.create_from_record(record, request_headers).await?)
    }

    /// Returns the current revocation position. Read before a login is verified at the environment, so
    /// that revocations during the verification apply to it.
    ///
    /// # Errors
    /// Returned when the store has been unavailable since this process started: other replicas would
    /// end the session at once if its user was ever revoked.
    pub(crate) async fn revocation_position(&self) -> Result<RecordedPosition, StoreError> {
        self.inner.revocations.position().await
    }

    async fn build_record(
        &self,
        new: NewSession,
        stored: bool,
        lifetimes: Lifetimes,
        position: Option<RecordedPosition>,
    ) -> Result<SessionRecord, CreateSessionError> {
        let stored =
            stored || self.count_cookie_session(new.user_id()).await == CookieQuota::Exceeded;
        let position = match position {
            Some(position) => position,
            None => self.revocation_position().await?,
        };
        Ok(SessionRecord::begin(new, stored, lifetimes, position, self.now())?)
    }

    /// Returns the value of a new session's cookie, and the `Set-Cookie` headers for it.
    fn seal_new(
        &self,
        record: &SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<(String, SessionCookies), CreateSessionError> {
        let sealed = self.seal(record)?;
        let sent = self.cookies().read(request_headers).sent();
        let cookies = self
            .cookies()
            .set_session(&sealed, record.remaining(self.now()), sent)
            .ok_or(SessionTooLarge)?;
        Ok((sealed, SessionCookies(cookies)))
    }

    async fn create_from_record(
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
pub(crate) enum BeginLoginError {
    #[error(transparent)]
    Begin(#[from] CreateSessionError),
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
