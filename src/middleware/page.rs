//! The small pages that the crate shows itself.

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderValue, Response, header};

/// Forms go to the app itself, and styles, pictures and fonts come from it; there is no script, and
/// no one may frame a button.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; font-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Makes a response a page.
pub(crate) fn show(response: &mut Response<Bytes>, page: String) {
    *response.body_mut() = Bytes::from(page);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
}

/// Says what is wrong, and has one link.
pub(crate) fn problem(message: &str, link: &str, label: &str) -> String {
    let retry_url = format!(r#"<a href="{}">{}</a>"#, escaped(link), escaped(label));
    page("", "That did not work", message, retry_url)
}

/// A page with a sentence, whose full stop is added; `head` and `retry_url` are HTML.
pub(crate) fn page(head: &str, title: &str, message: &str, retry_url: impl Display) -> String {
    format!(
        include_str!("page.html"),
        head = head,
        title = escaped(title),
        message = escaped(message),
        retry_url = retry_url,
    )
}

/// Safe in an element and in a quoted attribute.
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
