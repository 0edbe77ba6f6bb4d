//! `WWW-Authenticate: Bearer …`, typed (RFC 6750 section 3, RFC 9728 section 5.1), with `DPoP` beside
//! it or in its place (RFC 9449 section 7.1).
//!
//! A [`Challenge`] holds only validated values, so it always becomes a valid header: no
//! configuration and no claim can break out of a quoted string.
//!
//! ```
//! use tower_scalekit::challenge::{BearerError, Challenge, ScopeToken};
//!
//! let challenge = Challenge::new()
//!     .error(BearerError::InsufficientScope)
//!     .scope([ScopeToken::new("todo:write")?]);
//! assert_eq!(
//!     challenge.to_header_value(),
//!     "Bearer error=\"insufficient_scope\", \
//!      error_description=\"The token lacks a required scope\", scope=\"todo:write\"",
//! );
//! # Ok::<(), tower_scalekit::ConfigError>(())
//! ```

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use url::Url;

use crate::error::{ConfigError, ConfigProblem};

/// A challenge for the `Bearer` scheme, and for `DPoP` where [it is accepted](crate::dpop).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    realm: Option<Realm>,
    resource_metadata: Option<Arc<Url>>,
    error: Option<BearerError>,
    scope: Vec<ScopeToken>,
    step_up: Option<Box<StepUp>>,
    dpop: Option<Arc<DpopScheme>>,
}

/// The scheme `DPoP` of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DpopScheme {
    /// The accepted algorithms of proofs, separated by spaces.
    pub(crate) algorithms: Arc<str>,
    /// Whether bearer tokens are accepted, too.
    pub(crate) accepts_bearer: bool,
    /// Whether the request has this scheme, so that the error concerns it.
    pub(crate) is_used: bool,
}

/// Parameters of RFC 9470, which few challenges have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StepUp {
    max_age: Option<Duration>,
    acr_values: Vec<AcrValue>,
}

impl Challenge {
    /// A challenge without attributes, for requests without credentials.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the protection space (`realm`).
    #[must_use]
    pub fn realm(mut self, realm: Realm) -> Self {
        self.realm = Some(realm);
        self
    }

    /// Sets the absolute URL of the protected resource metadata (RFC 9728).
    #[must_use]
    pub fn resource_metadata(mut self, url: Arc<Url>) -> Self {
        self.resource_metadata = Some(url);
        self
    }

    /// Sets the error code. Leave it out if the request has no credentials.
    #[must_use]
    pub fn error(mut self, error: BearerError) -> Self {
        self.error = Some(error);
        self
    }

    /// Sets the scopes that the operation requires. Replaces earlier ones.
    #[must_use]
    pub fn scope(mut self, scopes: impl IntoIterator<Item = ScopeToken>) -> Self {
        self.scope = scopes.into_iter().collect();
        self
    }

    /// Sets how long ago the user may have authenticated, in whole seconds (RFC 9470).
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.step_up.get_or_insert_default().max_age = Some(max_age);
        self
    }

    /// Sets the authentication context classes of which one is required (RFC 9470). Replaces earlier
    /// ones.
    #[must_use]
    pub fn acr_values(mut self, values: impl IntoIterator<Item = AcrValue>) -> Self {
        self.step_up.get_or_insert_default().acr_values = values.into_iter().collect();
        self
    }

    /// Adds the scheme `DPoP`.
    pub(crate) fn dpop(mut self, scheme: DpopScheme) -> Self {
        self.dpop = Some(Arc::new(scheme));
        self
    }

    /// The header's value.
    #[must_use]
    pub fn to_header_value(&self) -> HeaderValue {
        // Every attribute is visible ASCII by construction, so the fallback is never taken.
        HeaderValue::try_from(self.to_string()).unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// The scopes, separated by spaces.
    pub(crate) fn scope_text(&self) -> String {
        self.scope.iter().map(ScopeToken::as_str).collect::<Vec<_>>().join(" ")
    }

    fn write_scheme<'a, 'f>(
        &self,
        f: &'a mut fmt::Formatter<'f>,
        scheme: &str,
    ) -> Result<Attributes<'a, 'f>, fmt::Error> {
        f.write_str(scheme)?;
        let mut attributes = Attributes { f, first: true };
        if let Some(realm) = &self.realm {
            attributes.quoted("realm", &realm.0)?;
        }
        if let Some(error) = self.error {
            attributes.quoted("error", error.code())?;
            attributes.quoted("error_description", error.description())?;
        }
        if !self.scope.is_empty() {
            attributes.quoted("scope", &self.scope_text())?;
        }
        if let Some(StepUp { max_age, acr_values }) = self.step_up.as_deref() {
            if let Some(max_age) = max_age {
                attributes.quoted("max_age", &max_age.as_secs().to_string())?;
            }
            if !acr_values.is_empty() {
                let values = acr_values.iter().map(AcrValue::as_str).collect::<Vec<_>>();
                attributes.quoted("acr_values", &values.join(" "))?;
            }
        }
        if let Some(url) = &self.resource_metadata {
            attributes.quoted("resource_metadata", url.as_str())?;
        }
        Ok(attributes)
    }
}

