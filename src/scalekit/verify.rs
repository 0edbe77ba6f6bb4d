use super::Scalekit;
use crate::token::{IdpInitiatedLogin, IdpInitiatedLoginExpectations, TokenError};

impl Scalekit {
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
