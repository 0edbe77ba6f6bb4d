//! Controls of the e-mail outbox.

use crate::sandbox::Sandbox;
use crate::sandbox::state::mail::{OutboxMail, PasswordlessType};

impl Sandbox {
    /// The mails that were sent, newest first; the last 200 are kept.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_scalekit::api::passwordless::NewMail;
    /// use tower_scalekit::sandbox::{PasswordlessType, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.set_passwordless_type(PasswordlessType::Otp);
    /// sandbox.scalekit().api().passwordless().send(&NewMail::new("ada@acme.test")).await?;
    /// let mail = sandbox.outbox().remove(0);
    /// assert_eq!((mail.email.as_str(), mail.link), ("ada@acme.test", None));
    /// assert_eq!(mail.code.map(|code| code.len()), Some(6));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn outbox(&self) -> Vec<OutboxMail> {
        self.environment.lock().mail.outbox().cloned().collect()
    }

    /// What mails have in them from now on. The default is [`PasswordlessType::LinkOtp`].
    pub fn set_passwordless_type(&self, passwordless_type: PasswordlessType) {
        self.environment.lock().mail.passwordless_type = passwordless_type;
    }

    /// Whether a magic link is accepted only with the `auth_request_id` of its request: the
    /// dashboard's "enforce same browser origin". The default is no.
    pub fn enforce_same_browser(&self, enforced: bool) {
        self.environment.lock().mail.enforce_same_browser = enforced;
    }

    /// Whether a mail that is sent again has a new code and link in it, in a request with a new
    /// id, and the earlier ones no longer work: the dashboard's "issue new credentials on resend".
    /// The default is no: the same code and link are good for longer.
    pub fn issue_new_credentials_on_resend(&self, new: bool) {
        self.environment.lock().mail.new_credentials_on_resend = new;
    }
}
