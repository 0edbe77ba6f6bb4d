//! Parameters of queries and forms, and the cookies of a request.

use bytes::Bytes;
use http::{Request, header};
use url::form_urlencoded;

/// The session cookie of a browser. Cookies ignore ports, so its name must differ from those of
/// applications on the same host.
pub(crate) const SESSION_COOKIE: &str = "sandbox_session";

/// Decoded name-value pairs. Empty values count as omitted (RFC 6749, section 3.1).
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn from_query(request: &Request<Bytes>) -> Self {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    /// The form in the body, if the content type is that of a form.
    pub(crate) fn from_form(request: &Request<Bytes>) -> Option<Self> {
        request
            .headers()
            .get(header::CONTENT_TYPE)?
            .to_str()
            .ok()?
            .split(';')
            .next()?
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            .then(|| Self::parse(request.body()))
    }

    fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().filter(|(_, v)| !v.is_empty()).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be repeated.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a filter admits this value: the parameter is absent, or has the value.
    pub(crate) fn admits(&self, name: &str, value: Option<&str>) -> bool {
        self.get(name).is_none_or(|required| Some(required) == value)
    }

    /// Whether the parameter is repeated, which OAuth requests do not allow.
    pub(crate) fn repeats(&self, name: &str) -> bool {
        self.0.iter().filter(|(known, _)| known == name).count() > 1
    }

    pub(crate) fn repeated(&self) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| self.repeats(name))
    }
}

/// `base` with `parameters` as its query; `base` has no query.
pub(crate) fn with_query(base: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }
}

/// All values of the cookie with this name.
fn cookies<'a>(request: &'a Request<Bytes>, name: &'a str) -> impl Iterator<Item = &'a str> {
    request
        .headers()
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(move |(known, value)| (known == name).then_some(value))
}

/// The `Set-Cookie` value of a session.
pub(crate) fn session_cookie(value: &str, environment_url: &str) -> String {
    let secure = if environment_url.starts_with("https:") { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// The values of the session cookie.
pub(crate) fn session_cookies(request: &Request<Bytes>) -> impl Iterator<Item = &str> {
    cookies(request, SESSION_COOKIE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_empty_parameters_are_distinguished() {
        let request = Request::get("/?a=1&b=&b=2&c=%20x+y&a=3").body(Bytes::new()).unwrap();
        let parameters = Parameters::from_query(&request);
        assert_eq!(parameters.repeated(), Some("a"));
        assert_eq!((parameters.get("b"), parameters.repeats("b")), (Some("2"), false));
        assert_eq!(parameters.get("c"), Some(" x y"));
        assert_eq!(parameters.get("d"), None);
    }

    #[test]
    fn every_copy_of_a_cookie_is_read() {
        let request = Request::get("/")
            .header("cookie", "a=1; sandbox_session=x")
            .header("cookie", "sandbox_session=y")
            .body(Bytes::new())
            .unwrap();
        assert_eq!(cookies(&request, "sandbox_session").collect::<Vec<_>>(), ["x", "y"]);
    }
}
