//! The ID token of a login or a refresh (OpenID Connect Core sections 3.1.3.7 and 12.2).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::claims::TokenKind;
use super::{Algorithm, Claims, RemoteKeys, TokenError, TokenSource};
use crate::clock::ISSUER_SKEW;
use crate::util::diagnosis::Shown;

/// What an ID token must contain.
#[derive(Debug)]
pub(crate) struct IdTokenExpectations<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    /// The access token of the same response, for `at_hash`.
    pub(crate) access_token: Option<&'a str>,
    pub(crate) grant: Grant<'a>,
}

/// The grant that returned the ID token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grant<'a> {
    /// A login, which sent this nonce.
    AuthorizationCode { nonce: &'a str },
    /// A refresh of this subject's session, without a nonce.
    RefreshToken { subject: &'a str },
}

/// The claims of a verified ID token. Cheap to clone. Serializes to these claims, which are personal
/// data, without the token's signature.
#[derive(Clone)]
pub struct IdToken {
    subject: Arc<str>,
    claims: Claims,
}

impl IdToken {
    /// The user (`usr_…`, or `conn_…;…` after single sign-on without user management).
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All claims.
    #[must_use]
    pub fn raw_claims(&self) -> &Map<String, Value> {
        self.claims.members()
    }

    /// Deserializes the claims.
    ///
    /// # Errors
    /// When the claims do not match the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Value::Object(self.raw_claims().clone()))
    }

    pub(crate) fn into_verified_claims(self) -> Claims {
        self.claims
    }
}

impl Serialize for IdToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw_claims().serialize(serializer)
    }
}

// Manual impl: the claims are personal data.
impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdToken").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl IdTokenExpectations<'_> {
    /// Verifies an ID token, waiting for keys if necessary.
    pub(crate) async fn verify(
        &self,
        token: &str,
        keys: &RemoteKeys,
        now: OffsetDateTime,
    ) -> Result<IdToken, TokenError> {
        let signed = keys.verify_signature(token, TokenSource::Issuer).await?;
        let subject = self.check(&signed.claims, signed.typ(), signed.header.algorithm, now)?;
        Ok(IdToken { subject, claims: signed.claims })
    }

    /// Validates the claims (OpenID Connect Core sections 3.1.3.7 and 12.2). Returns the subject.
    fn check(
        &self,
        claims: &Claims,
        typ: Option<&str>,
        algorithm: Algorithm,
        now: OffsetDateTime,
    ) -> Result<Arc<str>, TokenError> {
        claims.check_issuer(&[self.issuer])?;
        // Without nonce and hashes, a refreshed ID token does not identify its type.
        let is_unmarked_refresh = matches!(self.grant, Grant::RefreshToken { .. })
            && claims.kind(typ) == TokenKind::Access
            && typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
        if claims.kind(typ) != TokenKind::Id && !is_unmarked_refresh {
            return Err(claims.wrong_type(typ, "an ID token"));
        }
        claims.check_sole_audience(self.client_id)?;
        if claims.text("azp")?.is_some_and(|azp| azp != self.client_id) {
            return Err(claims.wrong_audience("azp", Shown(self.client_id)));
        }
        claims.check_expiry(now)?;
        claims.required_date("iat")?;
        claims.check_not_before(now, ISSUER_SKEW)?;
        let subject = claims.text("sub")?.unwrap_or_default();
        if subject.is_empty() || subject.len() > 255 || !subject.is_ascii() {
            return Err(claims.invalid("sub", "1 to 255 ASCII characters"));
        }
        match self.grant {
            Grant::AuthorizationCode { nonce } => {
                if !claims.non_empty_text("nonce")?.is_some_and(|found| is_equal(found, nonce)) {
                    return Err(claims.invalid("nonce", "that of this login"));
                }
            }
            Grant::RefreshToken { subject: before } if before != subject => {
                return Err(claims.invalid("sub", "the user of the session"));
            }
            Grant::RefreshToken { .. } => {}
        }
        if let Some((found, access_token)) = claims.text("at_hash")?.zip(self.access_token)
            && !is_equal(found, &at_hash(access_token, algorithm))
        {
            return Err(claims.invalid("at_hash", "the hash of the access token"));
        }
        Ok(subject.into())
    }
}

/// Compares in constant time.
fn is_equal(one: &str, two: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), two.as_bytes()).is_ok()
}

