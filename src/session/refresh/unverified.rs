//! Sealed form of tokens that cannot be verified yet.

use zeroize::Zeroizing;

use crate::oauth::UnverifiedTokens;
use crate::secret::SecretString;
use crate::session::Sessions;
use crate::session::cookie::record::SessionRecord;
use crate::session::cookie::seal::{Purpose, SealingFailed};

impl Sessions {
    /// Seals tokens for the store. They open for this generation of this session only.
    pub(super) fn seal_unverified(
        &self,
        record: &SessionRecord,
        tokens: &UnverifiedTokens,
    ) -> Result<String, SealingFailed> {
        self.sealing_keys().seal(
            Purpose::UnverifiedTokens,
            record.id(),
            &encode(record.generation(), tokens).ok_or(SealingFailed)?,
        )
    }

    /// Opens tokens that were sealed for this generation of this session.
    pub(super) fn open_unverified(
        &self,
        record: &SessionRecord,
        text: &str,
    ) -> Option<UnverifiedTokens> {
        let opened = self.sealing_keys().open(Purpose::UnverifiedTokens, record.id(), text)?;
        decode(record.generation(), &opened.content)
    }
}

/// `generation ‖ access token ‖ refresh token ‖ ID token`, each token preceded by a four-byte
/// length.
fn encode(generation: u32, tokens: &UnverifiedTokens) -> Option<Zeroizing<Vec<u8>>> {
    let parts =
        [Some(&tokens.access_token), tokens.refresh_token.as_ref(), tokens.id_token.as_ref()]
            .map(|token| token.map_or("", SecretString::expose).as_bytes());
    let length = parts.iter().map(|part| 4 + part.len()).sum::<usize>() + 4;
    // Allocated with its final capacity, so that no copy remains.
    let mut content = Zeroizing::new(Vec::with_capacity(length));
    content.extend(generation.to_be_bytes());
    for part in parts {
        content.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
        content.extend(part);
    }
    Some(content)
}

fn decode(generation: u32, content: &[u8]) -> Option<UnverifiedTokens> {
    let (of, rest) = content.split_first_chunk()?;
    let (access_token, rest) = take_token(rest)?;
    let (refresh_token, rest) = take_token(rest)?;
    let (id_token, rest) = take_token(rest)?;
    (u32::from_be_bytes(*of) == generation && rest.is_empty()).then_some(UnverifiedTokens {
        access_token: access_token?,
        refresh_token,
        id_token,
        expires_in: None,
        scope: None,
    })
}

fn take_token(bytes: &[u8]) -> Option<(Option<SecretString>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (token, rest) = rest.split_at_checked(length)?;
    let token = std::str::from_utf8(token).ok()?;
    Some(((!token.is_empty()).then(|| token.into()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unverified_tokens_round_trip_for_their_generation_only() {
        for (refresh_token, id_token) in [(None, None), (Some("r"), None), (Some("r"), Some("i"))] {
            let tokens = UnverifiedTokens {
                access_token: "a".into(),
                refresh_token: refresh_token.map(Into::into),
                id_token: id_token.map(Into::into),
                expires_in: None,
                scope: None,
            };
            let content = encode(7, &tokens).unwrap();
            let decoded = decode(7, &content).unwrap();
            assert_eq!(decoded.access_token, tokens.access_token);
            assert_eq!(decoded.refresh_token, tokens.refresh_token);
            assert_eq!(decoded.id_token, tokens.id_token);
            assert!(decode(6, &content).is_none());
            for length in 0..content.len() {
                assert!(decode(7, &content[..length]).is_none(), "{length}");
            }
        }
    }
}
