//! Parameters of a query or form that may appear once.

use url::form_urlencoded;

/// The values of a parameter.
pub(crate) struct QueryParam {
    /// The first of several values.
    pub(crate) first: Option<String>,
    /// Whether there are several values.
    pub(crate) is_repeated: bool,
}

impl QueryParam {
    pub(crate) fn find(encoded: impl AsRef<[u8]>, name: &str) -> Self {
        let mut values = form_urlencoded::parse(encoded.as_ref())
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value);
        Self {
            first: values.next().map(|value| value.into_owned()),
            is_repeated: values.next().is_some(),
        }
    }

    /// The value, if there is exactly one.
    pub(crate) fn single(self) -> Option<String> {
        self.first.filter(|_| !self.is_repeated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_has_no_value() {
        for (query, first, only) in [
            ("", None, None),
            ("b=1", None, None),
            ("a", Some(""), Some("")),
            ("a=%31+&b=2", Some("1 "), Some("1 ")),
            ("a=1&%61=2", Some("1"), None),
            ("a=1&a=1", Some("1"), None),
        ] {
            assert_eq!(QueryParam::find(query, "a").first.as_deref(), first, "{query}");
            assert_eq!(QueryParam::find(query, "a").single().as_deref(), only, "{query}");
        }
    }
}
