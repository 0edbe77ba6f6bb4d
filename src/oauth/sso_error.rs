use crate::util::open_enum::open_enum;

open_enum! {
    /// Error code of a failed login at the environment: the parameter `error` of a callback, or of
    /// the initiate-login URL. Codes of single sign-on and of OAuth 2.0 (RFC 6749 section 4.1.2.1).
    ///
    /// ```
    /// use tower_scalekit::oauth::{ErrorOrigin, SsoError};
    ///
    /// let error = SsoError::from("no_active_connections");
    /// assert_eq!(error, SsoError::NoActiveConnections);
    /// assert_eq!(error.origin(), ErrorOrigin::Organization);
    /// assert_eq!(SsoError::from("brand_new").as_str(), "brand_new");
    /// ```
    SsoError {
        /// The user or the identity provider denied access.
        AccessDenied = "access_denied",
        /// The application is disabled in the dashboard.
        ApplicationNotActive = "application_not_active",
        /// The identity provider's assertion has expired.
        AssertionExpired = "assertion_expired",
        /// The user has to choose an account, which the request did not allow.
        AccountSelectionRequired = "account_selection_required",
        /// The user did not finish logging in.
        AuthenticationNotCompleted = "authentication_not_completed",
        /// The connection is disabled.
        ConnectionNotActive = "connection_not_active",
        /// The user has to consent, which the request did not allow.
        ConsentRequired = "consent_required",
        /// No organization has this e-mail domain.
        DomainNotFound = "domain_not_found",
        /// The identity provider did not exchange its code for tokens.
        FailedToExchangeToken = "failed_to_exchange_token",
        /// The URL of the assertion consumer service is wrong.
        InvalidAcsUrl = "invalid_acs_url",
        /// The destination of the assertion is wrong.
        InvalidAssertionUrl = "invalid_assertion_url",
        /// The client ID is unknown.
        InvalidClient = "invalid_client",
        /// The connection does not exist.
        InvalidConnectionId = "invalid_connection_id",
        /// No parameter of the request selects a connection.
        InvalidConnectionSelector = "invalid_connection_selector",
        /// A scope is unknown.
        InvalidScope = "invalid_scope",
        /// The identity provider's ID token is invalid.
        InvalidIdToken = "invalid_id_token",
        /// The organization does not exist.
        InvalidOrganizationId = "invalid_organization_id",
        /// The redirect URI is not registered.
        InvalidRedirectUri = "invalid_redirect_uri",
        /// The authorization request is invalid.
        InvalidRequest = "invalid_request",
        /// The identity provider's form is invalid.
        InvalidSamlFormParams = "invalid_saml_form_params",
        /// The identity provider's metadata is invalid.
        InvalidSamlMetadata = "invalid_saml_metadata",
        /// The identity provider rejected the request as invalid.
        InvalidSamlRequest = "invalid_saml_request",
        /// The identity provider's response is invalid.
        InvalidSamlResponse = "invalid_saml_response",
        /// The identity provider reported an error.
        InvalidStatus = "invalid_status",
        /// The user has to interact, which the request did not allow.
        InteractionRequired = "interaction_required",
        /// The user's e-mail address is not in the organization's domains.
        InvalidUserDomain = "invalid_user_domain",
        /// The user has to log in, which the request did not allow.
        LoginRequired = "login_required",
        /// The identity provider's response cannot be parsed.
        MalformedSamlResponse = "malformed_saml_response",
        /// The identity provider omitted a required attribute, such as the e-mail address.
        MandatoryAttributeMissing = "mandatory_attribute_missing",
        /// All connections of the organization are disabled.
        NoActiveConnections = "no_active_connections",
        /// The organization has no connection.
        NoConfiguredConnections = "no_configured_connections",
        /// The identity provider's response has expired.
        ResponseExpired = "response_expired",
        /// The environment failed.
        ServerError = "server_error",
        /// The identity provider's signature does not match its certificate.
        SignatureValidationFailed = "signature_validation_failed",
        /// The environment is temporarily unavailable.
        TemporarilyUnavailable = "temporarily_unavailable",
        /// The application is not allowed to request codes.
        UnauthorizedClient = "unauthorized_client",
        /// The environment does not issue codes to this application.
        UnsupportedResponseType = "unsupported_response_type",
        /// The application is not authorized.
        Unauthorized = "unauthorized",
        /// The identity provider did not identify the user.
        UserInfoRetrieveFailed = "user_info_retrieve_failed",
        /// The user has to log in, which the request did not allow.
        UserLoginRequired = "user_login_required",
        /// The user is disabled in the organization.
        UserNotActive = "user_not_active",
    }
}

