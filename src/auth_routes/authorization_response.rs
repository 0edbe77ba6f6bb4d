use http::Request;

use super::LoginError;
use crate::oauth::SsoError;
use crate::util::diagnosis::CheckError as _;
use crate::util::query::QueryParam;

/// The query parameters of a callback (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone)]
pub(super) struct AuthorizationResponse {
    pub(super) issuer: Option<String>,
    /// The code; otherwise the error, or `None` if the environment sent no valid error code.
    pub(super) code_or_error: Result<String, Option<SsoError>>,
}

impl AuthorizationResponse {
    /// Returns the `state` (the first one, if repeated), and the rest of the query. An invalid
    /// query ends its attempt too.
    pub(super) fn read(request: &Request<()>) -> (Option<String>, Result<Self, LoginError>) {
        if let Err(error) = LoginError::require_method(request.method(), "GET") {
            return (None, Err(error));
        }
        let query = request.uri().query().unwrap_or_default();
        let parameters =
            ["code", "state", "iss", "error"].map(|name| QueryParam::find(query, name));
        let is_repeated = parameters.iter().any(|parameter| parameter.is_repeated);
        let [code, state, issuer, error] = parameters.map(|parameter| parameter.first);
        let authorization = if is_repeated {
            let expected = "code, state, iss and error at most once";
            Err(LoginError::InvalidRequest.logged("query", expected, "one of them repeatedly"))
        } else {
            Self::evaluate(state.is_some(), code, issuer, error)
        };
        (state, authorization)
    }

    fn evaluate(
        has_state: bool,
        code: Option<String>,
        issuer: Option<String>,
        error: Option<String>,
    ) -> Result<Self, LoginError> {
        let code_or_error = match (code, error) {
            (Some(code), None) if !code.is_empty() => Ok(code),
            (None, Some(error)) => Err(SsoError::parse(&error)),
            (Some(_), Some(_)) => return Err(invalid_query("both")),
            _ => return Err(invalid_query("none")),
        };
        match (has_state, code_or_error) {
            (true, code_or_error) => Ok(Self { issuer, code_or_error }),
            // Some errors have no `state`: there is no attempt to end, and nothing to begin.
            (false, Err(error)) => Err(LoginError::AuthorizationFailed { error }),
            (false, Ok(_)) => {
                let found = "none: the login was not started by this app";
                Err(LoginError::InvalidRequest.logged("state", "that of the login", found))
            }
        }
    }
}

fn invalid_query(found: &str) -> LoginError {
    LoginError::InvalidRequest.logged("query", "a code or an error", found)
}
