//! The rejection of all routes: the route's error, rendered as a page or as JSON.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

use super::page;
use super::rejection::{
    Rejection, Renderer, json_response, speculative_response, unavailable_response,
};
use super::route_response::set_route_headers;
use crate::util::fetch_metadata::{is_speculative, wants_html};

/// Rejection of a route that responds to all of its requests itself.
///
/// `E` is the error: [`LoginError`](crate::auth_routes::LoginError),
/// [`PasswordlessLoginError`](crate::passwordless_login::PasswordlessLoginError) or
/// [`ConnectAccountError`](crate::connect_account::ConnectAccountError). Browsers get a small page
/// with a link, scripts get JSON. Responses contain nothing from the request.
#[derive(Clone)]
pub struct RouteRejection<E> {
    error: E,
    retry_url: Option<String>,
    set_cookies: Vec<HeaderValue>,
}

/// What the default response to an error contains.
pub(crate) trait RouteError: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The error of a speculative request.
    const SPECULATIVE: Self;

    /// A stable code for metrics, logs and JSON.
    fn code(&self) -> &'static str;

    fn status(&self) -> StatusCode;

    /// A sentence for the user, without a full stop.
    fn message(&self) -> Cow<'static, str>;

    /// Text of the page's link.
    fn retry_label(&self) -> &'static str;

    /// Value of `Allow`.
    fn allow(&self) -> Option<&'static str>;

    /// Value of `Retry-After`. Replaces the default of a 503.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// The state of a route, which renders its rejections.
pub(crate) trait RouteState {
    type Error: RouteError;

    fn renderer(&self) -> &Renderer<RouteRejection<Self::Error>>;

    /// Returns the response to a speculative request, so that it has no side effects.
    fn reject_speculative<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        if !is_speculative(request) {
            return None;
        }
        // The link is relative: the page contains nothing from the request.
        let rejection =
            RouteRejection::new(Self::Error::SPECULATIVE, String::new(), request.headers());
        Some(self.renderer().render(rejection, request))
    }
}

impl<E> RouteRejection<E> {
    /// A page links to `retry_url`, or to its own URL if that is empty. Scripts get no link.
    pub(crate) fn new(error: E, retry_url: String, request_headers: &HeaderMap) -> Self {
        let retry_url = wants_html(request_headers).then_some(retry_url);
        Self { error, retry_url, set_cookies: Vec::new() }
    }

    pub(crate) fn set_cookies(mut self, values: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.set_cookies.extend(values);
        self
    }

    /// The error.
    #[must_use]
    pub fn error(&self) -> &E {
        &self.error
    }

    /// Where the user can continue, a path of this app with its query; `None` where no page is
    /// shown and a script decides, or where the user continues at the URL of the request itself.
    /// The query may contain a credential: do not log it.
    #[must_use]
    pub fn retry_url(&self) -> Option<&str> {
        self.retry_url.as_deref().filter(|url| !url.is_empty())
    }
}

#[expect(private_bounds)]
impl<E: RouteError> RouteRejection<E> {
    /// A sentence for the user, without a full stop.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        self.error.message()
    }
}

impl<E: fmt::Debug> fmt::Debug for RouteRejection<E> {
    /// Omits the URL, whose query may contain a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteRejection").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<E: RouteError> Rejection for RouteRejection<E> {
    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn response(&self) -> Response<Bytes> {
        let (status, message) = (self.error.status(), self.error.message());
        let mut response = match status {
            _ if self.error == E::SPECULATIVE => speculative_response(self.retry_url.is_some()),
            StatusCode::SERVICE_UNAVAILABLE => unavailable_response(&message),
            _ => json_response(status, self.code(), &message),
        };
        if let Some(retry_url) = self.retry_url() {
            let page = page::problem(&message, retry_url, self.error.retry_label());
            page::show(&mut response, page);
        }
        let headers = response.headers_mut();
        if let Some(methods) = self.error.allow() {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(wait) = self.error.retry_after() {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        set_route_headers(headers, self.set_cookies.iter().cloned());
        response
    }
}
