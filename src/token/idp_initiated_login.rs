//! The token of an IdP-initiated login (Scalekit's parameter `idp_initiated_login`).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use time::{Duration, OffsetDateTime};

use super::claims::TokenKind;
use super::{Claims, RemoteKeys, TokenError, TokenSource};
use crate::clock::{ISSUER_SKEW, REPLICA_SKEW};
use crate::util::diagnosis::Shown;

/// These tokens are valid for minutes, and are remembered until they expire.
const MAX_LIFETIME: Duration = Duration::hours(1);
/// Longer identifiers are rejected, and longer addresses omitted.
const MAX_TEXT_BYTES: usize = 320;

/// The claims of an IdP-initiated login, which began in the portal of an organization's identity
/// provider. They do not identify the user; the login does.
///
/// Serializes to the claims of the token, without its fingerprint.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IdpInitiatedLogin {
    /// The single sign-on connection (`conn_…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
    /// The organization (`org_…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The issuer that the token names, for apps that expect a certain one. The token is signed by
    /// the environment's keys in any case.
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The user's e-mail address as the portal knows it, to prefill forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_hint: Option<String>,
    /// Where the portal asks to redirect after the login. Untrusted: never use it as a login's
    /// `state`, and parse it with [`ReturnTo`](crate::auth_routes::ReturnTo) before redirecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_state: Option<String>,
    /// Expiry (UTC).
    #[serde(rename = "exp", serialize_with = "unix_seconds")]
    pub expires_at: OffsetDateTime,
    /// Fingerprint of the token, the same for each copy of it, to detect replays.
    #[serde(skip)]
    pub fingerprint: String,
}

fn unix_seconds<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.unix_timestamp())
}

impl IdpInitiatedLogin {
    /// How long a token may still be accepted after its expiry: by a replica whose clock is behind,
    /// or by a request that validated it before it waited.
    pub(crate) fn replay_window(&self, now: OffsetDateTime) -> std::time::Duration {
        ((self.expires_at - now).max(Duration::ZERO) + REPLICA_SKEW).unsigned_abs()
    }
}

// Manual impl: contains personal data and untrusted text.
impl fmt::Debug for IdpInitiatedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdpInitiatedLogin")
            .field("connection_id", &self.connection_id)
            .field("organization_id", &self.organization_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What the token must contain.
#[derive(Debug)]
pub(crate) struct IdpInitiatedLoginExpectations<'a> {
    /// Any, if none is set.
    pub(crate) issuers: &'a [String],
    pub(crate) client_id: &'a str,
}

impl IdpInitiatedLoginExpectations<'_> {
    /// Verifies the token, waiting for keys if necessary.
    pub(crate) async fn verify(
        &self,
        token: &str,
        keys: &RemoteKeys,
        now: OffsetDateTime,
    ) -> Result<IdpInitiatedLogin, TokenError> {
        let signed = keys.verify_signature(token, TokenSource::IdpInitiatedLogin).await?;
        self.check(&signed.claims, signed.typ(), fingerprint(token), now)
    }

    /// Validates type, expiry and target of the login.
    fn check(
        &self,
        claims: &Claims,
        typ: Option<&str>,
        fingerprint: String,
        now: OffsetDateTime,
    ) -> Result<IdpInitiatedLogin, TokenError> {
        if claims.kind(typ) != TokenKind::IdpInitiatedLogin || claims.has("client_id") {
            let expected = "the token of an IdP-initiated login, without `sub` and `client_id`";
            return Err(claims.wrong_type(typ, expected));
        }
        let issuer = claims.text("iss")?;
        if !self.issuers.is_empty() {
            claims.check_issuer(self.issuers)?;
        }
        let mut audiences = claims.audiences()?.peekable();
        if audiences.peek().is_some() && !audiences.any(|found| found == self.client_id) {
            return Err(claims.wrong_audience("aud", Shown(self.client_id)));
        }
        let issued_at = claims.date("iat")?.unwrap_or(now);
        let expires_at = claims.check_expiry(now)?;
        if expires_at > issued_at.min(now).saturating_add(MAX_LIFETIME) {
            return Err(claims.invalid("exp", "at most an hour after `iat` and now"));
        }
        claims.check_not_before(now, ISSUER_SKEW)?;
        let connection_id = identifier(claims, "connection_id")?;
        let organization_id = identifier(claims, "organization_id")?;
        if connection_id.is_none() && organization_id.is_none() {
            let expected = "a string, unless there is an `organization_id`";
            return Err(claims.invalid("connection_id", expected));
        }
        Ok(IdpInitiatedLogin {
            connection_id,
            organization_id,
            issuer: issuer.map(str::to_owned),
            // Only a hint: without it, the user enters the address.
            login_hint: claims
                .non_empty_text("login_hint")?
                .filter(|hint| hint.len() <= MAX_TEXT_BYTES)
                .map(str::to_owned),
            relay_state: claims.non_empty_text("relay_state")?.map(str::to_owned),
            expires_at,
            fingerprint,
        })
    }
}