impl fmt::Display for Challenge {
    /// The first scheme is that of the request, with all attributes, because some clients read no
    /// other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(DpopScheme { algorithms, accepts_bearer, is_used }) = self.dpop.as_deref() else {
            return self.write_scheme(f, "Bearer").map(drop);
        };
        if *accepts_bearer && !is_used {
            self.write_scheme(f, "Bearer")?;
            f.write_str(", DPoP")?;
            return Attributes { f, first: true }.quoted("algs", algorithms);
        }
        self.write_scheme(f, "DPoP")?.quoted("algs", algorithms)?;
        if *accepts_bearer {
            f.write_str(", Bearer")?;
            if let Some(realm) = &self.realm {
                Attributes { f, first: true }.quoted("realm", &realm.0)?;
            }
        }
        Ok(())
    }
}

struct Attributes<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl Attributes<'_, '_> {
    fn quoted(&mut self, name: &str, value: &str) -> fmt::Result {
        self.f.write_str(if self.first { " " } else { ", " })?;
        self.first = false;
        write!(self.f, "{name}=\"")?;
        for character in value.chars() {
            if matches!(character, '"' | '\\') {
                self.f.write_char('\\')?;
            }
            self.f.write_char(character)?;
        }
        self.f.write_char('"')
    }
}

/// Exposes the challenge to scripts of other origins (CORS).
pub(crate) fn expose_challenge(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("www-authenticate"),
    );
}

/// The challenge of the layer that verified the token, for the rejections of inner layers.
#[derive(Clone, Debug)]
pub(crate) struct ChallengeContext {
    challenge: Arc<Challenge>,
    /// Scopes required by the layers passed so far.
    scopes: Vec<ScopeToken>,
}

impl ChallengeContext {
    pub(crate) fn new(challenge: Arc<Challenge>) -> Self {
        Self { challenge, scopes: Vec::new() }
    }

    /// Adds scopes that the token has and a layer requires.
    pub(crate) fn require(&mut self, scopes: impl IntoIterator<Item = ScopeToken>) {
        self.scopes.extend(scopes);
    }

    /// A challenge that names all scopes of the operation: the granted ones and these.
    pub(crate) fn insufficient_scope(&self, missing: &[ScopeToken]) -> Challenge {
        let mut scopes: Vec<ScopeToken> = Vec::new();
        for scope in self.scopes.iter().chain(missing) {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        Challenge::clone(&self.challenge).scope(scopes)
    }
}

/// Error codes of a challenge of either scheme: RFC 6750 section 3.1, RFC 9449 section 7.1 and RFC 9470
/// section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BearerError {
    /// The token is valid but lacks a required scope.
    InsufficientScope,
    /// The token is valid, but its user must authenticate again or in another way.
    InsufficientUserAuthentication,
    /// The proof of possession is invalid (RFC 9449 section 7.1).
    InvalidDpopProof,
    /// The request is malformed, for instance with two `Authorization` headers.
    InvalidRequest,
    /// The token is expired, revoked, malformed, issued for another audience or by another issuer.
    InvalidToken,
    /// The proof of possession needs a nonce of this server (RFC 9449 section 9).
    UseDpopNonce,
}

