//! Logins that Scalekit delegates to your own login page ("bring your own auth" of MCP servers).
//!
//! Scalekit redirects the user's browser to your login page with `login_request_id` and `state`,
//! which are valid for about ten minutes. To complete the login:
//!
//! 1. read both parameters with [`LoginRequest::from_query`],
//! 2. log the user in; if the user is logged in already, ask for confirmation with a form that only
//!    your own pages can send (CSRF protection),
//! 3. send the user's identity to Scalekit with [`AuthRequestsApi::set_user`],
//! 4. redirect the browser to [`AuthRequestsApi::callback_url`].
//!
//! If your pages have a content security policy with `form-action`, respond to the form of step 2
//! with a page that continues at that URL by a `Refresh` header: a redirect may lead to the MCP
//! client, whose URL the policy does not allow.
//!
//! Without step 2, an attacker could begin a login in an MCP client of their own and send the link
//! to a user of yours: one click would log that client in as the user.
//!
//! ```
//! use tower_scalekit::Scalekit;
//! use tower_scalekit::api::auth_requests::LoginRequest;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "s3cret").build()?;
//! let login = LoginRequest::from_query("login_request_id=lri_1&state=a%26b").ok_or("no login")?;
//! let api = scalekit.api().auth_requests();
//! // api.set_user("conn_1", &login.id, &LoginUser::new("your-id-of-jane", "jane@acme.test")).await?;
//! assert_eq!(
//!     api.callback_url("conn_1", &login.state)?.as_str(),
//!     "https://acme.scalekit.dev/sso/v1/connections/conn_1/partner:callback?state=a%26b",
//! );
//! # Ok(())
//! # }
//! ```

use std::fmt;

use http::Method;
use serde::Serialize;
use url::Url;

use super::{Api, ApiError};
use crate::util::query::QueryParam;

/// API for logins at your own login page. Returned by [`Api::auth_requests`].
#[derive(Clone, Debug)]
pub struct AuthRequestsApi {
    api: Api,
}

impl AuthRequestsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Sets the user who has logged in. `connection_id` is that of the MCP server's own
    /// authentication in the dashboard (`conn_…`, not the resource's `res_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the login is unknown or has expired; see [`ApiError`].
    #[doc(alias("updateLoginUserDetails", "update_login_user_details"))]
    pub async fn set_user(
        &self,
        connection_id: &str,
        login_request_id: &str,
        user: &LoginUser,
    ) -> Result<(), ApiError> {
        self.api
            .request(
                Method::POST,
                "/api/v1/connections/{connection_id}/auth-requests/{login_request_id}/user",
            )
            .path_parameter("connection_id", connection_id)
            .path_parameter("login_request_id", login_request_id)
            .json(user)
            .send_empty()
            .await
    }

    /// The URL to redirect the browser to afterwards, with the `state` of the request.
    ///
    /// # Errors
    /// [`ApiError::InvalidCall`] if `connection_id` is empty or has dot segments.
    pub fn callback_url(&self, connection_id: &str, state: &str) -> Result<Url, ApiError> {
        self.api
            .request(Method::GET, "/sso/v1/connections/{connection_id}/partner:callback")
            .path_parameter("connection_id", connection_id)
            .query("state", state)
            .url()
    }
}

/// A login that Scalekit has delegated to your login page.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginRequest {
    /// `login_request_id`
    pub id: String,
    /// Opaque value, returned unchanged.
    pub state: String,
}

impl LoginRequest {
    /// Parses the query of your login page's URL. `None` if a parameter is missing or repeated.
    #[must_use]
    pub fn from_query(query: &str) -> Option<Self> {
        Some(Self { id: parameter(query, "login_request_id")?, state: parameter(query, "state")? })
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    QueryParam::find(query, name).single().filter(|value| !value.is_empty())
}

/// The user who has logged in at your login page.
#[derive(Clone, Default, Serialize)]
#[non_exhaustive]
pub struct LoginUser {
    /// Your own, permanent ID of the user.
    pub sub: String,
    /// E-mail address.
    pub email: String,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// Full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether you have verified the e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// Whether you have verified the phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number_verified: Option<bool>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// URL of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Gender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// Language and region, as in `en-GB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

impl LoginUser {
    /// Creates a user with your own ID and an e-mail address. The other fields are optional.
    #[must_use]
    pub fn new(sub: impl Into<String>, email: impl Into<String>) -> Self {
        Self { sub: sub.into(), email: email.into(), ..Self::default() }
    }
}

impl fmt::Debug for LoginRequest {
    /// Omits the `state`, with which the login is completed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginUser {
    /// Prints the ID only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginUser").field("sub", &self.sub).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_when_it_is_whole() {
        let login = LoginRequest::from_query("a=b&state=s%20t&login_request_id=lri_1").unwrap();
        assert_eq!((login.id.as_str(), login.state.as_str()), ("lri_1", "s t"));
        for query in [
            "",
            "state=s",
            "login_request_id=l",
            "login_request_id=&state=s",
            "login_request_id=l&state=s&state=t",
            "login_request_id=l&login_request_id=m&state=s",
        ] {
            assert_eq!(LoginRequest::from_query(query), None, "{query}");
        }
    }
}
