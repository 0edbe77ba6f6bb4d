//! The record of a new session: from the tokens of a login, or for a session that the app creates.

use http::HeaderMap;
use time::Duration;

use super::cookie::record::SessionRecord;
use super::user_index::CookieQuota;
use super::{
    Authentication, CreateSessionError, Lifetimes, LocalSession, NewSession, NewTokens, Sessions,
};
use crate::revocation::RecordedPosition;

impl Sessions {
    /// Builds the record of a local session.
    pub(super) async fn build_local_record(
        &self,
        local: LocalSession,
    ) -> Result<SessionRecord, CreateSessionError> {
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

    /// Builds the record of a session from the tokens of a login.
    pub(crate) async fn build_login_record(
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
        Ok(SessionRecord::new(new, stored, lifetimes, position, self.now())?)
    }
}
