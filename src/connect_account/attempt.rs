//! An attempt to connect an account, kept by the browser while the person is away.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::ConnectAccount;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::{ATTEMPT_ID_BYTES, AttemptKind, Purpose, Session};

const LIFETIME: Duration = Duration::minutes(10);
/// In as many tabs a person may be connecting accounts at once.
const MAX_ATTEMPTS: usize = 5;
/// A browser that has more of them to give back is asked again next time.
const MAX_DROPPED: usize = 20;
/// 32 random bytes in base64url.
const STATE_BYTES: usize = 43;

pub(super) struct Attempt {
    state: SecretString,
    /// Who began it, and for which account.
    whose: [u8; SHA256_OUTPUT_LEN],
    started_at: OffsetDateTime,
}

impl Attempt {
    pub(super) fn start(
        connect: &ConnectAccount,
        session: &Session,
        identifier: &str,
        now: OffsetDateTime,
    ) -> Result<Self, RandomSourceFailed> {
        let state = SecretString::random::<32>()?;
        Ok(Self { state, whose: whose(connect, session, identifier), started_at: now })
    }

    pub(super) fn state(&self) -> &str {
        self.state.expose()
    }

    /// Whether this person began it, for this account.
    pub(super) fn is_of(
        &self,
        connect: &ConnectAccount,
        session: &Session,
        identifier: &str,
    ) -> bool {
        let whose = whose(connect, session, identifier);
        verify_slices_are_equal(&whose, &self.whose).is_ok()
    }

    /// `Set-Cookie` values that have the browser keep this attempt and drop those that are too old
    /// or too many.
    pub(super) fn keep(
        &self,
        connect: &ConnectAccount,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let (cookies, keys) = (connect.0.sessions.cookies(), connect.0.sessions.keys());
        let name = cookies
            .attempt_name(AttemptKind::ConnectAccount, self.state().get(..ATTEMPT_ID_BYTES)?);
        let sealed = keys.seal(Purpose::ConnectAttempt, &name, &self.encode()).ok()?;
        let mut values = vec![cookies.set_attempt(&name, &sealed, LIFETIME)?];

        // The newest first.
        let mut others: Vec<_> = cookies
            .presented_attempts(AttemptKind::ConnectAccount, headers)
            .map(|(name, sealed)| {
                (Self::open(connect, name, sealed).map(|attempt| attempt.started_at), name)
            })
            .collect();
        others.sort_unstable_by(|one, two| two.cmp(one));
        let dropped = others.iter().enumerate().filter(|(index, (started_at, _))| {
            *index >= MAX_ATTEMPTS - 1
                || !started_at.is_some_and(|start| self.started_at < start + LIFETIME)
        });
        values.extend(dropped.take(MAX_DROPPED).filter_map(|(_, (_, name))| cookies.removal(name)));
        Some(values)
    }

    /// The attempt that a return's `state` belongs to, if this browser made it and it is not too
    /// old, and the `Set-Cookie` value that ends it.
    pub(super) fn find(
        connect: &ConnectAccount,
        headers: &HeaderMap,
        state: &str,
        now: OffsetDateTime,
    ) -> (Option<Self>, Option<HeaderValue>) {
        let Some(id) = state.get(..ATTEMPT_ID_BYTES) else { return (None, None) };
        let cookies = connect.0.sessions.cookies();
        let wanted = cookies.attempt_name(AttemptKind::ConnectAccount, id);
        let mut found = cookies
            .presented_attempts(AttemptKind::ConnectAccount, headers)
            .filter(|(name, _)| *name == wanted);
        let Some((name, sealed)) = found.next() else { return (None, None) };
        let attempt = Self::open(connect, name, sealed).filter(|attempt| {
            let same = verify_slices_are_equal(attempt.state().as_bytes(), state.as_bytes());
            same.is_ok() && now < attempt.started_at.saturating_add(LIFETIME)
        });
        (attempt, cookies.removal(name))
    }

    /// `start, Unix seconds ‖ whose ‖ state`
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let started_at = self.started_at.unix_timestamp().to_be_bytes();
        Zeroizing::new([&started_at[..], &self.whose, self.state().as_bytes()].concat())
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let (started_at, rest) = content.split_first_chunk()?;
        let (whose, state) = rest.split_first_chunk()?;
        let state = std::str::from_utf8(state).ok().filter(|state| state.len() == STATE_BYTES)?;
        let started_at = OffsetDateTime::from_unix_timestamp(i64::from_be_bytes(*started_at));
        Some(Self { state: state.into(), whose: *whose, started_at: started_at.ok()? })
    }

    fn open(connect: &ConnectAccount, name: &str, sealed: &str) -> Option<Self> {
        let unsealed = connect.0.sessions.keys().open(Purpose::ConnectAttempt, name, sealed)?;
        Self::decode(&unsealed.content)
    }
}

/// Connection, person and identifier in one value, none of which can run over into the next.
fn whose(connect: &ConnectAccount, session: &Session, identifier: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = digest::Context::new(&SHA256);
    for part in [&connect.0.connection_name, session.principal().subject(), identifier] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut whose = [0; SHA256_OUTPUT_LEN];
    whose.copy_from_slice(hash.finish().as_ref());
    whose
}