fn identifier(claims: &Claims, name: &'static str) -> Result<Option<String>, TokenError> {
    match claims.non_empty_text(name)? {
        Some(id) if id.len() > MAX_TEXT_BYTES => {
            Err(claims.invalid(name, "at most 320 characters"))
        }
        id => Ok(id.map(str::to_owned)),
    }
}

/// The hash of what is signed: some algorithms have several signatures for one content.
fn fingerprint(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, signed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::token::testing::changed;

    const NOW: i64 = 1_000_000;

    fn evaluate(issuers: &[&str], changes: &Value) -> Result<IdpInitiatedLogin, TokenError> {
        let claims = json!({
            "iss": "https://b2b-app.com", "connection_id": "conn_1", "organization_id": "org_1",
            "login_hint": "jane@acme.test", "relay_state": "/reports",
            "iat": NOW, "nbf": NOW, "exp": NOW + 300,
        });
        let issuers: Vec<_> = issuers.iter().map(|issuer| (*issuer).to_owned()).collect();
        let expected = IdpInitiatedLoginExpectations { issuers: &issuers, client_id: "skc_1" };
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        expected.check(&Claims::new(changed(claims, changes)), Some("JWT"), String::new(), now)
    }

    #[test]
    fn a_token_names_its_organization_or_connection() {
        let idp_login = evaluate(&[], &json!({})).unwrap();
        assert_eq!(idp_login.connection_id.as_deref(), Some("conn_1"));
        assert_eq!(idp_login.organization_id.as_deref(), Some("org_1"));
        assert_eq!(idp_login.login_hint.as_deref(), Some("jane@acme.test"));
        assert_eq!(idp_login.relay_state.as_deref(), Some("/reports"));
        assert!(evaluate(&[], &json!({"connection_id": null, "iss": null, "nbf": null})).is_ok());
        assert!(evaluate(&[], &json!({"organization_id": "", "login_hint": ""})).is_ok());
        let nulls = |evaluated: Map<String, Value>| {
            let expected = IdpInitiatedLoginExpectations { issuers: &[], client_id: "skc_1" };
            let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
            expected.check(&Claims::new(evaluated), None, String::new(), now)
        };
        let claims = json!({"connection_id": "conn_1", "organization_id": null, "exp": NOW + 300,
            "login_hint": null, "relay_state": null, "iss": null});
        assert!(nulls(claims.as_object().unwrap().clone()).is_ok());
        let claims = json!({"connection_id": "conn_1", "exp": NOW + 300, "sub": null,
            "client_id": null, "iat": null, "nbf": null, "aud": null, "events": null});
        assert!(nulls(claims.as_object().unwrap().clone()).is_ok());
        assert!(evaluate(&[], &json!({"aud": ["skc_1"], "jti": "tkn_1"})).is_ok());
        assert!(evaluate(&["https://a.test", "https://b2b-app.com"], &json!({})).is_ok());
    }

    #[test]
    fn every_other_token_is_rejected() {
        for (changes, error) in [
            (json!({"sub": "usr_1"}), TokenError::WrongTokenType),
            (json!({"client_id": "skc_1"}), TokenError::WrongTokenType),
            (json!({"nonce": "n"}), TokenError::WrongTokenType),
            (json!({"at_hash": "n"}), TokenError::WrongTokenType),
            (json!({"events": {}}), TokenError::WrongTokenType),
            (json!({"connection_id": null, "organization_id": null}), TokenError::WrongTokenType),
            (
                json!({"connection_id": "", "organization_id": ""}),
                TokenError::InvalidClaim("connection_id"),
            ),
            (json!({"connection_id": 7}), TokenError::InvalidClaim("connection_id")),
            (json!({"organization_id": ["org_1"]}), TokenError::InvalidClaim("organization_id")),
            (json!({"login_hint": {}}), TokenError::InvalidClaim("login_hint")),
            (json!({"relay_state": 1}), TokenError::InvalidClaim("relay_state")),
            (json!({"aud": "skc_2"}), TokenError::InvalidAudience),
            (json!({"exp": null}), TokenError::InvalidClaim("exp")),
            (json!({"exp": "9999999999"}), TokenError::InvalidClaim("exp")),
            (json!({"exp": NOW}), TokenError::Expired),
            (json!({"exp": NOW + 3601}), TokenError::InvalidClaim("exp")),
            (json!({"iat": NOW - 3301}), TokenError::InvalidClaim("exp")),
            (json!({"iat": NOW + 61}), TokenError::NotYetValid),
            (json!({"nbf": NOW + 61}), TokenError::NotYetValid),
        ] {
            assert_eq!(evaluate(&[], &changes).unwrap_err(), error, "{changes}");
        }
        assert_eq!(evaluate(&["https://a.test"], &json!({})), Err(TokenError::InvalidIssuer));
        assert_eq!(
            evaluate(&["https://a.test"], &json!({"iss": null})),
            Err(TokenError::InvalidIssuer)
        );
    }

    #[test]
    fn long_claims_are_dropped() {
        let long = "x".repeat(10_000);
        let rejected = evaluate(&[], &json!({"connection_id": long}));
        assert_eq!(rejected, Err(TokenError::InvalidClaim("connection_id")));
        let rejected = evaluate(&[], &json!({"organization_id": long}));
        assert_eq!(rejected, Err(TokenError::InvalidClaim("organization_id")));
        assert_eq!(evaluate(&[], &json!({"login_hint": long})).unwrap().login_hint, None);
    }

    #[test]
    fn a_use_is_remembered_until_a_minute_after_the_expiry() {
        let idp_login = evaluate(&[], &json!({})).unwrap();
        let at = |seconds| OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap();
        let seconds = |now| idp_login.replay_window(now).as_secs();
        assert_eq!((seconds(at(0)), seconds(at(299))), (360, 61));
        // It expired during the fetch of the keys.
        assert_eq!((seconds(at(300)), seconds(at(310))), (60, 60));
    }

    #[test]
    fn it_serializes_to_the_claims_of_the_token() {
        let sample = include_str!("../../tests/data/tokens/idp_initiated_login.claims.json");
        let mut claims: Value = serde_json::from_str(sample).unwrap();
        let expected = IdpInitiatedLoginExpectations { issuers: &[], client_id: "skc_1" };
        let now = OffsetDateTime::from_unix_timestamp(1_723_041_800).unwrap();
        let members = Claims::new(claims.as_object().unwrap().clone());
        let idp_login = expected.check(&members, None, "hash".to_owned(), now).unwrap();
        // The other times are checked, and not kept.
        claims.as_object_mut().unwrap().retain(|name, _| !["iat", "nbf"].contains(&name.as_str()));
        assert_eq!(serde_json::to_value(idp_login).unwrap(), claims);
    }

    #[test]
    fn debug_prints_no_personal_data() {
        let shown = format!("{:?}", evaluate(&[], &json!({})).unwrap());
        assert!(shown.contains("conn_1") && !shown.contains("jane") && !shown.contains("reports"));
    }
}