/// Who can resolve an [`SsoError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorOrigin {
    /// This application: its settings in the dashboard, or its request. Log it.
    Application,
    /// The environment. Also the origin of unknown codes.
    Environment,
    /// The user's organization: its administrator has to check the connection, the identity
    /// provider or the user's account.
    Organization,
    /// The user, for instance by logging in again.
    Person,
}

impl SsoError {
    /// Who can resolve the error.
    #[must_use]
    pub fn origin(&self) -> ErrorOrigin {
        match self {
            Self::AccessDenied
            | Self::AccountSelectionRequired
            | Self::ConsentRequired
            | Self::InteractionRequired
            | Self::LoginRequired
            | Self::AssertionExpired
            | Self::AuthenticationNotCompleted
            | Self::ResponseExpired
            | Self::UserLoginRequired => ErrorOrigin::Person,
            Self::ConnectionNotActive
            | Self::DomainNotFound
            | Self::FailedToExchangeToken
            | Self::InvalidAcsUrl
            | Self::InvalidAssertionUrl
            | Self::InvalidIdToken
            | Self::InvalidSamlFormParams
            | Self::InvalidSamlMetadata
            | Self::InvalidSamlRequest
            | Self::InvalidSamlResponse
            | Self::InvalidStatus
            | Self::InvalidUserDomain
            | Self::MalformedSamlResponse
            | Self::MandatoryAttributeMissing
            | Self::NoActiveConnections
            | Self::NoConfiguredConnections
            | Self::SignatureValidationFailed
            | Self::UserInfoRetrieveFailed
            | Self::UserNotActive => ErrorOrigin::Organization,
            Self::ApplicationNotActive
            | Self::InvalidClient
            | Self::InvalidConnectionId
            | Self::InvalidConnectionSelector
            | Self::InvalidOrganizationId
            | Self::InvalidRedirectUri
            | Self::InvalidRequest
            | Self::InvalidScope
            | Self::UnauthorizedClient
            | Self::UnsupportedResponseType
            | Self::Unauthorized => ErrorOrigin::Application,
            Self::ServerError | Self::TemporarilyUnavailable | Self::Unknown(_) => {
                ErrorOrigin::Environment
            }
        }
    }

    /// Parses the parameter; `None` if it is not an error code.
    pub(crate) fn parse(parameter: &str) -> Option<Self> {
        super::is_error_code(parameter).then(|| Self::from(parameter))
    }

    /// Whether the environment could not log the user in without interaction (OpenID Connect Core
    /// section 3.1.2.6).
    pub(crate) fn wants_interaction(&self) -> bool {
        matches!(
            self,
            Self::AccountSelectionRequired
                | Self::ConsentRequired
                | Self::InteractionRequired
                | Self::LoginRequired
                | Self::UserLoginRequired
        )
    }
}

impl std::error::Error for SsoError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_code_is_known() {
        let documented = "access_denied invalid_request server_error invalid_redirect_uri \
            invalid_connection_selector no_active_connections connection_not_active \
            no_configured_connections invalid_organization_id invalid_connection_id \
            domain_not_found invalid_user_domain invalid_client application_not_active \
            unauthorized user_not_active mandatory_attribute_missing invalid_id_token \
            failed_to_exchange_token user_info_retrieve_failed invalid_saml_metadata \
            invalid_saml_response invalid_saml_request invalid_saml_form_params \
            signature_validation_failed invalid_acs_url invalid_assertion_url invalid_status \
            malformed_saml_response assertion_expired response_expired \
            authentication_not_completed user_login_required";
        for code in documented.split_ascii_whitespace() {
            let error = SsoError::parse(code).unwrap();
            assert!(!matches!(error, SsoError::Unknown(_)), "{code}");
            assert_eq!(error.to_string(), code);
        }
    }

    #[test]
    fn invalid_error_codes_are_ignored() {
        let long = "a".repeat(65);
        for text in ["<b>", "a b", "Call +1 555", "a\r\nb", &long] {
            assert_eq!(SsoError::parse(text), None, "{text:?}");
        }
        assert_eq!(SsoError::parse("new_one"), Some(SsoError::Unknown("new_one".to_owned())));
    }
}