impl BearerError {
    /// The code in the header and in JSON bodies.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }

    /// `error_description`. It does not disclose which check failed.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::InsufficientScope => "The token lacks a required scope",
            Self::InsufficientUserAuthentication => {
                "A more recent or a stronger authentication of the user is required"
            }
            Self::InvalidDpopProof => "The DPoP proof is invalid",
            Self::InvalidRequest => "The request must carry exactly one Authorization header",
            Self::InvalidToken => "The token is invalid or has expired",
            Self::UseDpopNonce => "The DPoP proof must have the nonce of the DPoP-Nonce header",
        }
    }
}

/// Name of a protection space (RFC 9110 section 11.5): visible ASCII and spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm(Arc<str>);

impl Realm {
    /// Checks the name.
    ///
    /// # Errors
    /// When it is empty or contains characters other than visible ASCII and spaces.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        if name.is_empty() || !name.bytes().all(|b| matches!(b, b' '..=b'~')) {
            let reason = "must be one or more visible ASCII characters or spaces";
            return Err(ConfigProblem::invalid("realm", reason).into());
        }
        Ok(Self(name.into()))
    }
}

/// One scope (RFC 6749 section 3.3): visible ASCII without space, `"` and `\`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeToken(Arc<str>);

impl ScopeToken {
    /// Checks the name.
    ///
    /// # Errors
    /// When it is empty or contains a character that RFC 6749 does not allow in a scope.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        if !is_scope_token(name) {
            let reason = format!("{name:?} is not a scope: visible ASCII, no space, no \" or \\");
            return Err(ConfigProblem::invalid("scope", reason).into());
        }
        Ok(Self(name.into()))
    }

    /// The scope's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One authentication context class (`acr`, OpenID Connect Core section 2): visible ASCII without
/// space, `"` and `\`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcrValue(Arc<str>);

