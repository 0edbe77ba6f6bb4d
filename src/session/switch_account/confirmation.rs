use std::fmt;

use crate::middleware::page;
use crate::middleware::page::escaped;

/// The content of the page that asks before a login replaces the session of another user. Passed to
/// the closure of [`switch_account_page`](crate::session::SessionsBuilder::switch_account_page).
#[derive(Clone)]
pub struct SwitchConfirmation {
    pub(super) host: String,
    pub(super) current_account: Option<String>,
    pub(super) new_account: String,
    /// The URL of both actions, without the decision.
    pub(super) action: String,
}

impl SwitchConfirmation {
    /// Returns the host of the app.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the e-mail address or name of the user who is logged in; `None` if that session has
    /// ended meanwhile. Escape it in HTML.
    #[must_use]
    pub fn current_account(&self) -> Option<&str> {
        self.current_account.as_deref()
    }

    /// Returns the e-mail address or name of the user who is logging in. An identity provider may
    /// have chosen it: two accounts of the same name are different accounts. Escape it in HTML.
    #[must_use]
    pub fn new_account(&self) -> &str {
        &self.new_account
    }

    /// Returns the `POST` action of the form that switches to the new account. Escape it in HTML
    /// attributes.
    #[must_use]
    pub fn switch_action(&self) -> String {
        format!("{}switch", self.action)
    }

    /// Returns the `POST` action of the form that keeps the current session. Escape it in HTML
    /// attributes.
    #[must_use]
    pub fn keep_action(&self) -> String {
        format!("{}keep", self.action)
    }

    /// Returns the default page.
    pub(super) fn page(&self) -> String {
        let (host, new) = (&self.host, &self.new_account);
        let (message, keep) = match &self.current_account {
            Some(current) if current == new => (
                format!(
                    "You are logged in to {host} as {current}. This login is for another account \
                     of the same name",
                ),
                format!("Stay logged in as {current}"),
            ),
            Some(current) => (
                format!("You are logged in to {host} as {current}. This login is for {new}"),
                format!("Stay logged in as {current}"),
            ),
            None => (format!("This login is for {new}"), "Cancel".to_owned()),
        };
        let forms = form(&self.keep_action(), &keep)
            + &form(&self.switch_action(), &format!("Switch to {new}"))
            + "<p class=\"hint\">If you did not start this login, do not switch: what you do next \
               would be stored in the other account.</p>";
        page::page("", "Switch accounts?", &message, forms)
    }
}

impl fmt::Debug for SwitchConfirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchConfirmation").field("host", &self.host).finish_non_exhaustive()
    }
}

fn form(action: &str, label: &str) -> String {
    let (action, label) = (escaped(action), escaped(label));
    format!("<form method=\"post\" action=\"{action}\"><button>{label}</button></form>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_are_escaped_and_equal_names_are_distinguished() {
        let confirmation = |current: &str, new: &str| SwitchConfirmation {
            host: "app.test".to_owned(),
            current_account: Some(current.to_owned()),
            new_account: new.to_owned(),
            action: "/switch?attempt=a&action=".to_owned(),
        };
        let page = confirmation("jane@acme.test", "<b>\"x\"").page();
        assert!(page.contains("Switch to &lt;b&gt;&quot;x&quot;") && !page.contains("<b>"));
        assert!(page.contains("action=\"/switch?attempt=a&amp;action=keep\""), "{page}");
        let page = confirmation("jane@acme.test", "jane@acme.test").page();
        assert!(page.contains("another account of the same name"), "{page}");
        let shown = format!("{:?}", confirmation("jane@acme.test", "x"));
        assert!(!shown.contains("jane"), "{shown}");
    }
}
