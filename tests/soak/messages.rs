//! Requests and cookies.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cookie::Cookie;
use http::{Request, Response, header};
use http_body_util::Full;

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

/// The cookies that a response sets or removes.
pub(crate) fn set_cookies(response: &Response<Bytes>) -> impl Iterator<Item = Cookie<'_>> {
    let lines = response.headers().get_all(header::SET_COOKIE).into_iter();
    lines.map(|line| Cookie::parse(line.to_str().unwrap()).unwrap())
}

pub(crate) fn is_session(cookie: &Cookie<'_>) -> bool {
    cookie.name().contains("_session")
}

pub(crate) fn is_removal(cookie: &Cookie<'_>) -> bool {
    cookie.max_age().is_some_and(|age| age.is_zero())
}

/// The headers of a signed message.
pub(crate) fn signed(
    prefix: &str,
    id: &str,
    at: i64,
    body: &str,
    secret: &[u8],
) -> [(String, String); 3] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mac = hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes());
    [
        (format!("{prefix}-id"), id.to_owned()),
        (format!("{prefix}-timestamp"), at.to_string()),
        (format!("{prefix}-signature"), format!("v1,{}", STANDARD.encode(mac))),
    ]
}
