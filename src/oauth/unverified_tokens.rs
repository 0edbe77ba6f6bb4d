use time::Duration;

use crate::scalekit::Scalekit;
use crate::secret::SecretString;
use crate::token::{
    AccessTokenExpectations, Grant, IdToken, IdTokenExpectations, Leeway, ORGANIZATION_CLAIMS,
    Principal, TokenError, TokenSource,
};
use crate::util::diagnosis::CheckError as _;

/// Tokens of the token endpoint, not verified yet. Do not read claims from them: an identity is in
/// the [`VerifiedTokens`] of [`verify`](Self::verify).
///
/// ```
/// # #[cfg(feature = "sandbox")] {
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_scalekit::Sandbox;
/// use tower_scalekit::oauth::{AuthorizationRequest, CodeVerifier};
///
/// # let sandbox = Sandbox::builder().redirect_uri("https://app.example.com/cb").build();
/// # let scalekit = sandbox.scalekit();
/// let verifier = CodeVerifier::generate()?;
/// let nonce = "random text, kept in this browser's session"; // as well as `state`
/// let request = AuthorizationRequest::new("https://app.example.com/cb")
///     .nonce(nonce)
///     .code_challenge(&verifier);
/// let url = scalekit.authorization_url(&request);
/// # let callback = sandbox.log_in(url.as_str(), "jane@acme.test")?;
/// # let callback = url::Url::parse(&callback)?;
/// # let code = callback.query_pairs().find(|(name, _)| name == "code").unwrap().1;
///
/// // In the callback:
/// let tokens = scalekit.exchange_code(&code, "https://app.example.com/cb", Some(&verifier)).await?;
/// let verified = tokens.verify(&scalekit, nonce).await?;
/// assert_eq!(verified.id_token.unwrap().raw_claims()["email"], "jane@acme.test");
/// assert!(tokens.verify(&scalekit, "the nonce of another login").await.is_err());
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnverifiedTokens {
    /// The access token.
    pub access_token: SecretString,
    /// Present if the scope `offline_access` was granted.
    pub refresh_token: Option<SecretString>,
    /// The ID token. A refresh may omit it.
    pub id_token: Option<SecretString>,
    /// Lifetime of the access token, if present.
    pub expires_in: Option<std::time::Duration>,
    /// The granted scopes, space-separated, if present.
    pub scope: Option<String>,
}

/// The identity in tokens that were verified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedTokens {
    /// The claims of the access token.
    pub principal: Principal,
    /// The claims of the ID token; `None` if a refresh has omitted it.
    pub id_token: Option<IdToken>,
}

impl UnverifiedTokens {
    /// Verifies the tokens of a login: issued by this environment for this client, to one subject,
    /// for the login that sent this `nonce` (OpenID Connect Core, section 3.1.3.7). See
    /// [`Scalekit::verify_id_token`] for the ID token, which must be present.
    ///
    /// # Errors
    /// [`TokenError::KeysUnavailable`] if they cannot be verified now; any other error if they must
    /// not be used.
    pub async fn verify(
        &self,
        scalekit: &Scalekit,
        nonce: &str,
    ) -> Result<VerifiedTokens, TokenError> {
        if self.id_token.is_none() {
            let (expected, found) = ("an ID token (scope openid)", "an access token only");
            return Err(TokenError::Malformed.logged("id_token", expected, found));
        }
        self.verify_for(scalekit, Grant::AuthorizationCode { nonce }).await
    }

    /// Verifies the tokens of a refresh, for the subject of the login (OpenID Connect Core, section
    /// 12.2). An ID token needs no nonce.
    ///
    /// # Errors
    /// See [`verify`](Self::verify).
    pub async fn verify_refreshed(
        &self,
        scalekit: &Scalekit,
        subject: &str,
    ) -> Result<VerifiedTokens, TokenError> {
        self.verify_for(scalekit, Grant::RefreshToken { subject }).await
    }

    /// Verifies the tokens of a login or a refresh: issued by this environment, for this client,
    /// and with the same subject.
    pub(crate) async fn verify_for(
        &self,
        scalekit: &Scalekit,
        grant: Grant<'_>,
    ) -> Result<VerifiedTokens, TokenError> {
        let now = scalekit.clock().now();
        let signed = scalekit
            .remote_keys()
            .verify_signature(self.access_token.expose(), TokenSource::Issuer)
            .await?;
        let expectations = AccessTokenExpectations {
            audiences: None,
            client_ids: vec![scalekit.client_id().to_owned()],
            // The response of the token endpoint names the type of each token.
            id_token_audience: None,
            organization_claims: ORGANIZATION_CLAIMS.to_vec(),
            leeway: Leeway { expiry: Duration::ZERO, ..Leeway::default() },
            ..AccessTokenExpectations::new(scalekit.environment_url().to_owned())
        };
        let principal = expectations.check(signed.claims, signed.header.typ.as_deref(), now)?;
        let id_token = match &self.id_token {
            Some(id_token) => {
                let expected = IdTokenExpectations {
                    issuer: scalekit.environment_url(),
                    client_id: scalekit.client_id(),
                    access_token: Some(self.access_token.expose()),
                    grant,
                };
                Some(expected.verify(id_token.expose(), scalekit.remote_keys(), now).await?)
            }
            None => None,
        };
        let subject = match (&id_token, grant) {
            (Some(id_token), _) => Some(id_token.subject()),
            (None, Grant::RefreshToken { subject }) => Some(subject),
            (None, Grant::AuthorizationCode { .. }) => None,
        };
        if subject != Some(principal.subject()) {
            let expected = "the user of the ID token, or of the session";
            return Err(TokenError::InvalidClaim("sub").logged("sub", expected, "another user"));
        }
        Ok(VerifiedTokens { principal, id_token })
    }
}
