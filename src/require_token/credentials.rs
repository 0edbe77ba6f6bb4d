use http::{HeaderMap, header};

/// The `Authorization` header of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials<'h> {
    /// None, or credentials of another scheme.
    None,
    Bearer(&'h str),
    /// The scheme is `Bearer`, but the value is not a valid token.
    Unreadable,
    /// More than one header (RFC 6750 section 2).
    Several,
}

impl<'h> Credentials<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::None };
        if values.next().is_some() {
            return Self::Several;
        }
        let bytes = value.as_bytes();
        let scheme_end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let (scheme, token) = bytes.split_at(scheme_end);
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Self::None;
        }
        match std::str::from_utf8(token.trim_ascii()) {
            Ok(token) if is_b64token(token) => Self::Bearer(token),
            _ => Self::Unreadable,
        }
    }
}

/// RFC 6750 section 2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_header_with_any_case_of_bearer_carries_a_token() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            match Credentials::of(&headers) {
                Credentials::Bearer(token) => format!("token {token}"),
                other => format!("{other:?}"),
            }
        };
        for value in ["Bearer a.b-c_d~+/==", "bearer a.b-c_d~+/==", "BEARER   a.b-c_d~+/== "] {
            assert_eq!(read(&[value]), "token a.b-c_d~+/==");
        }
        for value in ["", "Basic YTpi", "Bearera.b.c", "DPoP a.b.c", "token"] {
            assert_eq!(read(&[value]), "None", "{value}");
        }
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer =a",
            "Bearer a=b",
            "Bearer \"a\"",
        ] {
            assert_eq!(read(&[value]), "Unreadable", "{value}");
        }
        assert_eq!(read(&[]), "None");
        assert_eq!(read(&["Bearer a", "Bearer a"]), "Several");
        assert_eq!(read(&["Basic YTpi", "Bearer a"]), "Several");
    }
}
