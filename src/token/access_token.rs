//! The access token of a request (RFC 9068).

use time::OffsetDateTime;

use super::claims::{TokenKind, expired};
use super::leeway::Leeway;
use super::{Claims, Principal, TokenError};
use crate::util::diagnosis::{CheckError as _, OneOf, Shown};

/// Prefix of `jti` in Scalekit's access tokens.
const TOKEN_ID_PREFIX: &str = "tkn_";

/// What an access token must contain to be accepted.
#[derive(Clone, Debug)]
pub(crate) struct AccessTokenExpectations {
    pub(crate) issuers: Vec<String>,
    /// `None`: any.
    pub(crate) audiences: Option<Vec<String>>,
    /// Empty: any.
    pub(crate) client_ids: Vec<String>,
    /// In verifiers of a Scalekit environment: the app's client ID, which is the `aud` of its ID
    /// tokens. Tokens with a client as `aud` must then have a [`TOKEN_ID_PREFIX`].
    pub(crate) id_token_audience: Option<String>,
    /// The claims with the organization, in order of precedence.
    pub(crate) organization_claims: Vec<&'static str>,
    /// Whether tokens of machines need no audience.
    pub(crate) machine_tokens: bool,
    /// Allowed values of the claim `resource`, if present; empty: any.
    pub(crate) resources: Vec<String>,
    pub(crate) leeway: Leeway,
}

impl AccessTokenExpectations {
    /// Expects tokens of this issuer, and no audience yet: none is accepted.
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            issuers: vec![issuer],
            audiences: Some(Vec::new()),
            client_ids: Vec::new(),
            id_token_audience: None,
            organization_claims: Vec::new(),
            machine_tokens: false,
            resources: Vec::new(),
            leeway: Leeway::default(),
        }
    }

    /// Validates the claims of a token whose signature was verified.
    pub(crate) fn check(
        &self,
        claims: Claims,
        typ: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Principal, TokenError> {
        claims.check_issuer(&self.issuers)?;
        if claims.kind(typ) != TokenKind::Access {
            return Err(claims.wrong_type(typ, "an access token"));
        }
        self.reject_unmarked_id_token(&claims)?;
        self.check_audience(&claims)?;
        if !self.resources.is_empty()
            && let Some(resource) = claims.text("resource")?
            && !contains(&self.resources, resource)
        {
            let (expected, found) = (OneOf(&self.resources), Shown(resource));
            return Err(TokenError::InvalidClaim("resource").logged("resource", expected, found));
        }
        claims.check_not_before(now, self.leeway.not_before)?;
        let principal = Principal::from_claims(claims, &self.organization_claims)?;
        if now >= self.valid_until(&principal) {
            return Err(expired(principal.expires_at(), now));
        }
        let client_id = principal.client_id();
        if !self.client_ids.is_empty()
            && !client_id.is_some_and(|id| contains(&self.client_ids, id))
        {
            let (expected, found) = (OneOf(&self.client_ids), Shown(client_id.unwrap_or_default()));
            return Err(TokenError::InvalidClaim("client_id").logged("client_id", expected, found));
        }
        Ok(principal)
    }

    /// Rejects an ID token that has neither a hash nor a nonce. Its audience is its client, and its
    /// `jti`, if any, has no [`TOKEN_ID_PREFIX`].
    fn reject_unmarked_id_token(&self, claims: &Claims) -> Result<(), TokenError> {
        let Some(own) = &self.id_token_audience else { return Ok(()) };
        let clients = [Some(own.as_str()), claims.text("azp")?, claims.text("client_id")?];
        if claims.audiences()?.any(|found| clients.contains(&Some(found)))
            && !claims.text("jti")?.is_some_and(|id| id.starts_with(TOKEN_ID_PREFIX))
        {
            return Err(TokenError::WrongTokenType.logged(
                "token type",
                "an access token: its `jti` begins with tkn_",
                "a token for a client without that, such as an ID token",
            ));
        }
        Ok(())
    }

    /// Requires an expected audience. The token of a machine client that was created without an
    /// audience has no `aud`, and its subject is the client; an empty list is not accepted.
    fn check_audience(&self, claims: &Claims) -> Result<(), TokenError> {
        let mut audiences = claims.audiences()?;
        let Some(expected) = &self.audiences else { return Ok(()) };
        if audiences.any(|found| contains(expected, found)) {
            return Ok(());
        }
        let client = claims.text("client_id")?;
        let is_machine = !claims.has("aud") && client.is_some() && client == claims.text("sub")?;
        match is_machine {
            true if self.machine_tokens => Ok(()),
            true => Err(TokenError::InvalidAudience.logged(
                "aud",
                OneOf(expected),
                "none: the token of a machine client that was created without an audience; create \
                 it with one, or accept such tokens with machine_tokens()",
            )),
            false => Err(claims.wrong_audience("aud", OneOf(expected))),
        }
    }

    pub(super) fn valid_until(&self, principal: &Principal) -> OffsetDateTime {
        principal.expires_at().saturating_add(self.leeway.expiry)
    }
}

fn contains(texts: &[String], text: &str) -> bool {
    texts.iter().any(|known| known == text)
}
