//! The page for a link that was opened elsewhere.

use std::fmt;

use crate::middleware::page::{escaped, page};
use crate::secret::{RandomSourceFailed, SecretString};

/// Under `no-referrer` alone, browsers from before `Sec-Fetch-Site` would send the form without its
/// origin. This tells the origin and no more: the address stays untold.
const OWN_ORIGIN: &str = "<meta name=\"referrer\" content=\"strict-origin\">\n";

/// What a page asks that is shown where a magic link was opened in another browser than the one that
/// asked for it: whether to log in with it. Given to the closure of
/// [`confirmation_page`](super::PasswordlessLoginBuilder::confirmation_page).
pub struct LinkConfirmation {
    host: String,
    action: String,
    link_token: SecretString,
    /// The attempt of this browser that the link is of, for one that only looked at it in advance.
    attempt: Option<String>,
    /// Tells a double click from another user.
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

    /// The host of the app.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the form goes, by `POST`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The hidden fields of the form, as HTML: they hold the link's token.
    #[must_use]
    pub fn hidden_fields(&self) -> String {
        let field = |name: &str, value: &str| {
            format!(r#"<input type="hidden" name="{name}" value="{}">"#, escaped(value))
        };
        let mut fields = field("link_token", self.link_token.expose());
        fields += &field("page", self.page.expose());
        if let Some(attempt) = &self.attempt {
            fields += &field("attempt", attempt);
        }
        fields
    }

    /// The page that is shown unless you have one of your own.
    pub(super) fn page(&self) -> String {
        let form = format!(
            r#"<form method="post" action="{}">
{}
<button>Log in</button>
</form>
<p class="hint">If you did not ask for it, close this page.</p>"#,
            escaped(&self.action),
            self.hidden_fields(),
        );
        let title = format!("Log in to {}", self.host);
        let message =
            "You opened the link of an e-mail. If you have asked for it, log in with it here";
        page(OWN_ORIGIN, &title, message, form)
    }
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
    fn what_comes_from_the_address_is_escaped() {
        let token = r#""><script>alert('1')</script>&"#;
        let question = LinkConfirmation::new("app.test", "/verify", token.into(), None).unwrap();
        let page = question.page();
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"));
        assert!(!format!("{question:?}").contains("script"));
    }
}
