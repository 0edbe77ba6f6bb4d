//! How a session begins: with the tokens of a login, or on the app's own word.

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use time::Duration;

use super::active::IndexError;
use super::cookie::record::{SessionRecord, SessionTooLarge};
use super::cookie::seal::SealingFailed;
use super::store::StoringError;
use super::{Lifetimes, LoginHookError, NewSession, NewTokens, RecordedPosition, Sessions, User};
use crate::oauth::IdTokenHint;
use crate::shared_store::StoreError;
use crate::util::cache_control::{never_cache, vary_on_cookie};
use crate::util::telemetry;

/// A session that the app vouches for itself: after a passwordless login, single sign-on for users
/// of its own, or any other way of knowing who it is.
///
/// The same layer, extractors and logout serve it. It has no tokens, so it ends at its own limits.
/// It is kept in the shared store, because nothing else could end a copy of its cookie after a
/// restart; without a [shared store](super::SessionsBuilder::shared_store) it ends with the process.
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
/// // In a handler that has just made sure who it is; `request_headers` are the request's.
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
#[derive(Clone, Debug)]
#[must_use]
pub struct LocalSession {
    user: User,
    claims: Map<String, Value>,
    lifetime: Option<std::time::Duration>,
    in_cookie: bool,
    id_token: Option<IdTokenHint>,
    login_subject: Option<String>,
    /// What had been revoked when its login was verified; unset for a session that begins now.
    position: Option<RecordedPosition>,
}

impl LocalSession {
    /// A session of this person; `user.id` becomes the principal's subject.
    pub fn new(user: User) -> Self {
        let claims = Map::from_iter([("sub".to_owned(), user.id.as_str().into())]);
        Self {
            user,
            claims,
            lifetime: None,
            in_cookie: false,
            id_token: None,
            login_subject: None,
            position: None,
        }
    }

    /// The organization that the person acts in.
    pub fn organization_id(self, id: impl Into<String>) -> Self {
        self.claim("oid", id.into().into())
    }

    /// The environment's session that it came of (`ses_…`): a logout or revocation there, once this
    /// app is told of it, ends it here.
    pub fn session_id(self, id: impl Into<String>) -> Self {
        self.claim("sid", id.into().into())
    }

    /// When the environment issued the tokens of the login that it came of.
    pub(super) fn issued_at(self, seconds: Value) -> Self {
        self.claim("iat", seconds)
    }

    /// The person's roles.
    pub fn roles(self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.claim("roles", roles.into_iter().map(Into::into).collect())
    }

    /// The person's permissions, as `resource:action`.
    pub fn permissions(self, permissions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.claim("permissions", permissions.into_iter().map(Into::into).collect())
    }

    /// The longest that it lasts, if that is less than
    /// [`SessionsBuilder::absolute_lifetime`](super::SessionsBuilder::absolute_lifetime).
    pub fn lifetime(mut self, lifetime: std::time::Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Keeps the whole session in the cookie, so that no request reads the shared store. A copy of
    /// the cookie is then good for as long as the session may last, once the replicas have
    /// forgotten that it was ended: without a shared store at their next restart.
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

    /// Orders the session and revocations by when its login was verified.
    pub(crate) fn verified_at(mut self, position: RecordedPosition) -> Self {
        self.position = Some(position);
        self
    }

    fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }
}

