//! Which check rejected a request, for the log of the app's developer: responses do not disclose it.
//!
//! Tokens, webhooks, IdP-initiated logins and callbacks use it alike, where a check fails:
//! `Err(TokenError::InvalidIssuer.logged("iss", expected, found))`.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Display};
use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use serde_json::Value;

use super::telemetry;

/// An error that a check returns.
pub(crate) trait CheckError: Sized {
    /// A stable code for metrics and logs.
    fn code(&self) -> &'static str;

    /// Logs what the check of `name` expected and found, and returns the error. Anything that comes
    /// from a request is formatted by [`Shown`].
    fn logged(self, name: &'static str, expected: impl Display, found: impl Display) -> Self {
        telemetry::check_failed(self.code(), name, &expected, &found);
        self
    }
}

/// Longer values are cut.
const MAX_CHARS: usize = 100;

/// A value for the log: quoted, escaped and cut; e-mail addresses are hashed, and what could be a
/// token is omitted.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key of this process: the hash links lines of one log, and reveals no address.
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let Self(text) = *self;
        if text.contains('@') {
            return write!(f, "an address (#{:016x})", KEY.hash_one(text));
        }
        if text.split('.').filter(|segment| segment.len() > 20).count() > 1 {
            return write!(f, "{} bytes that could be a token", text.len());
        }
        match text.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => write!(f, "{:?}…", text.get(..end).unwrap_or_default()),
            None => write!(f, "{text:?}"),
        }
    }
}

/// Values that are accepted.
pub(crate) struct OneOf<'a, T>(pub(crate) &'a [T]);

impl<T: AsRef<str>> Display for OneOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.0.iter().map(AsRef::as_ref), " or ")
    }
}

fn write_list<'a>(
    f: &mut fmt::Formatter<'_>,
    texts: impl Iterator<Item = &'a str>,
    separator: &str,
) -> fmt::Result {
    for (index, text) in texts.enumerate() {
        write!(f, "{}{}", if index == 0 { "" } else { separator }, Shown(text))?;
    }
    Ok(())
}

/// The value of a claim of a token whose signature was verified.
pub(crate) struct ShownClaim(pub(crate) Option<Value>);

impl Display for ShownClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(Value::String(text)) => Shown(text).fmt(f),
            Some(Value::Number(number)) => number.fmt(f),
            Some(Value::Array(items)) if items.len() <= 10 => {
                f.write_str("[")?;
                write_list(f, items.iter().filter_map(Value::as_str), ", ")?;
                f.write_str("]")
            }
            other => ClaimType(other.as_ref()).fmt(f),
        }
    }
}

/// The type of a claim whose value is not logged.
pub(crate) struct ClaimType<'a>(pub(crate) Option<&'a Value>);

impl Display for ClaimType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None | Some(Value::Null) => "none",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(text)) if text.is_empty() => "an empty string",
            Some(Value::String(_)) => "a string",
            Some(Value::Array(_)) => "an array",
            Some(Value::Object(_)) => "an object",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_quoted_and_cut_and_addresses_and_tokens_are_not_shown() {
        assert_eq!(Shown("https://a.test").to_string(), r#""https://a.test""#);
        assert_eq!(Shown("a\nb \u{1b}").to_string(), r#""a\nb \u{1b}""#);
        assert_eq!(Shown(&"x".repeat(101)).to_string(), format!("\"{}\"…", "x".repeat(100)));
        let address = Shown("jane@acme.test").to_string();
        assert!(address.starts_with("an address (#") && !address.contains("jane"), "{address}");
        assert_eq!(address, Shown("jane@acme.test").to_string());
        let token = format!("e30.{}.{}", "p".repeat(30), "s".repeat(30));
        assert_eq!(Shown(&token).to_string(), "65 bytes that could be a token");
    }

    #[test]
    fn claims_are_shown_by_value_or_type() {
        let shown = |value: Value| ShownClaim(Some(value)).to_string();
        assert_eq!(shown(json!(["a", "b"])), r#"["a", "b"]"#);
        assert_eq!((shown(json!(7)), shown(json!({}))), ("7".to_owned(), "an object".to_owned()));
        assert_eq!(
            (shown(json!(null)), ShownClaim(None).to_string()),
            ("none".into(), "none".into())
        );
        assert_eq!(ClaimType(Some(&json!("secret"))).to_string(), "a string");
    }
}