impl AcrValue {
    /// Checks the name.
    ///
    /// # Errors
    /// When it is empty or contains a character that separates or ends values in a challenge.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        if !is_scope_token(name) {
            let reason = format!("{name:?} is not visible ASCII without space, \" and \\");
            return Err(ConfigProblem::invalid("acr", reason).into());
        }
        Ok(Self(name.into()))
    }

    /// The class's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_scope_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_challenge_is_the_scheme_alone() {
        assert_eq!(Challenge::new().to_header_value(), "Bearer");
    }

    #[test]
    fn every_attribute_appears_once_and_in_order() {
        let url = Arc::new(Url::parse("https://mcp.example.com/.well-known/x").unwrap());
        let challenge = Challenge::new()
            .realm(Realm::new("to\"do\\s").unwrap())
            .resource_metadata(url)
            .error(BearerError::InvalidToken)
            .scope([ScopeToken::new("a").unwrap(), ScopeToken::new("b:c").unwrap()]);
        assert_eq!(
            challenge.to_header_value(),
            "Bearer realm=\"to\\\"do\\\\s\", error=\"invalid_token\", \
             error_description=\"The token is invalid or has expired\", scope=\"a b:c\", \
             resource_metadata=\"https://mcp.example.com/.well-known/x\"",
        );
    }

    #[test]
    fn a_step_up_challenge_is_that_of_rfc_9470() {
        let challenge = Challenge::new()
            .error(BearerError::InsufficientUserAuthentication)
            .max_age(Duration::from_millis(300_900))
            .acr_values(["urn:mfa", "phr"].map(|name| AcrValue::new(name).unwrap()));
        assert_eq!(
            challenge.to_header_value(),
            "Bearer error=\"insufficient_user_authentication\", error_description=\"A more recent \
             or a stronger authentication of the user is required\", max_age=\"300\", \
             acr_values=\"urn:mfa phr\"",
        );
        for text in ["", "a b", "a\"b", "a\\b", "a\r\nb", "é"] {
            assert!(AcrValue::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_scheme_of_the_request_is_the_first_and_has_the_error() {
        let challenge = |accepts_bearer, is_used| {
            let algorithms = Arc::from("ES256 EdDSA");
            Challenge::new()
                .realm(Realm::new("todo").unwrap())
                .error(BearerError::InvalidToken)
                .dpop(DpopScheme { algorithms, accepts_bearer, is_used })
                .to_header_value()
        };
        let error = "realm=\"todo\", error=\"invalid_token\", \
                     error_description=\"The token is invalid or has expired\"";
        let algorithms = "algs=\"ES256 EdDSA\"";
        assert_eq!(challenge(true, false), format!("Bearer {error}, DPoP {algorithms}"));
        let used = format!("DPoP {error}, {algorithms}");
        assert_eq!(challenge(true, true), format!("{used}, Bearer realm=\"todo\""));
        for is_used in [false, true] {
            assert_eq!(challenge(false, is_used), used);
        }
    }

    #[test]
    fn header_breaking_text_is_rejected_when_configured() {
        for text in ["", "a b", "a\"b", "a\\b", "a\r\nb", "é"] {
            assert!(ScopeToken::new(text).is_err(), "{text:?}");
        }
        for text in ["", "a\r\nb", "é"] {
            assert!(Realm::new(text).is_err(), "{text:?}");
        }
    }

    /// Parses a challenge by the grammar of RFC 9110 section 11.6.1, independently of the code
    /// above: the scheme, then `name=token` or `name="quoted"`, each name once.
    fn parse(header: &str) -> Option<Vec<(String, String)>> {
        let mut attributes = Vec::<(String, String)>::new();
        let mut rest = header.strip_prefix("Bearer")?;
        while !rest.is_empty() {
            rest = rest.strip_prefix(if attributes.is_empty() { " " } else { ", " })?;
            let (name, value) = rest.split_once("=\"")?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                return None;
            }
            let (mut text, mut characters) = (String::new(), value.char_indices());
            let end = loop {
                match characters.next()? {
                    (index, '"') => break index,
                    (_, '\\') => text.push(characters.next()?.1),
                    (_, character) if (' '..='~').contains(&character) => text.push(character),
                    _ => return None,
                }
            };
            if attributes.iter().any(|(known, _)| known == name) {
                return None;
            }
            attributes.push((name.to_owned(), text));
            rest = value.get(end + 1..)?;
        }
        Some(attributes)
    }

    proptest::proptest! {
        #[test]
        fn every_challenge_parses_back_to_what_it_was_made_of(
            realm in proptest::option::of("[ -~]{1,40}"),
            path in "[ -~]{0,40}",
            with_url in proptest::bool::ANY,
            error in proptest::option::of(0_usize..3),
            scopes in proptest::collection::vec("[!#-\\[\\]-~]{1,20}", 0..5),
        ) {
            let mut expected = Vec::new();
            let mut challenge = Challenge::new();
            if let Some(realm) = &realm {
                challenge = challenge.realm(Realm::new(realm).unwrap());
                expected.push(("realm", realm.clone()));
            }
            if let Some(error) = error {
                let all = [
                    BearerError::InsufficientScope,
                    BearerError::InvalidRequest,
                    BearerError::InvalidToken,
                ];
                challenge = challenge.error(all[error]);
                expected.push(("error", all[error].code().to_owned()));
                expected.push(("error_description", all[error].description().to_owned()));
            }
            let tokens = scopes.iter().map(|scope| ScopeToken::new(scope).unwrap());
            challenge = challenge.scope(tokens);
            if !scopes.is_empty() {
                expected.push(("scope", scopes.join(" ")));
            }
            if with_url {
                let mut url = Url::parse("https://mcp.test/").unwrap();
                url.set_path(&path);
                expected.push(("resource_metadata", url.to_string()));
                challenge = challenge.resource_metadata(Arc::new(url));
            }
            let header = challenge.to_header_value();
            let parsed = parse(header.to_str().unwrap()).unwrap();
            let parsed: Vec<_> = parsed.iter().map(|(name, text)| (&**name, text.clone())).collect();
            proptest::prop_assert_eq!(parsed, expected);
        }
    }
}
