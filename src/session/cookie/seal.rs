//! Sealed values, which browsers and the shared store keep.
//!
//! `base64url(version ‖ key ID ‖ nonce ‖ ciphertext ‖ tag)`. The associated data is the header, the
//! context of the [`Sessions`](crate::session::Sessions), the purpose, and the name of the cookie
//! or value. A value opens only in the context and for the purpose and name that it was sealed for.

use std::{fmt, iter};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::error::{ConfigError, ConfigProblem};
use crate::session_secret::SessionSecret;
use crate::util::hash::hash_parts;

/// Version 1 had no context. It is rejected.
const VERSION: u8 = 2;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN;

/// The purpose of a sealed value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    ConnectAttempt,
    LoginAttempt,
    LogoutAttempt,
    PasswordlessAttempt,
    /// A verified login in the shared store, until the user confirms it, or until the login hook is
    /// available again; or the result of a login, for ten seconds.
    PendingLogin,
    RecentLogin,
    /// A cookie: a session, or the ID of one in the shared store.
    Session,
    /// A session in the shared store. Its value is no valid cookie.
    StoredSession,
    SwitchAttempt,
    /// Tokens of a refresh in the shared store, until they are verified.
    UnverifiedTokens,
}

impl Purpose {
    #[cfg(test)]
    const ALL: [Self; 10] = [
        Self::ConnectAttempt,
        Self::LoginAttempt,
        Self::LogoutAttempt,
        Self::PasswordlessAttempt,
        Self::PendingLogin,
        Self::RecentLogin,
        Self::Session,
        Self::StoredSession,
        Self::SwitchAttempt,
        Self::UnverifiedTokens,
    ];

    fn label(self) -> &'static [u8] {
        match self {
            Self::ConnectAttempt => b"connect attempt",
            Self::LoginAttempt => b"login attempt",
            Self::LogoutAttempt => b"logout attempt",
            Self::PasswordlessAttempt => b"passwordless attempt",
            Self::PendingLogin => b"pending login",
            Self::RecentLogin => b"recent login",
            Self::Session => b"session",
            Self::StoredSession => b"stored session",
            Self::SwitchAttempt => b"switch attempt",
            Self::UnverifiedTokens => b"unverified tokens",
        }
    }
}

/// Identifies the [`Sessions`](crate::session::Sessions) that a value is sealed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct SealingContext {
    /// Sealing costs the same, however much is bound.
    hash: [u8; 32],
}

impl SealingContext {
    /// Binds all of these parts.
    pub(in crate::session) fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self { hash: hash_parts(parts) }
    }
}

/// The newest key seals; all keys open.
pub(crate) struct KeyRing {
    context: SealingContext,
    current: SealingKey,
    previous: Vec<SealingKey>,
}

/// The content of a sealed value.
pub(crate) struct Opened {
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// Sealed with an older key.
    pub(crate) outdated_key: bool,
}

impl KeyRing {
    pub(in crate::session) fn new(
        current: &SessionSecret,
        previous: &[SessionSecret],
        context: SealingContext,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            context,
            previous: previous.iter().map(SealingKey::derive).collect::<Result<_, _>>()?,
            current: SealingKey::derive(current)?,
        })
    }

    /// Seals `content` as the cookie or stored value `name`.
    pub(crate) fn seal(
        &self,
        purpose: Purpose,
        name: &str,
        content: &[u8],
    ) -> Result<String, SealingFailed> {
        let mut header = [VERSION; HEADER_LEN];
        header[1..].copy_from_slice(&self.current.id);
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealingFailed)?;
        let aad = Aad::from(self.associated_data(&header, purpose, name));
        let mut body = content.to_vec();
        self.current
            .key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body)
            .map_err(|_| SealingFailed)?;
        Ok(URL_SAFE_NO_PAD.encode([&header[..], &nonce, &body].concat()))
    }

    /// Opens the cookie or stored value `name`. Returns `None` if it was changed, moved, or sealed
    /// with another key.
    pub(crate) fn open(&self, purpose: Purpose, name: &str, text: &str) -> Option<Opened> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (header, rest) = sealed.split_at_checked(HEADER_LEN)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let (version, key_id) = header.split_first()?;
        if *version != VERSION {
            return None;
        }
        let key = self.keys().find(|key| key.id == key_id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(self.associated_data(header, purpose, name));
        let mut content = Zeroizing::new(body.to_vec());
        let length = key.key.open_in_place(nonce, aad, &mut content).ok()?.len();
        content.truncate(length);
        Some(Opened { content, outdated_key: key.id != self.current.id })
    }

    /// Whether one of the keys may have sealed a value that begins like this.
    pub(in crate::session) fn may_open(&self, text: &str) -> bool {
        // Eight characters are six bytes.
        let start = text.get(..8).and_then(|start| URL_SAFE_NO_PAD.decode(start).ok());
        let Some((&VERSION, rest)) = start.as_deref().and_then(<[u8]>::split_first) else {
            return false;
        };
        self.keys().any(|key| rest.starts_with(&key.id))
    }

    /// Whether one of them opens what the other one seals.
    pub(in crate::session) fn has_common_key(&self, other: &Self) -> bool {
        self.context == other.context
            && (self.keys().any(|key| key.id == other.current.id)
                || other.keys().any(|key| key.id == self.current.id))
    }

    /// Returns the keys that open, the newest first.
    fn keys(&self) -> impl Iterator<Item = &SealingKey> {
        iter::once(&self.current).chain(&self.previous)
    }

    fn associated_data(&self, header: &[u8], purpose: Purpose, name: &str) -> Vec<u8> {
        [header, &self.context.hash, purpose.label(), b"\0", name.as_bytes()].concat()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("previous", &self.previous.len()).finish_non_exhaustive()
    }
}

