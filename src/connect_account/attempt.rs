//! An attempt to connect an account, stored in a cookie while the browser is at the environment.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::SHA256_OUTPUT_LEN;
use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::ConnectAccount;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::short_lived_cookies::{decode_time, encode_time};
use crate::session::{SHORT_LIVED_ID_BYTES, Session, ShortLivedCookie, ShortLivedCookieKind};
use crate::util::hash::hash_parts;

const LIFETIME: Duration = Duration::minutes(10);
/// 32 random bytes in base64url.
const STATE_BYTES: usize = 43;

pub(super) struct ConnectAttempt {
    state: SecretString,
    /// Identifies the user and the account.
    binding: [u8; SHA256_OUTPUT_LEN],
    began_at: OffsetDateTime,
}

impl ConnectAttempt {
    pub(super) fn start(
        connect: &ConnectAccount,
        session: &Session,
        identifier: &str,
        now: OffsetDateTime,
    ) -> Result<Self, RandomSourceFailed> {
        Ok(Self {
            state: SecretString::random::<32>()?,
            binding: binding(connect, session, identifier),
            began_at: now,
        })
    }

    pub(super) fn state(&self) -> &str {
        self.state.expose()
    }

    /// Whether this user began it, for this account.
    pub(super) fn belongs_to(
        &self,
        connect: &ConnectAccount,
        session: &Session,
        identifier: &str,
    ) -> bool {
        verify_slices_are_equal(&binding(connect, session, identifier), &self.binding).is_ok()
    }

    /// Returns the attempt that a callback's `state` belongs to, if this browser made it and it has
    /// not expired, and the `Set-Cookie` value that removes it.
    pub(super) fn find(
        connect: &ConnectAccount,
        headers: &HeaderMap,
        state: &str,
    ) -> (Option<Self>, Option<HeaderValue>) {
        let (attempt, end) = connect.sessions().find_short_lived::<Self>(state, headers);
        let own = attempt.filter(|attempt| {
            verify_slices_are_equal(attempt.state().as_bytes(), state.as_bytes()).is_ok()
        });
        (own, end)
    }
}

impl ShortLivedCookie for ConnectAttempt {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::ConnectAccount;

    fn id(&self) -> Option<String> {
        self.state().get(..SHORT_LIVED_ID_BYTES).map(str::to_owned)
    }

    fn stored_at(&self) -> OffsetDateTime {
        self.began_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.began_at.saturating_add(LIFETIME)
    }

    /// `start, Unix seconds ‖ binding ‖ state`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let began_at = encode_time(self.began_at);
        Some(Zeroizing::new([&began_at[..], &self.binding, self.state().as_bytes()].concat()))
    }

    fn decode(_: &str, content: &[u8]) -> Option<Self> {
        let (began_at, rest) = decode_time(content)?;
        let (binding, state) = rest.split_first_chunk()?;
        let state = std::str::from_utf8(state).ok().filter(|state| state.len() == STATE_BYTES)?;
        Some(Self { state: state.into(), binding: *binding, began_at })
    }
}

fn binding(
    connect: &ConnectAccount,
    session: &Session,
    identifier: &str,
) -> [u8; SHA256_OUTPUT_LEN] {
    let connection = connect.inner.connection_name.as_str();
    hash_parts([connection, session.principal().subject(), identifier])
}
