//! An attempt to log in, kept by the browser while the person is away (L2).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::oauth::{AuthorizationRequest, CodeVerifier};
use crate::return_to::ReturnTo;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::{ATTEMPT_ID_BYTES, Purpose, Sessions};

const LIFETIME: Duration = Duration::minutes(10);
/// In as many tabs a person may be logging in at once.
const MAX_ATTEMPTS: usize = 5;
/// And so large their cookies may be together: with a session's, still within the 8 KB that nginx
/// takes of a header by default.
const MAX_ATTEMPTS_BYTES: usize = 4000;
/// A browser that has more of them to give back is asked again next time.
const MAX_DROPPED: usize = 20;

pub(super) struct Attempt {
    state: SecretString,
    pub(super) nonce: SecretString,
    pub(super) verifier: CodeVerifier,
    pub(super) return_to: ReturnTo,
    /// The person must not be asked anything (`prompt=none`).
    pub(super) silent: bool,
    started_at: OffsetDateTime,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    state: String,
    nonce: String,
    verifier: String,
    return_to: String,
    #[serde(default)]
    silent: bool,
    /// Unix seconds.
    started_at: i64,
}

impl Attempt {
    pub(super) fn start(
        return_to: ReturnTo,
        silent: bool,
        now: OffsetDateTime,
    ) -> Result<Self, RandomSourceFailed> {
        Ok(Self {
            state: SecretString::random::<32>()?,
            nonce: SecretString::random::<32>()?,
            verifier: CodeVerifier::random()?,
            return_to,
            silent,
            started_at: now,
        })
    }

    /// Ties an authorization request to this attempt.
    pub(super) fn tie(&self, request: AuthorizationRequest) -> AuthorizationRequest {
        request.state(self.state.expose()).nonce(self.nonce.expose()).code_challenge(&self.verifier)
    }

    /// `Set-Cookie` values that have the browser keep this attempt and drop those that are too old
    /// or too many.
    pub(super) fn keep(
        &self,
        sessions: &Sessions,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let cookies = sessions.cookies();
        let name = cookies.attempt_name(self.state.expose().get(..ATTEMPT_ID_BYTES)?);
        let content = serde_json::to_vec(&Sealed {
            state: self.state.expose().to_owned(),
            nonce: self.nonce.expose().to_owned(),
            verifier: self.verifier.expose().to_owned(),
            return_to: self.return_to.as_str().to_owned(),
            silent: self.silent,
            started_at: self.started_at.unix_timestamp(),
        });
        let sealed = sessions.keys().seal(Purpose::LoginAttempt, &name, &content.ok()?).ok()?;
        let mut values = vec![cookies.set_attempt(&name, &sealed, LIFETIME)?];

        // The newest first.
        let mut others: Vec<(Option<OffsetDateTime>, &str, usize)> = cookies
            .presented_attempts(headers)
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
        let wanted = cookies.attempt_name(id);
        let mut found = cookies.presented_attempts(headers).filter(|(name, _)| *name == wanted);
        let Some((name, sealed)) = found.next() else { return (None, None) };
        let attempt = Self::open(sessions, name, sealed).filter(|attempt| {
            let same = verify_slices_are_equal(attempt.state.expose().as_bytes(), state.as_bytes());
            same.is_ok() && now < attempt.started_at.saturating_add(LIFETIME)
        });
        (attempt, cookies.removal(name))
    }

    fn open(sessions: &Sessions, name: &str, sealed: &str) -> Option<Self> {
        let unsealed = sessions.keys().open(Purpose::LoginAttempt, name, sealed)?;
        let sealed: Sealed = serde_json::from_slice(&unsealed.content).ok()?;
        Some(Self {
            state: sealed.state.into(),
            nonce: sealed.nonce.into(),
            verifier: SecretString::from(sealed.verifier).into(),
            return_to: ReturnTo::parse(&sealed.return_to)?,
            silent: sealed.silent,
            started_at: OffsetDateTime::from_unix_timestamp(sealed.started_at).ok()?,
        })
    }
}
