//! The crate's own HTML pages.

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderValue, Response, header};

/// Styles, images and fonts come from the app. Scripts and framing are not allowed. There is no
/// `form-action`: Chromium and Safari also apply it to the redirects after a form, which lead to the
/// environment.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; font-src 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Turns a response into an HTML page.
pub(crate) fn show(response: &mut Response<Bytes>, page: String) {
    *response.body_mut() = page.into();
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
}

/// A page with an error message and one link.
pub(crate) fn problem(message: &str, link: &str, label: &str) -> String {
    with_link("Something went wrong", message, link, label)
}

/// A page with one sentence and one link.
pub(crate) fn with_link(title: &str, message: &str, link: &str, label: &str) -> String {
    page("", title, message, format!(r#"<a href="{}">{}</a>"#, escaped(link), escaped(label)))
}

/// A page with one sentence, to which a full stop is added. `head` and `actions_html` are HTML.
pub(crate) fn page(head: &str, title: &str, message: &str, actions_html: impl Display) -> String {
    format!(
        include_str!("page.html"),
        head = head,
        title = escaped(title),
        message = escaped(message),
        actions_html = actions_html,
    )
}

/// Escapes text for elements and quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
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
    fn texts_are_escaped() {
        let page = problem("a < b", r#"/?a=1&b='">"#, "<Go>");
        let link = "<a href=\"/?a=1&amp;b=&#39;&quot;&gt;\">&lt;Go&gt;</a>";
        assert!(page.contains("<p>a &lt; b.</p>") && page.contains(link), "{page}");
    }
}
