use super::LoginUrl;
use crate::api::ApiError;
use crate::api::memberships::Membership;
use crate::model::MembershipStatus;
use crate::session::{Session, Sessions};

impl Sessions {
    /// Returns the organizations that the user of a session can switch to: active memberships, that
    /// of the session included. Asks the environment.
    ///
    /// # Errors
    /// See [`ApiError`]. [`ApiError::NotFound`] if the user was deleted, or does not belong to the
    /// environment's user management.
    pub async fn organizations(&self, session: &Session) -> Result<Vec<Membership>, ApiError> {
        let user = self.scalekit().api().users().get(session.principal().subject()).await?;
        Ok(user
            .memberships
            .into_iter()
            .filter(|membership| membership.status == Some(MembershipStatus::Active))
            .collect())
    }

    /// Returns the URL of a login that moves the browser's session to another organization
    /// (`org_…`) of its user, for links and redirects. The user is logged in without interaction,
    /// unless the organization has an identity provider where the user has to log in first.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// let url = sessions.switch_organization_url("org_59615194007076620").to_string();
    /// assert_eq!(url, "/login?organization_id=org_59615194007076620&prompt=select_account");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn switch_organization_url(&self, organization_id: impl Into<String>) -> LoginUrl {
        // Without the prompt, the environment may keep the organization of its session.
        self.login_url().organization_id(organization_id).prompt("select_account")
    }
}