impl Sessions {
    /// Begins a session on the app's own word, in place of the one that the request came with.
    ///
    /// # Errors
    /// See [`CreateSessionError`].
    pub async fn create(
        &self,
        local: LocalSession,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, CreateSessionError> {
        let record = self.local_record(local).await?;
        self.begin_record(record, request_headers).await
    }

    /// Begins the app's own session of a verified login, unless it was revoked since.
    pub(crate) async fn begin_verified(
        &self,
        local: LocalSession,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginLoginError> {
        let record = self.local_record(local).await?;
        self.begin_unrevoked(record, request_headers).await
    }

    async fn local_record(&self, local: LocalSession) -> Result<SessionRecord, CreateSessionError> {
        let LocalSession { user, claims, lifetime, in_cookie, id_token, login_subject, position } =
            local;
        if user.id.is_empty() {
            return Err(CreateSessionError::NoUserId);
        }
        let lifetime =
            lifetime.map(|lifetime| Duration::try_from(lifetime).unwrap_or(Duration::MAX));
        let absolute = self.0.lifetimes.absolute;
        let absolute = lifetime.map_or(absolute, |lifetime| absolute.min(lifetime));
        let lifetimes = Lifetimes { absolute, ..self.0.lifetimes };
        let id_token = id_token.map(Into::into);
        let new = NewSession::Local { claims, profile: user.to_claims(), id_token, login_subject };
        Ok(self.record(new, !in_cookie, lifetimes, position).await?)
    }

    /// A session with the tokens of a login, which has not begun yet.
    pub(crate) async fn new_record(
        &self,
        tokens: NewTokens,
        request_headers: &HeaderMap,
    ) -> Result<SessionRecord, CreateSessionError> {
        let new = NewSession::Tokens(tokens);
        let record = self.record(new, self.0.store_backed, self.0.lifetimes, None).await?;
        if self.admission().is_none() {
            // One that does not fit is an error before the user is asked anything.
            let _ = self.seal_new(&record, request_headers)?;
        }
        Ok(record)
    }

    /// Whether a session that has not begun yet was revoked meanwhile.
    pub(crate) async fn is_revoked(&self, record: &SessionRecord) -> bool {
        if let Some(news) = self.0.revocations.news() {
            news.await;
        }
        let session = record.clone().into_session();
        session.is_none_or(|session| self.0.revocations.covers(&session.0.revocable))
    }

    /// Begins the session of a login at the environment, or what the app's hook makes of it.
    pub(crate) async fn begin_login(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginLoginError> {
        let Some(admission) = self.admission() else {
            return self.begin_unrevoked(record, request_headers).await;
        };
        let identity = record.identity().ok_or(SealingFailed)?;
        let subject = identity.user().id.clone();
        let local = admission.ask(identity).await?.login_subject(&subject);
        let mut local = local.verified_at(record.position());
        local.id_token = record.id_token().map(Into::into);
        // The app's own session may have other names.
        if self.is_revoked(&record).await {
            return Err(BeginLoginError::Revoked);
        }
        self.begin_verified(local, request_headers).await
    }

    async fn begin_unrevoked(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, BeginLoginError> {
        if self.is_revoked(&record).await {
            return Err(BeginLoginError::Revoked);
        }
        Ok(self.begin_record(record, request_headers).await?)
    }

    /// What has been revoked so far: a login that is verified now is older than what is revoked
    /// later.
    pub(crate) async fn revocation_position(&self) -> RecordedPosition {
        self.0.revocations.position().await
    }

    async fn record(
        &self,
        new: NewSession,
        stored: bool,
        lifetimes: Lifetimes,
        position: Option<RecordedPosition>,
    ) -> Result<SessionRecord, SealingFailed> {
        let stored = stored || self.has_many_in_cookies(new.user_id()).await;
        let position = match position {
            Some(position) => position,
            None => self.revocation_position().await,
        };
        let now = self.0.scalekit.clock().now();
        SessionRecord::begin(new, stored, lifetimes, position, now).ok_or(SealingFailed)
    }

    /// The text of a new session's cookie, and the `Set-Cookie` values for it.
    fn seal_new(
        &self,
        record: &SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<(String, SessionCookies), CreateSessionError> {
        let now = self.0.scalekit.clock().now();
        let sealed = self.seal(record)?;
        let presented = self.0.cookies.presented(request_headers).cookies();
        let cookies = self.0.cookies.set_session(&sealed, record.remaining(now), presented);
        Ok((sealed, SessionCookies(cookies.ok_or(SessionTooLarge)?)))
    }

    async fn begin_record(
        &self,
        record: SessionRecord,
        request_headers: &HeaderMap,
    ) -> Result<SessionCookies, CreateSessionError> {
        let (sealed, cookies) = self.seal_new(&record, request_headers)?;
        let stored = record.is_stored();
        if stored {
            self.store_new(&record).await?;
        }
        let session = record.into_session().ok_or(SealingFailed)?;
        if stored {
            self.remember(&sealed, &session);
        }
        if stored && let Err(error) = self.index(&session).await {
            if matches!(error, IndexError::Contended) {
                // It would not count among those of its user.
                self.end_stored(session.record().id()).await?;
                return Err(StoreError::Unavailable(error.into()).into());
            }
            // Not found among "my sessions" is better than no session.
            telemetry::internal_error("session_index", &error);
        }
        self.note_login(&session).await;
        // L11: a late response on the session that this one replaces must not bring it back.
        if let Some(old) = self.peek(request_headers).await
            && let Err(error) = self.end(&old).await
        {
            telemetry::internal_error("login", &error);
        }
        Ok(cookies)
    }
}

/// What gives the browser a session, or ends its login: goes out with the response, as a part of it
/// in axum.
#[derive(Clone)]
#[must_use = "the browser has no session until the cookies are in the response"]
pub struct SessionCookies(Vec<HeaderValue>);

impl SessionCookies {
    /// Adds the cookies to a response, and keeps caches and the next site away from it.
    pub fn set(self, response: &mut HeaderMap) {
        for cookie in self.0 {
            response.append(header::SET_COOKIE, cookie);
        }
        never_cache(response);
        vary_on_cookie(response);
        response.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }

    pub(crate) fn new(values: impl IntoIterator<Item = HeaderValue>) -> Self {
        Self(values.into_iter().collect())
    }

    pub(crate) fn into_values(self) -> Vec<HeaderValue> {
        self.0
    }
}

impl std::fmt::Debug for SessionCookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionCookies([redacted])")
    }
}

/// A login at the environment began no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginLoginError {
    #[error(transparent)]
    Begin(#[from] CreateSessionError),
    #[error(transparent)]
    LoginHookError(#[from] LoginHookError),
    #[error("the login was revoked since it was verified")]
    Revoked,
}

impl From<SealingFailed> for BeginLoginError {
    fn from(error: SealingFailed) -> Self {
        CreateSessionError::from(error).into()
    }
}

/// A session could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateSessionError {
    /// A session of no one.
    #[error("the session's user has no id")]
    NoUserId,
    /// The system's random source or the cipher failed, which they do not in practice.
    #[error("the session could not be sealed")]
    NotSealed,
    /// The shared store, which keeps the session, did not take it.
    #[error("the session could not be stored: {0}")]
    Store(#[from] StoreError),
    /// It does not fit into the cookies that browsers and proxies let pass.
    #[error(
        "the session is too large for cookies: reduce the claims that the dashboard adds to \
         tokens, or keep sessions in the shared store (SessionsBuilder::store_backed)"
    )]
    TooLarge,
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
