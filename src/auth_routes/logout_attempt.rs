//! A logout, stored in a cookie while the browser is at the environment.

use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::short_lived_cookies::{decode_time, encode_time};
use crate::session::{SHORT_LIVED_ID_BYTES, ShortLivedCookie, ShortLivedCookieKind};

const LIFETIME: Duration = Duration::minutes(10);

pub(super) struct LogoutAttempt {
    state: SecretString,
    began_at: OffsetDateTime,
}

impl LogoutAttempt {
    pub(super) fn start(now: OffsetDateTime) -> Result<Self, RandomSourceFailed> {
        Ok(Self { state: SecretString::random::<32>()?, began_at: now })
    }

    pub(super) fn state(&self) -> &str {
        self.state.expose()
    }
}

impl ShortLivedCookie for LogoutAttempt {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::Logout;

    fn id(&self) -> Option<String> {
        self.state().get(..SHORT_LIVED_ID_BYTES).map(str::to_owned)
    }

    fn stored_at(&self) -> OffsetDateTime {
        self.began_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.began_at.saturating_add(LIFETIME)
    }

    /// `start, Unix seconds ‖ state`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new([&encode_time(self.began_at)[..], self.state().as_bytes()].concat()))
    }

    fn decode(_: &str, content: &[u8]) -> Option<Self> {
        let (began_at, state) = decode_time(content)?;
        Some(Self { state: std::str::from_utf8(state).ok()?.into(), began_at })
    }
}
