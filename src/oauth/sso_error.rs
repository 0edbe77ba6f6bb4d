use crate::util::open_enum::open_enum;

open_enum! {
    /// Why a login did not succeed at the environment: the parameter `error` of a callback, or of
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
        /// The person, or their identity provider, said no.
        AccessDenied = "access_denied",
        /// The application is switched off in the dashboard.
        ApplicationNotActive = "application_not_active",
        /// The identity provider's assertion came too late.
        AssertionExpired = "assertion_expired",
        /// The person has to choose an account, which the request did not allow.
        AccountSelectionRequired = "account_selection_required",
        /// The person did not finish logging in.
        AuthenticationNotCompleted = "authentication_not_completed",
        /// The connection exists and is switched off.
        ConnectionNotActive = "connection_not_active",
        /// The person has to consent, which the request did not allow.
        ConsentRequired = "consent_required",
        /// No organization has this e-mail domain.
        DomainNotFound = "domain_not_found",
        /// The identity provider did not give tokens for its code.
        FailedToExchangeToken = "failed_to_exchange_token",
        /// The assertion consumer service's address is wrong.
        InvalidAcsUrl = "invalid_acs_url",
        /// The assertion's address is wrong.
        InvalidAssertionUrl = "invalid_assertion_url",
        /// The client id is not known.
        InvalidClient = "invalid_client",
        /// There is no such connection.
        InvalidConnectionId = "invalid_connection_id",
        /// Nothing that the request names leads to a connection.
        InvalidConnectionSelector = "invalid_connection_selector",
        /// One of the scopes is not known.
        InvalidScope = "invalid_scope",
        /// The identity provider's ID token is not acceptable.
        InvalidIdToken = "invalid_id_token",
        /// There is no such organization.
        InvalidOrganizationId = "invalid_organization_id",
        /// The redirect URI is not registered.
        InvalidRedirectUri = "invalid_redirect_uri",
        /// The authorization request is not in order.
        InvalidRequest = "invalid_request",
        /// The identity provider's form is not in order.
        InvalidSamlFormParams = "invalid_saml_form_params",
        /// The identity provider's metadata is not in order.
        InvalidSamlMetadata = "invalid_saml_metadata",
        /// The identity provider did not understand the request.
        InvalidSamlRequest = "invalid_saml_request",
        /// The identity provider's response is not acceptable.
        InvalidSamlResponse = "invalid_saml_response",
        /// The identity provider reports a failure.
        InvalidStatus = "invalid_status",
        /// The person has to be asked something, which the request did not allow.
        InteractionRequired = "interaction_required",
        /// The person's address is not of the organization's domains.
        InvalidUserDomain = "invalid_user_domain",
        /// The person has to log in, which the request did not allow.
        LoginRequired = "login_required",
        /// The identity provider's response cannot be read.
        MalformedSamlResponse = "malformed_saml_response",
        /// The identity provider left out an attribute that is needed, such as the e-mail address.
        MandatoryAttributeMissing = "mandatory_attribute_missing",
        /// The organization's connections are all switched off.
        NoActiveConnections = "no_active_connections",
        /// The organization has no connection.
        NoConfiguredConnections = "no_configured_connections",
        /// The identity provider's response came too late.
        ResponseExpired = "response_expired",
        /// The environment has failed.
        ServerError = "server_error",
        /// The identity provider's signature does not match its certificate.
        SignatureValidationFailed = "signature_validation_failed",
        /// The environment is too busy.
        TemporarilyUnavailable = "temporarily_unavailable",
        /// The application may not ask for codes.
        UnauthorizedClient = "unauthorized_client",
        /// The environment gives no codes to this application.
        UnsupportedResponseType = "unsupported_response_type",
        /// The application may not do this.
        Unauthorized = "unauthorized",
        /// The identity provider did not tell who the person is.
        UserInfoRetrieveFailed = "user_info_retrieve_failed",
        /// The person has to log in, which the request did not allow.
        UserLoginRequired = "user_login_required",
        /// The person is switched off in their organization.
        UserNotActive = "user_not_active",
    }
}

/// With whom the remedy of an [`SsoError`] lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorOrigin {
    /// This application: its settings in the dashboard, or what it asked for. Its log should say.
    Application,
    /// The environment, or a reason that this version does not know.
    Environment,
    /// The person's organization: its administrator has to look at the connection, the identity
    /// provider or the person's account.
    Organization,
    /// The person: logging in again may do.
    Person,
}

impl SsoError {
    /// With whom the remedy lies.
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

    /// Reads the parameter of an address; `None` for what is no code at all.
    pub(crate) fn parse(parameter: &str) -> Option<Self> {
        super::is_error_code(parameter).then(|| Self::from(parameter))
    }

    /// Whether the environment could not log the person in without asking them something
    /// (OpenID Connect Core section 3.1.2.6).
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
    fn what_is_no_code_is_nothing() {
        let long = "a".repeat(65);
        for text in ["<b>", "a b", "Call +1 555", "a\r\nb", &long] {
            assert_eq!(SsoError::parse(text), None, "{text:?}");
        }
        assert_eq!(SsoError::parse("new_one"), Some(SsoError::Unknown("new_one".to_owned())));
    }
}
