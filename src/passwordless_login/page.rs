//! The two pages of this module: something did not work, and a link that was opened elsewhere.

use bytes::Bytes;
use http::{HeaderValue, Response, header};

/// Forms go to the app itself; there is no script, and nobody may frame the button.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Makes a response a page.
pub(super) fn show(response: &mut Response<Bytes>, page: String) {
    *response.body_mut() = Bytes::from(page);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
}

pub(super) fn problem(message: &str, link: &str, label: &str) -> String {
    format!(
        include_str!("page.html"),
        title = "That did not work",
        message = escaped(message),
        way_on = format_args!(r#"<a href="{}">{label}</a>"#, escaped(link)),
    )
}

/// Asks whether to go on with the link. Its token goes on in the form's body, with a secret of this
/// page that tells a double click from somebody else.
pub(super) fn question(host: &str, action: &str, link_token: &str, secret: &str) -> String {
    let form = format!(
        r#"<form method="post" action="{}">
<input type="hidden" name="link_token" value="{}">
<input type="hidden" name="page" value="{}">
<button>Log in</button>
</form>
<p class="hint">If you did not ask for it, close this page.</p>"#,
        escaped(action),
        escaped(link_token),
        escaped(secret),
    );
    format!(
        include_str!("page.html"),
        title = format_args!("Log in to {}", escaped(host)),
        message = "You opened the link of an e-mail. If you have asked for it, log in with it here",
        way_on = form,
    )
}

/// Safe in an element and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_address_is_escaped() {
        let page = question("app.test", "/verify", r#""><script>alert('1')</script>&"#, "s");
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"));
        assert!(problem("a < b", "/?a=1&b", "Go").contains(r#"<a href="/?a=1&amp;b">Go</a>"#));
    }
}
