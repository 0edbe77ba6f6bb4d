//! Names and values as Redis sees them.
//!
//! A value is `version ‖ key ID ‖ ciphertext ‖ tag`. The nonce is a part of the key's name, and the
//! associated data is the header with the whole name: the same value under the same name is sealed
//! to the same bytes, which Redis can compare. AES-GCM-SIV permits it (RFC 8452 section 9).

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use bytes::Bytes;

use super::super::{KeyNamespace, StoreError, StoreKey};
use crate::session_secret::SessionSecret;
use crate::util::hash::base64_prefix;

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN;

/// Seals with the newest secret, opens with all.
pub(super) struct Sealer {
    prefix: String,
    names: hmac::Key,
    current: ValueKey,
    previous: Vec<ValueKey>,
}

/// The name of a key in Redis.
pub(super) struct Name {
    text: String,
    hash: [u8; 32],
}

impl Name {
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

pub(super) struct Opened {
    pub(super) value: Bytes,
    /// Sealed with a former secret.
    pub(super) outdated_key: bool,
}

impl Sealer {
    /// Returns `None` if no key can be derived, which does not occur in practice.
    pub(super) fn new(
        prefix: String,
        names: &SessionSecret,
        current: &SessionSecret,
        previous: &[SessionSecret],
    ) -> Option<Self> {
        Some(Self {
            prefix,
            names: source(names).expand(&[b"redis key names v1"], hmac::HMAC_SHA256).ok()?.into(),
            current: ValueKey::derive(current)?,
            previous: previous.iter().map(ValueKey::derive).collect::<Option<_>>()?,
        })
    }

