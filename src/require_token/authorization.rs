use http::{HeaderMap, header};

/// The `Authorization` header of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AuthorizationHeader<'h> {
    Absent,
    /// The characters of `b64token` (RFC 6750 section 2.1) are not checked: a known token is compared
    /// in full, any other is parsed.
    Bearer(&'h [u8]),
    /// Of the scheme `DPoP`, where it is accepted.
    Dpop(&'h [u8]),
    /// The scheme is accepted, but there is no token. That is no missing credential, but an invalid one
    /// (RFC 6750, section 3.1): clients get a new token after 401.
    Malformed {
        is_dpop: bool,
    },
    /// Another scheme, or none.
    OtherScheme,
    /// More than one header (RFC 6750 section 2).
    Repeated,
}

impl<'h> AuthorizationHeader<'h> {
    pub(super) fn of(headers: &'h HeaderMap, accepts_dpop: bool) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::Absent };
        if values.next().is_some() {
            return Self::Repeated;
        }
        let bytes = value.as_bytes();
        let scheme_end = bytes.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let (scheme, rest) = bytes.split_at(scheme_end.unwrap_or(bytes.len()));
        let is_dpop = accepts_dpop && scheme.eq_ignore_ascii_case(b"dpop");
        if !is_dpop && !scheme.eq_ignore_ascii_case(b"bearer") {
            return Self::OtherScheme;
        }
        // Spaces only between scheme and token (RFC 9110 section 11.4), and nothing after it.
        let token = rest.trim_ascii_end();
        match token.iter().position(|byte| *byte != b' ').and_then(|start| token.get(start..)) {
            None | Some([] | [b'\t', ..]) => Self::Malformed { is_dpop },
            Some(token) if is_dpop => Self::Dpop(token),
            Some(token) => Self::Bearer(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_header_with_any_case_of_bearer_carries_a_token() {
        let read_with = |accepts_dpop: bool, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            match AuthorizationHeader::of(&headers, accepts_dpop) {
                AuthorizationHeader::Bearer(token) => format!("token {}", token.escape_ascii()),
                AuthorizationHeader::Dpop(token) => format!("bound token {}", token.escape_ascii()),
                other => format!("{other:?}"),
            }
        };
        let read = |values: &[&'static str]| read_with(false, values);
        for value in ["Bearer a.b-c_d~+/==", "bearer a.b-c_d~+/==", "BEARER   a.b-c_d~+/== "] {
            assert_eq!(read(&[value]), "token a.b-c_d~+/==");
        }
        for value in ["", "Basic YTpi", "Bearera.b.c", "DPoP a.b.c", "token"] {
            assert_eq!(read(&[value]), "OtherScheme", "{value}");
        }
        for value in
            ["Bearer", "Bearer ", "Bearer \t ", "Bearer\ta.b", "Bearer \ta.b", "bearer\t a"]
        {
            assert_eq!(read(&[value]), "Malformed { is_dpop: false }", "{value}");
        }
        assert_eq!(read(&[]), "Absent");
        assert_eq!(read_with(true, &["dpop a.b.c "]), "bound token a.b.c");
        assert_eq!(read_with(true, &["DPoP"]), "Malformed { is_dpop: true }");
        assert_eq!(read_with(true, &["DPoP\ta.b.c"]), "Malformed { is_dpop: true }");
        assert_eq!(read_with(true, &["Bearer a.b.c"]), "token a.b.c");
        assert_eq!(read_with(true, &["DPoP a", "Bearer a"]), "Repeated");
        assert_eq!(read(&["Bearer a", "Bearer a"]), "Repeated");
        assert_eq!(read(&["Basic YTpi", "Bearer a"]), "Repeated");
    }
}
