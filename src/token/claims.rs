//! Typed access to a token's claims. A null claim counts as absent; any other wrong type is an
//! error.

use std::fmt::Display;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::TokenError;
use crate::util::compact_object::{CompactObject, Member, Texts};
use crate::util::diagnosis::{CheckError as _, OneOf, Shown, ShownClaim};

/// The claims of a token whose signature was verified. Cloning increments a reference count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    object: Arc<CompactObject>,
}

impl Claims {
    pub(crate) fn new(members: Map<String, Value>) -> Self {
        Self { object: Arc::new(members.into()) }
    }

    /// Parses the payload of a token; see [`parse_object`](crate::util::json::parse_object).
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        CompactObject::parse(json).map(|object| Self { object: Arc::new(object) })
    }

    pub(crate) fn members(&self) -> &Map<String, Value> {
        self.object.map()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A claim that is present.
    fn get(&self, name: &str) -> Option<Member<'_>> {
        self.object.get(name).filter(|claim| !matches!(claim, Member::Other(Value::Null)))
    }

    /// A claim of any type that is present.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        self.get(name).map(Member::to_value)
    }

    /// The error of a claim that is absent, or not as `expected`.
    pub(super) fn invalid(&self, name: &'static str, expected: &str) -> TokenError {
        TokenError::invalid_claim(name, expected, self.value(name).as_ref())
    }

    /// A string claim, if present.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, TokenError> {
        match self.get(name) {
            None => Ok(None),
            Some(Member::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(name, "a string")),
        }
    }

    /// A string claim, if present and not empty.
    pub(super) fn non_empty_text(&self, name: &'static str) -> Result<Option<&str>, TokenError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A string claim; none if it is another type.
    pub(crate) fn text_or_none(&self, name: &str) -> Option<&str> {
        match self.object.get(name) {
            Some(Member::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A NumericDate claim (RFC 7519 section 2), if present: a number of seconds, possibly with a
    /// fraction, within the range of dates.
    pub(crate) fn date(&self, name: &'static str) -> Result<Option<OffsetDateTime>, TokenError> {
        const YEAR_10000: f64 = 253_402_300_800.0;
        let seconds = match self.get(name) {
            None => return Ok(None),
            Some(Member::Other(value)) => value.as_f64(),
            Some(_) => None,
        }
        .ok_or_else(|| self.invalid(name, "a number"))?;
        if !(0.0..YEAR_10000).contains(&seconds) {
            return Err(self.invalid(name, "a number of seconds since 1970"));
        }
        let since_epoch = Duration::saturating_seconds_f64(seconds);
        Ok(Some(OffsetDateTime::UNIX_EPOCH.saturating_add(since_epoch)))
    }

    /// A NumericDate claim that must be present.
    pub(crate) fn required_date(&self, name: &'static str) -> Result<OffsetDateTime, TokenError> {
        self.date(name)?.ok_or_else(|| self.invalid(name, "a number"))
    }

    /// The audiences: a string or an array of strings; none if absent (RFC 7519 section 4.1.3).
    pub(crate) fn audiences(&self) -> Result<impl Iterator<Item = &str> + Clone, TokenError> {
        let (one, several) = match self.get("aud") {
            None => (None, None),
            Some(Member::Text(one)) => (Some(one), None),
            Some(Member::Texts(several)) => (None, Some(several)),
            Some(Member::Other(_)) => {
                return Err(self.invalid("aud", "a string or an array of strings"));
            }
        };
        Ok(one.into_iter().chain(several.into_iter().flat_map(Texts::iter)))
    }

    /// Requires an issuer that is allowed, character by character.
    pub(super) fn check_issuer(&self, allowed: &[impl AsRef<str>]) -> Result<(), TokenError> {
        match self.text("iss")? {
            Some(issuer) if allowed.iter().any(|allowed| allowed.as_ref() == issuer) => Ok(()),
            _ => {
                let found = ShownClaim(self.value("iss"));
                Err(TokenError::InvalidIssuer.logged("iss", OneOf(allowed), found))
            }
        }
    }

    /// Requires that the client is the only audience: additional ones are not trusted.
    pub(super) fn check_sole_audience(&self, client_id: &str) -> Result<(), TokenError> {
        match self.audiences()?.eq([client_id]) {
            true => Ok(()),
            false => Err(self.wrong_audience("aud", format_args!("only {}", Shown(client_id)))),
        }
    }

    /// The error of a token whose claim, `aud` or `azp`, is not as `expected`.
    pub(super) fn wrong_audience(&self, name: &'static str, expected: impl Display) -> TokenError {
        TokenError::InvalidAudience.logged(name, expected, ShownClaim(self.value(name)))
    }

    /// Rejects a token that is not valid yet. `iat` and `nbf` are optional, and may be ahead by
    /// this leeway.
    pub(crate) fn check_not_before(
        &self,
        now: OffsetDateTime,
        leeway: Duration,
    ) -> Result<(), TokenError> {
        let latest = now.saturating_add(leeway);
        for name in ["iat", "nbf"] {
            if let Some(start) = self.date(name)?
                && latest < start
            {
                let expected = format_args!("at most {latest}, by the clock of this server");
                return Err(TokenError::NotYetValid.logged(name, expected, start));
            }
        }
        Ok(())
    }

    /// The date `exp`, which must be present and ahead.
    pub(super) fn check_expiry(&self, now: OffsetDateTime) -> Result<OffsetDateTime, TokenError> {
        let expires_at = self.required_date("exp")?;
        if now >= expires_at { Err(expired(expires_at, now)) } else { Ok(expires_at) }
    }

    /// The error of a token of another type than `expected`.
    pub(super) fn wrong_type(&self, typ: Option<&str>, expected: &str) -> TokenError {
        let found = match self.kind(typ) {
            TokenKind::Access => "an access token",
            TokenKind::Id => "an ID token",
            TokenKind::IdpInitiatedLogin => "the token of an IdP-initiated login",
            TokenKind::Logout => "a logout token",
            TokenKind::Other => "a token whose `typ` is unknown, or contradicts its claims",
        };
        TokenError::WrongTokenType.logged("token type", expected, found)
    }

    /// The strings of an array; none if it is absent or another type.
    pub(crate) fn strings(&self, name: &str) -> Vec<String> {
        match self.object.get(name) {
            Some(Member::Texts(texts)) => texts.iter().map(str::to_owned).collect(),
            Some(Member::Other(Value::Array(items))) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The union of `scope`, `scopes` and `scp` (of Okta and Entra): strings are split at spaces,
    /// the items of arrays are not.
    pub(crate) fn scopes(&self) -> Vec<String> {
        let mut scopes = Vec::new();
        for name in ["scope", "scopes", "scp"] {
            let found = match self.object.get(name) {
                Some(Member::Text(text)) => {
                    text.split_ascii_whitespace().map(str::to_owned).collect()
                }
                _ => self.strings(name),
            };
            for scope in found {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        scopes
    }

    /// The token type, by the claims and the header's `typ`; [`TokenKind::Other`] if they contradict
    /// each other.
    pub(crate) fn kind(&self, typ: Option<&str>) -> TokenKind {
        match (self.kind_by_claims(), typ) {
            (kind, None) => kind,
            (kind, Some(typ)) if is_media_type(typ, "jwt") => kind,
            (kind @ TokenKind::Access, Some(typ)) if is_media_type(typ, "at+jwt") => kind,
            (kind @ TokenKind::Logout, Some(typ)) if is_media_type(typ, "logout+jwt") => kind,
            _ => TokenKind::Other,
        }
    }

    /// `email` is not considered, because dashboards add it to access tokens. Cognito has the type in
    /// the claim `token_use`, Keycloak in the claim `typ`.
    fn kind_by_claims(&self) -> TokenKind {
        if self.has("events") {
            TokenKind::Logout
        } else if ["at_hash", "c_hash", "nonce"].iter().any(|mark| self.has(mark))
            || self.text_is("token_use", "id")
            || self.text_is("typ", "ID")
        {
            TokenKind::Id
        } else if ["Refresh", "Offline", "Logout"].iter().any(|kind| self.text_is("typ", kind)) {
            TokenKind::Other
        } else if !self.has("sub") && (self.has("organization_id") || self.has("connection_id")) {
            TokenKind::IdpInitiatedLogin
        } else {
            TokenKind::Access
        }
    }

    fn text_is(&self, name: &str, expected: &str) -> bool {
        self.text_or_none(name).is_some_and(|text| text.eq_ignore_ascii_case(expected))
    }
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        CompactObject::deserialize(from).map(|object| Self { object: Arc::new(object) })
    }
}

/// Whether a `typ` is this media type, whose prefix `application/` may be omitted (RFC 7515 section
/// 4.1.9).
fn is_media_type(typ: &str, name: &str) -> bool {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
    .eq_ignore_ascii_case(name)
}

/// The error of a token that has expired.
pub(super) fn expired(expires_at: OffsetDateTime, now: OffsetDateTime) -> TokenError {
    let expected = format_args!("later than {now}, by the clock of this server");
    TokenError::Expired.logged("exp", expected, expires_at)
}

/// Token types, which exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Access,
    Id,
    /// Starts an IdP-initiated login.
    IdpInitiatedLogin,
    Logout,
    /// Its `typ` and its claims contradict each other, or the type is unknown.
    Other,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_date_is_a_number_within_range() {
        let read = |value: Value| claims(json!({"exp": value})).date("exp");
        assert_eq!(read(json!(0)), Ok(Some(OffsetDateTime::UNIX_EPOCH)));
        let fraction = OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1500);
        assert_eq!(read(json!(1.5)), Ok(Some(fraction)));
        assert_eq!(claims(json!({})).date("exp"), Ok(None));
        let unusable = [json!("9999999999"), json!(true), json!([1]), json!(-1), json!(1e300)];
        for value in unusable.into_iter().chain([json!(u64::MAX), json!(253_402_300_800_u64)]) {
            assert_eq!(read(value.clone()), Err(TokenError::InvalidClaim("exp")), "{value}");
        }
    }

    #[test]
    fn a_null_claim_counts_as_absent() {
        let claims = claims(json!({
            "exp": null, "aud": null, "sub": null, "scope": null, "roles": null, "events": null,
            "nonce": null, "at_hash": null, "token_use": null, "organization_id": "org_1",
        }));
        assert_eq!((claims.date("exp"), claims.text("sub")), (Ok(None), Ok(None)));
        assert_eq!(claims.audiences().unwrap().count(), 0);
        assert!(claims.scopes().is_empty() && claims.strings("roles").is_empty());
        assert_eq!(claims.kind(None), TokenKind::IdpInitiatedLogin);
    }

    #[test]
    fn audiences_are_strings() {
        let read = |value: Value| {
            let claims = claims(json!({"aud": value}));
            claims.audiences().map(|found| found.collect::<Vec<_>>().join(","))
        };
        assert_eq!(read(json!("a")), Ok("a".into()));
        assert_eq!(read(json!(["a", "b"])), Ok("a,b".into()));
        for value in [json!(7), json!(["a", 7]), json!({"a": 1})] {
            assert_eq!(read(value.clone()), Err(TokenError::InvalidClaim("aud")), "{value}");
        }
        assert_eq!(claims(json!({})).audiences().unwrap().count(), 0);
    }

    #[test]
    fn scopes_are_the_union_of_the_claims() {
        let read = |value: Value| claims(value).scopes();
        assert_eq!(read(json!({"scope": "a  b", "scopes": ["b", "c d"]})), ["a", "b", "c d"]);
        assert_eq!(read(json!({"scope": ["a"], "scopes": "b c"})), ["a", "b", "c"]);
        assert_eq!(read(json!({"scp": "a b"})), ["a", "b"]);
        assert_eq!(read(json!({"scp": ["a", "b"], "scope": "c"})), ["c", "a", "b"]);
        assert!(read(json!({"scope": 7, "scopes": {"a": 1}})).is_empty());
        assert_eq!(read(json!({"scopes": ["a", 7]})), ["a"]);
    }

    #[test]
    fn token_types_are_recognized_by_claims() {
        let kind = |typ, value| claims(value).kind(typ);
        let access = json!({"sub": "usr_1", "email": "a@b.test"});
        assert_eq!(kind(None, access.clone()), TokenKind::Access);
        assert_eq!(kind(Some("JWT"), access.clone()), TokenKind::Access);
        assert_eq!(kind(Some("application/at+jwt"), access.clone()), TokenKind::Access);
        assert_eq!(kind(Some("AT+JWT"), access.clone()), TokenKind::Access);
        assert_eq!(kind(Some("logout+jwt"), access.clone()), TokenKind::Other);
        assert_eq!(kind(Some("secevent+jwt"), access), TokenKind::Other);
        for mark in ["at_hash", "c_hash", "nonce"] {
            assert_eq!(kind(None, json!({"sub": "usr_1", mark: "x"})), TokenKind::Id);
            assert_eq!(kind(Some("at+jwt"), json!({"sub": "usr_1", mark: "x"})), TokenKind::Other);
        }
        for (name, word, expected) in [
            ("token_use", "id", TokenKind::Id),
            ("token_use", "access", TokenKind::Access),
            ("typ", "ID", TokenKind::Id),
            ("typ", "Bearer", TokenKind::Access),
            ("typ", "Refresh", TokenKind::Other),
            ("typ", "Offline", TokenKind::Other),
        ] {
            assert_eq!(kind(None, json!({"sub": "usr_1", name: word})), expected, "{name} {word}");
        }
        let idp_login = json!({"organization_id": "org_1", "connection_id": "conn_1"});
        assert_eq!(kind(None, idp_login), TokenKind::IdpInitiatedLogin);
        assert_eq!(kind(None, json!({"sub": "usr_1", "events": {}})), TokenKind::Logout);
    }
}
