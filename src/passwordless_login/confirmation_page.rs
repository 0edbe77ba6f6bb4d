//! The page for a link that was opened in another browser.

use std::fmt;

use crate::middleware::page::{escaped, page};
use crate::secret::{RandomSourceFailed, SecretString};

/// With `no-referrer` alone, browsers without `Sec-Fetch-Site` would send the form without its
/// origin. This sends the origin only, without the path and query.
const OWN_ORIGIN: &str = "<meta name=\"referrer\" content=\"strict-origin\">\n";

/// The content of the page that asks for confirmation when a magic link was opened in another
/// browser than the one that requested it. Passed to the closure of
/// [`confirmation_page`](super::PasswordlessLoginBuilder::confirmation_page).
#[derive(Clone)]
pub struct LinkConfirmation {
    host: String,
    action: String,
    link_token: SecretString,
    /// This browser's attempt, if the link belongs to it and was prefetched.
    attempt: Option<String>,
    /// Distinguishes a double click from another user's request.
    page: SecretString,
}

impl LinkConfirmation {
    pub(super) fn new(
        host: &str,
        action: &str,
        link_token: SecretString,
        attempt: Option<String>,
    ) -> Result<Self, RandomSourceFailed> {
        Ok(Self {
            host: host.to_owned(),
            action: action.to_owned(),
            link_token,
            attempt,
            page: SecretString::random::<16>()?,
        })
    }

    /// Returns the host of the app.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the `POST` action of the form.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Returns the hidden fields of the form, as HTML. They contain the link's token.
    #[must_use]
    pub fn hidden_fields(&self) -> String {
        let mut fields = hidden_field("link_token", self.link_token.expose());
        fields += &hidden_field("page", self.page.expose());
        if let Some(attempt) = &self.attempt {
            fields += &hidden_field("attempt", attempt);
        }
        fields
    }

    /// Returns the default page.
    pub(super) fn page(&self) -> String {
        let form = format!(
            r#"<form method="post" action="{}">
{}
<button>Log in</button>
</form>
<p class="hint">If you did not request it, close this page.</p>"#,
            escaped(&self.action),
            self.hidden_fields(),
        );
        page(
            OWN_ORIGIN,
            &format!("Log in to {}", self.host),
            "You opened a sign-in link from an e-mail. If you requested it, log in here",
            form,
        )
    }
}

fn hidden_field(name: &str, value: &str) -> String {
    format!(r#"<input type="hidden" name="{name}" value="{}">"#, escaped(value))
}

impl fmt::Debug for LinkConfirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfirmation").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_address_are_escaped() {
        let token = r#""><script>alert('1')</script>&"#;
        let confirmation =
            LinkConfirmation::new("app.test", "/verify", token.into(), None).unwrap();
        let page = confirmation.page();
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"));
        assert!(!format!("{confirmation:?}").contains("script"));
    }
}
