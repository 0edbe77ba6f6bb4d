use super::Scalekit;
use crate::token::{
    Grant, IdToken, IdTokenExpectations, IdpInitiatedLogin, IdpInitiatedLoginExpectations,
    TokenError,
};

impl Scalekit {
    /// Verifies the ID token of a login (OpenID Connect Core, section 3.1.3.7), for apps that
    /// exchange codes themselves: signed by the environment's keys, issued by it for this client
    /// alone (`iss`, `aud`, `azp`), not expired, and for the login that sent this `nonce`. With the
    /// access token of the same response, `at_hash` must match it, if there is one.
    ///
    /// [`UnverifiedTokens::verify`](crate::oauth::UnverifiedTokens::verify) verifies both tokens of
    /// a response.
    ///
    /// # Errors
    /// [`TokenError::KeysUnavailable`] if the token cannot be verified now; any other error if it
    /// must not log a user in.
    #[doc(alias("validateToken", "validate_token"))]
    pub async fn verify_id_token(
        &self,
        id_token: &str,
        nonce: &str,
        access_token: Option<&str>,
    ) -> Result<IdToken, TokenError> {
        IdTokenExpectations {
            issuer: self.environment_url(),
            client_id: self.client_id(),
            access_token,
            grant: Grant::AuthorizationCode { nonce },
        }
        .verify(id_token, self.remote_keys(), self.clock().now())
        .await
    }

    /// Verifies the token in the parameter `idp_initiated_login` of an initiate-login request, for
    /// apps that start the login themselves. [`IdpInitiatedRedirect`](crate::IdpInitiatedRedirect)
    /// implements the whole flow.
    ///
    /// The token must be signed by the environment's keys, have an expiry, and be of this type, not
    /// an access or ID token. Its issuer is not validated, because it may be the app's own URL. The
    /// caller must detect replays, by the fingerprint and until a minute after the expiry, because
    /// clocks differ.
    ///
    /// # Errors
    /// [`TokenError::KeysUnavailable`] if the token cannot be verified now; any other error if it
    /// must not start a login.
    #[doc(alias("getIdpInitiatedLoginClaims", "get_idp_initiated_login_claims"))]
    pub async fn verify_idp_initiated_login(
        &self,
        token: &str,
    ) -> Result<IdpInitiatedLogin, TokenError> {
        IdpInitiatedLoginExpectations { issuers: &[], client_id: self.client_id() }
            .verify(token, self.remote_keys(), self.clock().now())
            .await
    }
}