struct SealingKey {
    /// Distinguishes the keys of a ring; derived from the secret, like the key.
    id: [u8; KEY_ID_LEN],
    key: LessSafeKey,
}

impl SealingKey {
    fn derive(secret: &SessionSecret) -> Result<Self, ConfigProblem> {
        Self::expand(&Salt::new(HKDF_SHA256, b"tower-scalekit").extract(secret.bytes())).ok_or_else(
            || ConfigProblem::invalid("session secret", "no key can be derived from it"),
        )
    }

    fn expand(source: &Prk) -> Option<Self> {
        struct KeyId;
        impl KeyType for KeyId {
            fn len(&self) -> usize {
                KEY_ID_LEN
            }
        }
        let mut id = [0; KEY_ID_LEN];
        source.expand(&[b"key id v1"], KeyId).ok()?.fill(&mut id).ok()?;
        let key = source.expand(&[b"sealing key v1"], &AES_256_GCM_SIV).ok()?;
        Some(Self { id, key: LessSafeKey::new(UnboundKey::from(key)) })
    }
}

/// Neither the random source nor the cipher fails in practice.
#[derive(Debug, thiserror::Error)]
#[error("the session could not be sealed")]
pub(crate) struct SealingFailed;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(first: u8) -> SessionSecret {
        SessionSecret::new((first..first + 32).collect::<Vec<u8>>()).unwrap()
    }

    fn ring(current: u8, previous: &[u8]) -> KeyRing {
        let previous: Vec<_> = previous.iter().map(|first| secret(*first)).collect();
        KeyRing::new(&secret(current), &previous, SealingContext::new(["app"])).unwrap()
    }

    #[test]
    fn a_value_opens_only_for_the_sessions_that_it_was_sealed_for() {
        let rings = ["app", "other"].map(|app| {
            KeyRing::new(&secret(1), &[], SealingContext::new(["https://acme.test", app])).unwrap()
        });
        for purpose in Purpose::ALL {
            for (index, ring) in rings.iter().enumerate() {
                let text = ring.seal(purpose, "cookie", b"content").unwrap();
                for (other_index, other) in rings.iter().enumerate() {
                    let opens = other.open(purpose, "cookie", &text).is_some();
                    assert_eq!(opens, index == other_index, "{purpose:?}");
                }
            }
        }
    }

    #[test]
    fn a_value_opens_only_for_its_purpose_and_name() {
        let ring = ring(1, &[]);
        let text = ring.seal(Purpose::Session, "cookie", b"content").unwrap();
        let opened = ring.open(Purpose::Session, "cookie", &text).unwrap();
        assert_eq!((opened.content.as_slice(), opened.outdated_key), (&b"content"[..], false));
        assert!(ring.open(Purpose::LoginAttempt, "cookie", &text).is_none());
        assert!(ring.open(Purpose::Session, "other", &text).is_none());
        assert_ne!(ring.seal(Purpose::Session, "cookie", b"content").unwrap(), text);
    }

    #[test]
    fn the_guide_lists_every_sealed_value_and_every_store_key() {
        let guide = include_str!("../../docs/explanation/boundaries.md");
        let listed = |name: &str| guide.contains(&format!("\n| `{name}` |"));
        let labels = include_str!("seal.rs").lines().filter_map(|line| line.split_once("=> b\""));
        let labels: Vec<_> = labels.filter_map(|(_, rest)| rest.strip_suffix("\",")).collect();
        assert_eq!(labels.len(), Purpose::ALL.len(), "{labels:?}");
        assert!(labels.iter().all(|label| listed(label)), "{labels:?}");
        let (_, namespaces) = include_str!("../../shared_store/mod.rs")
            .split_once("pub enum KeyNamespace {")
            .unwrap();
        let (namespaces, _) = namespaces.split_once("\n}").unwrap();
        let names = namespaces.lines().filter_map(|line| line.trim().strip_suffix(','));
        let names: Vec<_> = names.filter(|name| !name.contains(' ')).collect();
        assert!(names.len() >= 6, "{names:?}");
        assert!(names.iter().all(|name| listed(name)), "{names:?}");
    }

    #[test]
    fn a_changed_or_truncated_value_does_not_open() {
        let ring = ring(1, &[]);
        let text = ring.seal(Purpose::Session, "cookie", b"content").unwrap();
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(ring.open(Purpose::Session, "cookie", &changed).is_none(), "{index}");
            assert!(ring.open(Purpose::Session, "cookie", &text[..index]).is_none(), "{index}");
        }
        assert!(ring.open(Purpose::Session, "cookie", &format!("{text}A")).is_none());
        assert!(ring.open(Purpose::Session, "cookie", "é").is_none());
    }

    #[test]
    fn secrets_rotate() {
        let text = ring(1, &[]).seal(Purpose::Session, "cookie", b"content").unwrap();
        let rotated = ring(2, &[3, 1]).open(Purpose::Session, "cookie", &text).unwrap();
        assert!(rotated.outdated_key);
        assert!(ring(2, &[3]).open(Purpose::Session, "cookie", &text).is_none());
    }
}
