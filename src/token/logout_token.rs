//! The token of a back-channel logout (OpenID Connect Back-Channel Logout 1.0, section 2.4).

use serde_json::Value;
use time::OffsetDateTime;

use super::claims::TokenKind;
use super::{Claims, RemoteKeys, TokenError, TokenSource};
use crate::clock::ISSUER_SKEW;

/// Longer names are rejected.
const MAX_TOKEN_ID_BYTES: usize = 256;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a logout token must contain.
#[derive(Debug)]
pub(crate) struct LogoutExpectations<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
}

/// The claims of a logout token: at least one of session and subject.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoggedOut {
    /// The issuer's session, claim `sid`.
    pub(crate) session_id: Option<String>,
    pub(crate) subject: Option<String>,
    /// Claim `jti`, which is unique.
    pub(crate) token_id: String,
    pub(crate) issued_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
}

impl LogoutExpectations<'_> {
    /// Verifies a logout token, waiting for keys if necessary.
    pub(crate) async fn verify(
        &self,
        token: &str,
        keys: &RemoteKeys,
        now: OffsetDateTime,
    ) -> Result<LoggedOut, TokenError> {
        let signed = keys.verify_signature(token, TokenSource::Logout).await?;
        self.check(&signed.claims, signed.typ(), now)
    }

    /// Validates the claims (OpenID Connect Back-Channel Logout 1.0, section 2.6).
    fn check(
        &self,
        claims: &Claims,
        typ: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<LoggedOut, TokenError> {
        claims.check_issuer(&[self.issuer])?;
        // A nonce would make it an ID token too.
        if claims.kind(typ) != TokenKind::Logout || claims.has("nonce") {
            return Err(claims.wrong_type(typ, "a logout token, without `nonce`"));
        }
        claims.check_sole_audience(self.client_id)?;
        let expires_at = claims.check_expiry(now)?;
        let issued_at = claims.required_date("iat")?;
        claims.check_not_before(now, ISSUER_SKEW)?;
        if !claims
            .members()
            .get("events")
            .and_then(|all| all.get(EVENT))
            .is_some_and(Value::is_object)
        {
            return Err(claims.invalid("events", "an object with the logout event"));
        }
        let session_id = claims.non_empty_text("sid")?.map(str::to_owned);
        let subject = claims.non_empty_text("sub")?.map(str::to_owned);
        if session_id.is_none() && subject.is_none() {
            return Err(claims.invalid("sub", "a string, unless there is a `sid`"));
        }
        let token_id = claims
            .non_empty_text("jti")?
            .filter(|id| id.len() <= MAX_TOKEN_ID_BYTES)
            .ok_or_else(|| claims.invalid("jti", "at most 256 characters"))?
            .to_owned();
        Ok(LoggedOut { session_id, subject, token_id, issued_at, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::testing::changed;

    const NOW: i64 = 1_000_000;

    fn evaluate(typ: Option<&str>, changes: &Value) -> Result<LoggedOut, TokenError> {
        let claims = json!({
            "iss": "https://acme.test", "aud": "skc_1", "iat": NOW, "exp": NOW + 120, "jti": "t_1",
            "sub": "usr_1", "sid": "ses_1", "events": { EVENT: {} },
        });
        let expected = LogoutExpectations { issuer: "https://acme.test", client_id: "skc_1" };
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        expected.check(&Claims::new(changed(claims, changes)), typ, now)
    }

    #[test]
    fn a_logout_token_names_a_session_or_a_user() {
        let all = evaluate(Some("logout+jwt"), &json!({})).unwrap();
        assert_eq!(
            (all.session_id.as_deref(), all.subject.as_deref()),
            (Some("ses_1"), Some("usr_1"))
        );
        assert!(evaluate(None, &json!({"sub": null})).unwrap().subject.is_none());
        assert!(evaluate(Some("JWT"), &json!({"sid": null})).unwrap().session_id.is_none());
        assert!(evaluate(Some("application/logout+jwt"), &json!({"aud": ["skc_1"]})).is_ok());
    }

    #[test]
    fn every_other_token_is_rejected() {
        for (changes, error) in [
            (json!({"iss": "https://acme.test/"}), TokenError::InvalidIssuer),
            (json!({"iss": null}), TokenError::InvalidIssuer),
            (json!({"aud": "skc_2"}), TokenError::InvalidAudience),
            (json!({"aud": ["skc_1", "skc_2"]}), TokenError::InvalidAudience),
            (json!({"aud": ["skc_2", "skc_1"]}), TokenError::InvalidAudience),
            (json!({"aud": []}), TokenError::InvalidAudience),
            (json!({"aud": null}), TokenError::InvalidAudience),
            (json!({"exp": NOW}), TokenError::Expired),
            (json!({"exp": null}), TokenError::InvalidClaim("exp")),
            (json!({"exp": "9999999999"}), TokenError::InvalidClaim("exp")),
            (json!({"iat": null}), TokenError::InvalidClaim("iat")),
            (json!({"iat": NOW + 61}), TokenError::NotYetValid),
            (json!({"nonce": "n"}), TokenError::WrongTokenType),
            (json!({"events": null}), TokenError::WrongTokenType),
            (json!({"events": {}}), TokenError::InvalidClaim("events")),
            (json!({"events": [EVENT]}), TokenError::InvalidClaim("events")),
            (json!({"events": {EVENT: true}}), TokenError::InvalidClaim("events")),
            (json!({"sub": null, "sid": null}), TokenError::InvalidClaim("sub")),
            (json!({"sub": "", "sid": ""}), TokenError::InvalidClaim("sub")),
            (json!({"sid": 7}), TokenError::InvalidClaim("sid")),
            (json!({"jti": null}), TokenError::InvalidClaim("jti")),
            (json!({"jti": "j".repeat(257)}), TokenError::InvalidClaim("jti")),
        ] {
            assert_eq!(evaluate(Some("logout+jwt"), &changes), Err(error), "{changes}");
        }
        for typ in ["at+jwt", "secevent+jwt", ""] {
            assert_eq!(evaluate(Some(typ), &json!({})), Err(TokenError::WrongTokenType), "{typ}");
        }
    }
}
