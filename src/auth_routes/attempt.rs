//! An attempt to log in, kept by the browser while the person is away (L2).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::oauth::{AuthorizationRequest, CodeVerifier};
use crate::return_to::ReturnTo;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::{ATTEMPT_ID_BYTES, AttemptKind, Purpose, Sessions};

const LIFETIME: Duration = Duration::minutes(10);
/// In as many tabs a person may be logging in at once.
const MAX_ATTEMPTS: usize = 5;
/// And so large their cookies may be together: with a session's, still within the 8 KB that nginx
/// takes of a header by default.
const MAX_ATTEMPTS_BYTES: usize = 4000;
/// A browser that has more of them to give back is asked again next time.
const MAX_DROPPED: usize = 20;

pub(super) struct Attempt {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    pub(super) return_to: ReturnTo,
    pub(super) origin: Origin,
    started_at: OffsetDateTime,
}

/// Who wanted a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Origin {
    /// The person.
    Asked = 0,
    /// The app, which must not ask the person anything (`prompt=none`).
    Silent = 1,
    /// An identity provider's portal.
    Launched = 2,
}

impl Origin {
    fn decode(byte: u8) -> Self {
        match byte {
            1 => Self::Silent,
            2 => Self::Launched,
            _ => Self::Asked,
        }
    }
}

/// What `state`, `nonce` and the verifier are derived from, so that the cookie is small.
const SEED_BYTES: usize = 32;

impl Attempt {
    pub(super) fn start(
        return_to: ReturnTo,
        origin: Origin,
        now: OffsetDateTime,
    ) -> Result<Self, RandomSourceFailed> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        rand::fill(seed.as_mut_slice()).map_err(|_| RandomSourceFailed)?;
        Ok(Self { seed, return_to, origin, started_at: now })
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

    /// 256 bits that tell nothing of the others.
    fn derive(&self, purpose: &[u8]) -> SecretString {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.seed.as_slice());
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, purpose)).into()
    }

    /// `origin ‖ start, Unix seconds ‖ seed ‖ return_to`
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let origin = [self.origin as u8];
        let started_at = self.started_at.unix_timestamp().to_be_bytes();
        let return_to = self.return_to.as_str().as_bytes();
        Zeroizing::new([&origin[..], &started_at, self.seed.as_slice(), return_to].concat())
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let ([origin], rest) = content.split_first_chunk()?;
        let (started_at, rest) = rest.split_first_chunk()?;
        let (seed, return_to) = rest.split_first_chunk()?;
        Some(Self {
            seed: Zeroizing::new(*seed),
            return_to: ReturnTo::parse(std::str::from_utf8(return_to).ok()?)?,
            origin: Origin::decode(*origin),
            started_at: OffsetDateTime::from_unix_timestamp(i64::from_be_bytes(*started_at))
                .ok()?,
        })
    }

    /// Ties an authorization request to this attempt.
    pub(super) fn tie(&self, request: AuthorizationRequest) -> AuthorizationRequest {
        let (state, nonce) = (self.state(), self.nonce());
        request.state(state.expose()).nonce(nonce.expose()).code_challenge(&self.verifier())
    }

    /// `Set-Cookie` values that have the browser keep this attempt and drop those that are too old
    /// or too many.
    pub(super) fn keep(
        &self,
        sessions: &Sessions,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let cookies = sessions.cookies();
        let name = cookies
            .attempt_name(AttemptKind::Login, self.state().expose().get(..ATTEMPT_ID_BYTES)?);
        let sealed = sessions.keys().seal(Purpose::LoginAttempt, &name, &self.encode()).ok()?;
        let mut values = vec![cookies.set_attempt(&name, &sealed, LIFETIME)?];

        // The newest first.
        let mut others: Vec<(Option<OffsetDateTime>, &str, usize)> = cookies
            .presented_attempts(AttemptKind::Login, headers)
            .map(|(name, sealed)| {
                let attempt = Self::open(sessions, name, sealed);
                (attempt.map(|attempt| attempt.started_at), name, name.len() + sealed.len())
            })
            .collect();
        others.sort_unstable_by(|one, two| two.cmp(one));
        let mut total = name.len() + sealed.len();
        let dropped = others.iter().enumerate().filter(|(index, (started_at, _, bytes))| {
            total += bytes;
            *index >= MAX_ATTEMPTS - 1
                || total > MAX_ATTEMPTS_BYTES
                || !started_at.is_some_and(|start| self.started_at < start + LIFETIME)
        });
        let removals =
            dropped.take(MAX_DROPPED).filter_map(|(_, (_, name, _))| cookies.removal(name));
        values.extend(removals);
        Some(values)
    }

    /// The attempt that a callback's `state` belongs to, if this browser made it and it is not too
    /// old, and the `Set-Cookie` value that ends it.
    pub(super) fn find(
        sessions: &Sessions,
        headers: &HeaderMap,
        state: &str,
        now: OffsetDateTime,
    ) -> (Option<Self>, Option<HeaderValue>) {
        let Some(id) = state.get(..ATTEMPT_ID_BYTES) else { return (None, None) };
        let cookies = sessions.cookies();
        let wanted = cookies.attempt_name(AttemptKind::Login, id);
        let mut found = cookies
            .presented_attempts(AttemptKind::Login, headers)
            .filter(|(name, _)| *name == wanted);
        let Some((name, sealed)) = found.next() else { return (None, None) };
        let attempt = Self::open(sessions, name, sealed).filter(|attempt| {
            let own = attempt.state();
            let same = verify_slices_are_equal(own.expose().as_bytes(), state.as_bytes());
            same.is_ok() && now < attempt.started_at.saturating_add(LIFETIME)
        });
        (attempt, cookies.removal(name))
    }

    /// How many launches from identity providers' portals this browser is still busy with that began
    /// after `since`: each that ended in a login has taken its cookie away.
    pub(super) fn launched_since(
        sessions: &Sessions,
        headers: &HeaderMap,
        since: OffsetDateTime,
    ) -> usize {
        let presented = sessions.cookies().presented_attempts(AttemptKind::Login, headers);
        presented
            .filter_map(|(name, sealed)| Self::open(sessions, name, sealed))
            .filter(|attempt| attempt.origin == Origin::Launched && attempt.started_at > since)
            .count()
    }

    fn open(sessions: &Sessions, name: &str, sealed: &str) -> Option<Self> {
        let unsealed = sessions.keys().open(Purpose::LoginAttempt, name, sealed)?;
        Self::decode(&unsealed.content)
    }
}
