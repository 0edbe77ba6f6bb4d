use time::Duration;

use super::Sessions;
use crate::oauth::TokenResponse;
use crate::token::{
    CLOCK_SKEW, Claims, Expectations, Grant, IdTokenExpectations, ORGANIZATION_CLAIMS, Principal,
    TokenError, TokenSource,
};
use crate::util::diagnosis::CheckError as _;

/// The claims of verified tokens.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    /// The claims of the ID token, if there is one.
    pub(crate) id_claims: Option<Claims>,
}

impl Sessions {
    /// Verifies the tokens of a login or a refresh: issued by this environment, for this client,
    /// and with the same subject.
    pub(crate) async fn verify(
        &self,
        tokens: &TokenResponse,
        grant: Grant<'_>,
    ) -> Result<Verified, TokenError> {
        let scalekit = &self.0.scalekit;
        let now = scalekit.clock().now();
        let signed = scalekit
            .remote_keys()
            .verify(tokens.access_token.expose(), TokenSource::Issuer)
            .await?;
        let expectations = Expectations {
            issuers: vec![scalekit.environment_url().to_owned()],
            audiences: None,
            client_ids: vec![scalekit.client_id().to_owned()],
            // The response of the token endpoint names the type of each token.
            id_token_audience: None,
            organization_claims: ORGANIZATION_CLAIMS.to_vec(),
            machine_tokens: false,
            resources: Vec::new(),
            expiry_leeway: Duration::ZERO,
            not_before_leeway: CLOCK_SKEW,
        };
        let principal = expectations.check(signed.claims, signed.typ.as_deref(), now)?;
        let expected_subject = match &grant {
            Grant::RefreshToken { subject } => Some((*subject).to_owned()),
            Grant::AuthorizationCode { .. } => None,
        };
        let id_token = match &tokens.id_token {
            Some(id_token) => {
                let expected = IdTokenExpectations {
                    issuer: scalekit.environment_url(),
                    client_id: scalekit.client_id(),
                    access_token: tokens.access_token.expose(),
                    grant,
                };
                Some(expected.verify(id_token.expose(), scalekit.remote_keys(), now).await?)
            }
            None => None,
        };
        let id_subject = id_token.as_ref().map(|verified| verified.subject.as_str());
        if id_subject.or(expected_subject.as_deref()) != Some(principal.subject()) {
            let expected = "the user of the ID token, or of the session";
            return Err(TokenError::InvalidClaim("sub").failed("sub", expected, "another user"));
        }
        Ok(Verified { principal, id_claims: id_token.map(|verified| verified.claims) })
    }
}
