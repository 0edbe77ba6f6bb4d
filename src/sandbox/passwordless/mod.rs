//! Codes and magic links by e-mail: what was sent, to whom, and the limits.

mod form;
mod store;

use std::collections::BTreeMap;
use std::fmt;

use time::OffsetDateTime;

use super::Sandbox;

pub(super) use self::form::submit;
pub(super) use self::store::{Credential, Mailing, Passwordless, Refusal, Sent};

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
        self.environment.lock().passwordless.outbox().cloned().collect()
    }

    /// What mails have in them from now on. The default is [`PasswordlessType::LinkOtp`].
    pub fn set_passwordless_type(&self, passwordless_type: PasswordlessType) {
        self.environment.lock().passwordless.passwordless_type = passwordless_type;
    }

    /// Whether a magic link is accepted only with the `auth_request_id` of its request: the
    /// dashboard's "enforce same browser origin". The default is no.
    pub fn enforce_same_browser(&self, enforced: bool) {
        self.environment.lock().passwordless.enforce_same_browser = enforced;
    }

    /// Whether a mail that is sent again has a new code and link in it, in a request with a new
    /// id, and the earlier ones no longer work: the dashboard's "issue new credentials on resend".
    /// The default is no: the same code and link are good for longer.
    pub fn issue_new_credentials_on_resend(&self, new: bool) {
        self.environment.lock().passwordless.new_credentials_on_resend = new;
    }
}

/// What mails have in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordlessType {
    /// A magic link.
    Link,
    /// A magic link and a code.
    #[default]
    LinkOtp,
    /// A code.
    Otp,
}

impl PasswordlessType {
    pub(super) const ALL: [Self; 3] = [Self::LinkOtp, Self::Otp, Self::Link];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Link => "LINK",
            Self::LinkOtp => "LINK_OTP",
            Self::Otp => "OTP",
        }
    }

    pub(super) fn has_code(self) -> bool {
        self != Self::Link
    }

    pub(super) fn has_link(self) -> bool {
        self != Self::Otp
    }
}

/// A mail that was sent.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxMail {
    /// To whom.
    pub email: String,
    /// The code in it.
    pub code: Option<String>,
    /// The magic link in it.
    pub link: Option<String>,
    /// `SIGNIN` or `SIGNUP`
    pub template: String,
    /// What the template was filled in with.
    pub template_variables: BTreeMap<String, String>,
    /// When it was sent (UTC).
    pub sent_at: OffsetDateTime,
    /// Until when code and link are good (UTC).
    pub expires_at: OffsetDateTime,
}

// By hand: code and link are credentials.
impl fmt::Debug for OutboxMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxMail")
            .field("email", &self.email)
            .field("template", &self.template)
            .field("sent_at", &self.sent_at)
            .finish_non_exhaustive()
    }
}