/// The left half of the hash of an access token (OpenID Connect Core section 3.1.3.6).
fn at_hash(access_token: &str, algorithm: Algorithm) -> String {
    let hash_algorithm = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &SHA256,
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &SHA512,
    };
    let hash = digest(hash_algorithm, access_token.as_bytes());
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(left)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::testing::changed;

    const NOW: i64 = 1_000_000;

    fn evaluate(changes: &Value) -> Result<Arc<str>, TokenError> {
        evaluate_in(Grant::AuthorizationCode { nonce: "n" }, changes)
    }

    fn evaluate_in(grant: Grant<'_>, changes: &Value) -> Result<Arc<str>, TokenError> {
        let claims = json!({
            "iss": "https://acme.test", "aud": ["skc_1"], "azp": "skc_1", "sub": "usr_1",
            "exp": NOW + 300, "iat": NOW, "nonce": "n",
            "at_hash": at_hash("access", Algorithm::RS256),
        });
        let expected = IdTokenExpectations {
            issuer: "https://acme.test",
            client_id: "skc_1",
            access_token: Some("access"),
            grant,
        };
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        let claims = Claims::new(changed(claims, changes));
        expected.check(&claims, Some("JWT"), Algorithm::RS256, now)
    }

    #[test]
    fn a_valid_id_token_returns_its_subject() {
        let minimal = json!({"aud": "skc_1", "azp": null, "at_hash": null});
        for changes in [json!({}), minimal] {
            assert_eq!(evaluate(&changes), Ok("usr_1".into()), "{changes}");
        }
        assert!(evaluate(&json!({"iat": NOW + 59})).is_ok());
    }

    #[test]
    fn it_serializes_to_its_claims() {
        for sample in [
            include_str!("../../tests/data/tokens/id_token.fsa.claims.json"),
            include_str!("../../tests/data/tokens/id_token.modular_sso.claims.json"),
        ] {
            let claims: Map<String, Value> = serde_json::from_str(sample).unwrap();
            let subject = claims["sub"].as_str().unwrap().into();
            let token = IdToken { subject, claims: Claims::new(claims.clone()) };
            assert_eq!(serde_json::to_value(token).unwrap(), Value::Object(claims));
        }
    }

    #[test]
    fn each_defect_is_rejected() {
        let long = "s".repeat(256);
        for (changes, error) in [
            (json!({"iss": "https://acme.test/"}), TokenError::InvalidIssuer),
            (json!({"iss": null}), TokenError::InvalidIssuer),
            (json!({"aud": "skc_2"}), TokenError::InvalidAudience),
            (json!({"aud": null}), TokenError::InvalidAudience),
            (json!({"aud": ["skc_1", "skc_2"]}), TokenError::InvalidAudience),
            (json!({"aud": ["skc_1", "skc_2"], "azp": null}), TokenError::InvalidAudience),
            (json!({"aud": ["skc_2", "skc_1"], "azp": null}), TokenError::InvalidAudience),
            (json!({"aud": ["skc_1", "skc_1"], "azp": null}), TokenError::InvalidAudience),
            (json!({"aud": [], "azp": null}), TokenError::InvalidAudience),
            (json!({"azp": "skc_2"}), TokenError::InvalidAudience),
            (json!({"exp": NOW}), TokenError::Expired),
            (json!({"exp": null}), TokenError::InvalidClaim("exp")),
            (json!({"exp": "1"}), TokenError::InvalidClaim("exp")),
            (json!({"iat": null}), TokenError::InvalidClaim("iat")),
            (json!({"iat": NOW + 61}), TokenError::NotYetValid),
            (json!({"nbf": NOW + 61}), TokenError::NotYetValid),
            (json!({"sub": null}), TokenError::InvalidClaim("sub")),
            (json!({"sub": ""}), TokenError::InvalidClaim("sub")),
            (json!({"sub": "é"}), TokenError::InvalidClaim("sub")),
            (json!({"sub": long}), TokenError::InvalidClaim("sub")),
            (json!({"nonce": "m"}), TokenError::InvalidClaim("nonce")),
            (json!({"nonce": null}), TokenError::InvalidClaim("nonce")),
            (json!({"nonce": null, "at_hash": null}), TokenError::WrongTokenType),
            (json!({"at_hash": "x"}), TokenError::InvalidClaim("at_hash")),
            (json!({"at_hash": 7}), TokenError::InvalidClaim("at_hash")),
            (json!({"events": {}}), TokenError::WrongTokenType),
        ] {
            assert_eq!(evaluate(&changes), Err(error), "{changes}");
        }
    }

    #[test]
    fn a_refreshed_id_token_keeps_its_subject_and_needs_no_nonce() {
        let evaluate = |changes| evaluate_in(Grant::RefreshToken { subject: "usr_1" }, &changes);
        assert!(evaluate(json!({})).is_ok());
        assert!(evaluate(json!({"nonce": null, "at_hash": null})).is_ok());
        assert_eq!(evaluate(json!({"sub": "usr_2"})), Err(TokenError::InvalidClaim("sub")));
        assert_eq!(evaluate(json!({"iss": "https://evil.test"})), Err(TokenError::InvalidIssuer));
    }
}
