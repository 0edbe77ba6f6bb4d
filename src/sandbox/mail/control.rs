//! Controls of the e-mail outbox.

use std::sync::Arc;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::mail::{OutboxMail, PasswordlessType};

/// Passwordless e-mail and its settings. Returned by
/// [`Sandbox::mail`](crate::sandbox::Sandbox::mail).
#[derive(Clone, Copy, Debug)]
pub struct Mail<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Mail<'_> {
    /// The e-mails that were sent, newest first; the last 200 are retained.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_scalekit::api::passwordless::NewEmail;
    /// use tower_scalekit::sandbox::{PasswordlessType, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.mail().set_passwordless_type(PasswordlessType::Otp);
    /// sandbox.scalekit().api().passwordless().send(&NewEmail::new("ada@acme.test")).await?;
    /// let mail = sandbox.mail().outbox().remove(0);
    /// assert_eq!((mail.email.as_str(), mail.link), ("ada@acme.test", None));
    /// assert_eq!(mail.code.map(|code| code.len()), Some(6));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn outbox(&self) -> Vec<OutboxMail> {
        self.environment.lock().mail.outbox().cloned().collect()
    }

    /// Sets whether e-mails contain a code, a link or both. Default: [`PasswordlessType::LinkOtp`].
    pub fn set_passwordless_type(&self, passwordless_type: PasswordlessType) {
        self.environment.lock().mail.passwordless_type = passwordless_type;
    }

    /// Sets whether a magic link requires the `auth_request_id` of its request: the dashboard's
    /// "enforce same browser origin". Default: false.
    pub fn enforce_same_browser(&self, enforced: bool) {
        self.environment.lock().mail.enforce_same_browser = enforced;
    }

    /// Sets whether an e-mail that is sent again contains a new code and link, in a request with a
    /// new ID, and the earlier ones stop working: the dashboard's "issue new credentials on
    /// resend". Default: false, and the lifetime of the same code and link is extended.
    pub fn issue_new_credentials_on_resend(&self, new: bool) {
        self.environment.lock().mail.new_credentials_on_resend = new;
    }
}
