//! A user at the page that asks for consent, for tests.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};

use crate::sandbox::{LoginFailed, Sandbox};

impl Sandbox {
    /// Opens an authorization link of a connected account, allows it, and gives where the user is
    /// sent then: to the application's `user_verify_url`, or to the sandbox's last page.
    ///
    /// # Errors
    ///
    /// When a page shows that leads nowhere: the link was used, or users have to be verified and it
    /// says not where.
    pub fn consent(&self, link: &str) -> Result<String, LoginFailed> {
        let url = self.environment_url();
        let target = link.strip_prefix(&url).unwrap_or(link);
        let request = Request::builder().method(Method::POST).uri(target);
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from("action=allow"))
            .map_err(|error| LoginFailed {
                status: StatusCode::BAD_REQUEST,
                reason: error.to_string(),
            })?;
        let location = crate::sandbox::browser::arrived(&self.environment.route(&request))?;
        Ok(if location.starts_with('/') { format!("{url}{location}") } else { location })
    }
}