    pub(super) fn name(&self, key: &StoreKey) -> Name {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(format!("{:?}", key.namespace()).as_bytes());
        context.update(b"\0");
        context.update(key.id().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        // 144 bits.
        let short = base64_prefix::<18>(&hash);
        Name { text: [self.prefix.as_str(), &self.hash_tag(key), &short].concat(), hash }
    }

    /// Keeps the revocations of an app in one slot of a cluster: the log and its counter must be
    /// lost together, if they are.
    fn hash_tag(&self, key: &StoreKey) -> String {
        if key.namespace() != KeyNamespace::Revocation {
            return String::new();
        }
        let scope = key.id().split('.').next().unwrap_or_default();
        let hash = hmac::sign(&self.names, format!("hash tag\0{scope}").as_bytes());
        format!("{{{}}}", base64_prefix::<9>(hash.as_ref()))
    }

    pub(super) fn seal(&self, name: &Name, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.current.seal(name, value)
    }

    /// What `value` may be sealed to, with each of the secrets.
    pub(super) fn candidates(&self, name: &Name, value: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        self.keys().map(|key| key.seal(name, value)).collect()
    }

    pub(super) fn open(&self, name: &Name, sealed: &[u8]) -> Result<Opened, StoreError> {
        self.try_open(name, sealed).ok_or_else(|| {
            StoreError::Unavailable(
                "a value in Redis was sealed with a secret that is not configured, or was changed"
                    .into(),
            )
        })
    }

    fn try_open(&self, name: &Name, sealed: &[u8]) -> Option<Opened> {
        let (header, body) = sealed.split_at_checked(HEADER_LEN)?;
        let key = self.keys().find(|key| key.header() == header)?;
        let mut value = body.to_vec();
        let length = key.key.open_in_place(nonce(name), aad(header, name), &mut value).ok()?.len();
        value.truncate(length);
        Some(Opened { value: value.into(), outdated_key: key.id != self.current.id })
    }

    fn keys(&self) -> impl Iterator<Item = &ValueKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

struct ValueKey {
    /// Distinguishes the secrets; derived from the secret, like the key.
    id: [u8; KEY_ID_LEN],
    key: LessSafeKey,
}

impl ValueKey {
    fn derive(secret: &SessionSecret) -> Option<Self> {
        struct KeyId;
        impl KeyType for KeyId {
            fn len(&self) -> usize {
                KEY_ID_LEN
            }
        }
        let (source, mut id) = (source(secret), [0; KEY_ID_LEN]);
        source.expand(&[b"redis key id v1"], KeyId).ok()?.fill(&mut id).ok()?;
        let key = source.expand(&[b"redis values v1"], &AES_256_GCM_SIV).ok()?;
        Some(Self { id, key: LessSafeKey::new(UnboundKey::from(key)) })
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [VERSION; HEADER_LEN];
        header[1..].copy_from_slice(&self.id);
        header
    }

    fn seal(&self, name: &Name, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (header, mut body) = (self.header(), value.to_vec());
        self.key
            .seal_in_place_append_tag(nonce(name), aad(&header, name), &mut body)
            .map_err(|_| StoreError::Unavailable("the value could not be sealed".into()))?;
        Ok([&header[..], &body].concat())
    }
}

fn source(secret: &SessionSecret) -> Prk {
    Salt::new(HKDF_SHA256, b"tower-scalekit").extract(secret.bytes())
}

/// Each name has its own nonce, so values of different names are unrelated even without the name in
/// the associated data.
fn nonce(name: &Name) -> Nonce {
    let [.., a, b, c, d, e, f, g, h, i, j, k, l] = name.hash;
    let last: [u8; NONCE_LEN] = [a, b, c, d, e, f, g, h, i, j, k, l];
    Nonce::assume_unique_for_key(last)
}

fn aad(header: &[u8], name: &Name) -> Aad<Vec<u8>> {
    Aad::from([header, &name.hash].concat())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::super::StoreScope;
    use super::*;

    fn secret(first: u8) -> SessionSecret {
        SessionSecret::new((first..first + 32).collect::<Vec<u8>>()).unwrap()
    }

    fn sealer(current: u8, previous: &[SessionSecret]) -> Sealer {
        Sealer::new("scalekit:".to_owned(), &secret(1), &secret(current), previous).unwrap()
    }

    fn name(sealer: &Sealer, namespace: KeyNamespace, id: &str) -> Name {
        sealer.name(&StoreScope::new(["app"]).key(namespace, id))
    }

    #[test]
    fn names_and_values_have_a_stable_format() {
        let sealer = sealer(1, &[]);
        let name = name(&sealer, KeyNamespace::Session, "id");
        assert_eq!(name.text(), "scalekit:TdZEZVnJcP0ComJk75xIdZvT");
        let sealed = sealer.seal(&name, b"value").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(&sealed), "AQtjf6mpc_eRS3yzuUhHgabfyOJr2zXOAdk");
        assert_eq!(sealer.open(&name, &sealed).unwrap().value, "value");
    }

    #[test]
    fn the_revocations_of_an_app_share_a_slot_and_other_keys_do_not() {
        let sealer = sealer(1, &[]);
        let tag = |scope: &str, namespace, id: &str| {
            let name = sealer.name(&StoreScope::new([scope]).key(namespace, id));
            let tag = name.text().strip_prefix("scalekit:{")?.split_once('}')?.0.to_owned();
            Some(tag)
        };
        let log = tag("app", KeyNamespace::Revocation, "log");
        assert!(log.is_some());
        assert_eq!(log, tag("app", KeyNamespace::Revocation, "counter"));
        assert_ne!(log, tag("other app", KeyNamespace::Revocation, "log"));
        assert_eq!(tag("app", KeyNamespace::Session, "log"), None);
    }

    #[test]
    fn a_value_opens_only_under_its_name_unchanged_and_with_its_secret() {
        let (one, other) = (sealer(1, &[]), sealer(2, &[]));
        let own = name(&one, KeyNamespace::Session, "id");
        let sealed = one.seal(&own, b"value").unwrap();
        assert_eq!(sealed, one.seal(&own, b"value").unwrap());
        for (namespace, id) in [(KeyNamespace::Refresh, "id"), (KeyNamespace::Session, "id2")] {
            let moved = name(&one, namespace, id);
            assert!(one.open(&moved, &sealed).is_err());
            assert_ne!(moved.text(), own.text());
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(one.open(&own, &changed).is_err(), "{index}");
            assert!(one.open(&own, &sealed[..index]).is_err(), "{index}");
        }
        assert!(other.open(&own, &sealed).is_err());
        let rotated = sealer(2, &[secret(1)]);
        assert!(rotated.open(&own, &sealed).unwrap().outdated_key);
        assert!(rotated.candidates(&own, b"value").unwrap().contains(&sealed));
    }
}
