//! A login attempt, stored in a cookie while the browser is at the environment.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Request};
use time::{Duration, OffsetDateTime};
use url::Url;
use zeroize::Zeroizing;

use crate::clock::REPLICA_SKEW;
use crate::oauth::{AuthorizationRequest, CodeVerifier};
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::origins::AppOrigin;
use crate::session::short_lived_cookies::{decode_time, encode_time};
use crate::session::{
    SHORT_LIVED_ID_BYTES, Sessions, ShortLivedCookie, ShortLivedCookieKind, SingleUse,
};
use crate::shared_store::KeyNamespace;
use crate::util::return_to::ReturnTo;
use crate::util::shared_results::DedupKey;

const LIFETIME: Duration = Duration::minutes(10);

#[derive(Clone)]
pub(super) struct LoginAttempt {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    /// The origin where it began; `None` for the canonical one.
    origin: Option<String>,
    pub(super) return_to: ReturnTo,
    pub(super) trigger: LoginTrigger,
    pub(super) began_at: OffsetDateTime,
}

/// What started a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LoginTrigger {
    /// The user.
    User = 0,
    /// The app, without interaction (`prompt=none`).
    PromptNone = 1,
    /// An identity provider's portal.
    IdpInitiated = 2,
    /// The app or the user, with credentials required again (`prompt=login`).
    PromptLogin = 3,
}

impl LoginTrigger {
    fn decode(byte: u8) -> Self {
        match byte {
            1 => Self::PromptNone,
            2 => Self::IdpInitiated,
            3 => Self::PromptLogin,
            _ => Self::User,
        }
    }
}

/// `state`, `nonce` and the code verifier are derived from it, so that the cookie is small.
const SEED_BYTES: usize = 32;

impl LoginAttempt {
    pub(super) fn start(
        origin: Option<String>,
        return_to: ReturnTo,
        trigger: LoginTrigger,
        now: OffsetDateTime,
    ) -> Result<Self, RandomSourceFailed> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        rand::fill(seed.as_mut_slice()).map_err(|_| RandomSourceFailed)?;
        Ok(Self { seed, origin, return_to, trigger, began_at: now })
    }

    /// Returns the origin where it began, unless the app no longer has it.
    pub(super) fn origin<'s>(&self, sessions: &'s Sessions) -> Option<&'s AppOrigin> {
        sessions.origins().by_id(self.origin.as_deref())
    }

    pub(super) fn state(&self) -> SecretString {
        self.derive(b"state")
    }

    pub(super) fn nonce(&self) -> SecretString {
        self.derive(b"nonce")
    }

    pub(super) fn verifier(&self) -> CodeVerifier {
        self.derive(b"code verifier").into()
    }

    /// Derives 256 bits that reveal nothing of the other derived values.
    fn derive(&self, namespace: &[u8]) -> SecretString {
        URL_SAFE_NO_PAD
            .encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.seed.as_slice()), namespace))
            .into()
    }

    /// Adds `state`, `nonce` and PKCE challenge of this attempt to an authorization request.
    pub(super) fn apply_to(&self, request: AuthorizationRequest) -> AuthorizationRequest {
        request
            .state(self.state().expose())
            .nonce(self.nonce().expose())
            .code_challenge(&self.verifier())
    }

    /// Returns the attempt that a callback's `state` belongs to, if this browser made it, it has not
    /// expired, and the request does not name another host of the app; and the `Set-Cookie` value
    /// that removes the cookie named by the first characters of `state`, if the request has one.
    pub(super) fn find(
        sessions: &Sessions,
        request: &Request<()>,
        state: &str,
    ) -> (Option<Self>, Option<HeaderValue>) {
        let (attempt, removal) = sessions.find_short_lived::<Self>(state, request.headers());
        let attempt = attempt.filter(|attempt| {
            verify_slices_are_equal(attempt.state().expose().as_bytes(), state.as_bytes()).is_ok()
                && attempt.may_end_at(sessions.origins().by_request(request), sessions)
        });
        (attempt, removal)
    }

    /// Whether it began at this origin, or the origin is unknown. Cookies are valid for all ports of
    /// a host.
    fn may_end_at(&self, here: Option<&AppOrigin>, sessions: &Sessions) -> bool {
        self.origin(sessions)
            .is_some_and(|began| here.is_none_or(|here| here.host() == began.host()))
    }

    /// Returns the right to use this attempt once, on all replicas, by the request with this key.
    pub(super) fn single_use<'a>(
        &self,
        sessions: &'a Sessions,
        request: DedupKey,
    ) -> SingleUse<'a> {
        SingleUse {
            sessions,
            key: sessions.store_key(KeyNamespace::LoginAttempt, self.derive(b"used").expose()),
            sealing_name: request.to_text(),
            used_ttl: (self.ends_at() - sessions.now() + REPLICA_SKEW)
                .try_into()
                .unwrap_or_default(),
            end_ttl: (LIFETIME + REPLICA_SKEW).unsigned_abs(),
        }
    }

    /// Identifies the completion of the login by values that only this browser and the environment
    /// know.
    pub(super) fn dedup_key(&self, code: &str, issuer: &str) -> DedupKey {
        DedupKey::new(&["login", self.derive(b"completion").expose(), code, issuer])
    }

    /// Returns how many IdP-initiated logins of this browser that began less than `interval` ago
    /// are pending: a login that returns removes its cookie. One that seems to begin later than
    /// that was written before the clock was set back.
    pub(super) fn idp_initiated_within(
        sessions: &Sessions,
        headers: &HeaderMap,
        interval: Duration,
    ) -> usize {
        let now = sessions.now();
        sessions
            .short_lived::<Self>(headers)
            .filter(|attempt| attempt.trigger == LoginTrigger::IdpInitiated)
            .filter(|attempt| (now - attempt.began_at).abs() < interval)
            .count()
    }
}

impl ShortLivedCookie for LoginAttempt {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::Login;

    fn id(&self) -> Option<String> {
        self.state().expose().get(..SHORT_LIVED_ID_BYTES).map(str::to_owned)
    }

    fn stored_at(&self) -> OffsetDateTime {
        self.began_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.began_at.saturating_add(LIFETIME)
    }

    /// `trigger ‖ start, Unix seconds ‖ seed ‖ origin, unless it is the first ‖ return_to`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let content = [
            &[self.trigger as u8][..],
            &encode_time(self.began_at),
            self.seed.as_slice(),
            self.origin.as_deref().unwrap_or_default().as_bytes(),
            self.return_to.as_str().as_bytes(),
        ];
        Some(Zeroizing::new(content.concat()))
    }

    fn decode(_: &str, content: &[u8]) -> Option<Self> {
        let ([trigger], rest) = content.split_first_chunk()?;
        let (began_at, rest) = decode_time(rest)?;
        let (seed, page) = rest.split_first_chunk()?;
        let page = std::str::from_utf8(page).ok()?;
        let origin = match page.starts_with('/') {
            true => None,
            false => Some(Url::parse(page).ok()?.origin().ascii_serialization()),
        };
        Some(Self {
            seed: Zeroizing::new(*seed),
            return_to: ReturnTo::parse(page.strip_prefix(origin.as_deref().unwrap_or_default())?)?,
            origin,
            trigger: LoginTrigger::decode(*trigger),
            began_at,
        })
    }
}
