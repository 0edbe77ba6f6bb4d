//! The domain of an e-mail address, for finding connections.

use crate::util::pasted;

/// The domain of an e-mail address, in lower case: `acme.test` of `Jane@Acme.test`.
///
/// Surrounding white space and invisible characters are ignored. `None` unless the text has exactly
/// one `@` with something before it, no white space or control characters, and a host name in ASCII
/// after the `@`, as [`Connection::domains`](super::Connection::domains) are. Nothing is converted:
/// convert internationalized domains to the `xn--` form first, as `url::Host::parse` does.
///
/// An address that a user typed may select a login page. It never proves an identity.
///
/// ```
/// use tower_scalekit::api::connections::email_domain;
///
/// assert_eq!(email_domain("Jane@Acme.test").as_deref(), Some("acme.test"));
/// assert_eq!(email_domain("jane@acme.test@evil.test"), None);
/// assert_eq!(email_domain("jane@bücher.example"), None);
/// assert_eq!(url::Host::parse("bücher.example")?.to_string(), "xn--bcher-kva.example");
/// assert_eq!(email_domain("jane@acme.test&organization_id=org_1"), None);
/// # Ok::<(), url::ParseError>(())
/// ```
#[must_use]
pub fn email_domain(address: &str) -> Option<String> {
    let address = pasted::trim(address);
    let (local, domain) = address.split_once('@')?;
    if local.is_empty()
        || address.len() > 254
        || address.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    {
        return None;
    }
    host_name(domain)
}

/// The name in lower case, if it is a host name (RFC 1123) and not an IP address.
pub(super) fn host_name(name: &str) -> Option<String> {
    // The last label of a host name is never a number; that of an IPv4 address is.
    let ends_in_a_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= 253 && name.split('.').all(is_label) && !ends_in_a_number)
        .then(|| name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_domain_is_a_host_name_after_the_one_at_sign() {
        let longest_label = "a".repeat(63);
        for (address, expected) in [
            ("jane@acme.test", "acme.test"),
            ("JANE+x@Mail.ACME.Test", "mail.acme.test"),
            ("zoë@xn--bcher-kva.example", "xn--bcher-kva.example"),
            (" jane@acme.test\r\n", "acme.test"),
            ("\u{200b}jane@acme.test\u{feff}", "acme.test"),
            ("a@localhost", "localhost"),
            ("a@1.2.3.4a", "1.2.3.4a"),
            (&format!("a@{longest_label}.test"), &format!("{longest_label}.test")),
        ] {
            assert_eq!(email_domain(address).as_deref(), Some(expected), "{address}");
        }
        for address in [
            "",
            "@",
            "jane",
            "jane@",
            "@acme.test",
            "jane@acme.test@evil.test",
            "\"jane@home\"@acme.test",
            "jane @acme.test",
            "jane@acme.test\r\nbcc: x",
            "jane\0@acme.test",
            "jane@acme..test",
            "jane@.acme.test",
            "jane@acme.test.",
            "jane@-acme.test",
            "jane@acme-.test",
            "jane@acme_.test",
            "jane@ac%6de.test",
            "jane@acme.test:443",
            "jane@acme.test/x",
            "jane@acme.test&x=1",
            "jane@b\u{fc}cher.example",
            "jane@\u{ff41}cme.test",
            "jane@acme\u{3002}test",
            "jane@127.0.0.1",
            "jane@[127.0.0.1]",
            "jane@*.test",
            &format!("jane@{}.test", "a".repeat(64)),
            &format!("jane@{}test", "a.".repeat(125)),
        ] {
            assert_eq!(email_domain(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn only_host_names_are_returned(address in "\\PC{0,8}@{0,2}\\PC{0,30}") {
            if let Some(domain) = email_domain(&address) {
                let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
                prop_assert!(domain.bytes().all(fits));
                let end = format!("@{domain}");
                prop_assert!(pasted::trim(&address).to_ascii_lowercase().ends_with(&end));
                let url = url::Url::parse(&format!("https://{domain}/"));
                if !domain.contains("xn--") {
                    let url = url.unwrap();
                    prop_assert_eq!(url.host_str(), Some(domain.as_str()));
                }
            }
        }
    }
}
