//! Logins begin at the host of a redirect URI: the callback there needs the cookie of the attempt,
//! and the user may have a session there already. [Origins](super::origins) defines canonical and
//! foreign hosts.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::Sessions;
use crate::middleware::page;
use crate::middleware::page::escaped;
use crate::middleware::route_response::redirect;
use crate::util::cache_control::set_no_store;
use crate::util::fetch_metadata::{is_navigation, is_speculative, wants_html};
use crate::util::host_redirect::{HostAndPort, is_host_redirected, with_redirect_param};
use crate::util::request_target::requested_target;
use crate::util::telemetry;

/// A host is named in the log once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// How many hosts are named at once. Any client can send any name.
const MAX_AT_ONCE: usize = 16;
/// The interval between further ones, so that made-up names do not hide the proxy's.
const FURTHER_INTERVAL: Duration = Duration::from_secs(5);

/// How many redirects of a browser within seconds may lose their mark.
const MAX_UNMARKED: u8 = 3;

/// The hosts that were named in the log.
#[derive(Default)]
pub(super) struct HostWarnings {
    /// The latest last, with the monotonic time.
    named: Mutex<Vec<(HostAndPort, Duration)>>,
}

impl HostWarnings {
    fn is_due(&self, host: &HostAndPort, now: Duration) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|(_, at)| now.saturating_sub(*at) < WARNING_INTERVAL);
        let is_limited = named.len() >= MAX_AT_ONCE
            && named.last().is_some_and(|(_, at)| now.saturating_sub(*at) < FURTHER_INTERVAL);
        let is_due = !is_limited && named.iter().all(|(known, _)| known != host);
        if is_due {
            named.push((host.clone(), now));
        }
        is_due
    }
}

impl fmt::Debug for HostWarnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostWarnings").finish_non_exhaustive()
    }
}

/// A redirect of a browser to the canonical host.
pub(crate) struct CanonicalHostRedirect {
    pub(crate) url: String,
    /// The `Set-Cookie` value that limits further redirects.
    pub(crate) set_cookie: Option<HeaderValue>,
}

impl Sessions {
    /// Returns path and query of a request as the browser has sent it, if known. `layer_path` is
    /// what is removed from the path before a layer, if that is more than the base path.
    pub(crate) fn requested_target<'r, B>(
        &self,
        request: &'r Request<B>,
        layer_path: Option<&str>,
    ) -> Option<Cow<'r, str>> {
        requested_target(request, self.inner.paths.base.known(), layer_path)
    }

    /// Returns the redirect to the canonical host of a navigation to a foreign host, which would
    /// start a login here. A request that was redirected there is not redirected again: a proxy
    /// does not forward the host, and the login continues.
    pub(crate) fn canonical_host_redirect<B>(
        &self,
        request: &Request<B>,
        target: Option<&str>,
    ) -> Option<CanonicalHostRedirect> {
        let (canonical, foreign) = self.foreign_host(request)?;
        if self.was_redirected(request) {
            if self.inner.host_warnings.is_due(&foreign, self.clock().monotonic()) {
                telemetry::other_host(canonical, &foreign);
            }
            return None;
        }
        let target = target.filter(|target| target.starts_with('/'))?;
        telemetry::host_redirect(canonical, &foreign);
        Some(CanonicalHostRedirect {
            url: self.marked_at_canonical_host(target),
            set_cookie: self.cookies().count_host_redirect(request.headers()),
        })
    }

    /// Redirects a navigation that would start a login to the canonical host. `path` is that of the
    /// route, if the requested one is not known.
    pub(crate) fn redirect_to_canonical_host(
        &self,
        request: &Request<()>,
        path: &str,
    ) -> Option<Response<Bytes>> {
        let target =
            self.requested_target(request, None).unwrap_or_else(|| match request.uri().query() {
                Some(query) => format!("{path}?{query}").into(),
                None => path.to_owned().into(),
            });
        let CanonicalHostRedirect { url, set_cookie } =
            self.canonical_host_redirect(request, Some(&target))?;
        Some(redirect(StatusCode::FOUND, &url, set_cookie))
    }

    /// Returns the response to a form that would start an attempt at a foreign host: a page that
    /// continues at the form's page at the canonical host. The browser names the host that
    /// it has opened: if only the proxy names another one, the attempt starts.
    ///
    /// No redirect, which `form-action` in a content security policy of the form's page would block.
    pub(crate) fn form_at_canonical_host(
        &self,
        request: &Request<()>,
        form_page: &str,
    ) -> Option<Response<Bytes>> {
        if request.method() != Method::POST || !wants_html(request.headers()) {
            return None;
        }
        let opened = HostAndPort::of_form_page(request.headers())?;
        let is_forwarded = HostAndPort::from_request(request)? == opened;
        if !is_forwarded || self.origins().by_host(&opened).is_some() {
            return None;
        }
        let canonical = self.origins().canonical().host();
        telemetry::host_redirect(canonical, &opened);
        let url = self.marked_at_canonical_host(form_page);
        let url = escaped(&url);
        let mut response = Response::new(Bytes::new());
        page::show(
            &mut response,
            page::page(
                &format!(r#"<meta http-equiv="refresh" content="0; url={url}">"#),
                &format!("Continue at {canonical}"),
                &format!("The form was not sent, because the address of this app is {canonical}"),
                format!(r#"<a href="{url}">Continue</a>"#),
            ),
        );
        set_no_store(response.headers_mut());
        Some(response)
    }

    /// Whether a request was redirected to the canonical host and is still at a foreign one.
    pub(super) fn is_still_at_foreign_host<B>(&self, request: &Request<B>) -> bool {
        self.was_redirected(request) && self.foreign_host(request).is_some()
    }

    /// Whether a request was redirected to the canonical host. The count is for proxies that remove the
    /// mark; a user may open the foreign host more than once.
    fn was_redirected<B>(&self, request: &Request<B>) -> bool {
        is_host_redirected(request)
            || self.cookies().host_redirects(request.headers()) >= MAX_UNMARKED
    }

    fn marked_at_canonical_host(&self, target: &str) -> String {
        self.origins().canonical().url(&with_redirect_param(target))
    }

    /// Returns the canonical host, and that of a navigation if it is foreign.
    fn foreign_host<B>(&self, request: &Request<B>) -> Option<(&HostAndPort, HostAndPort)> {
        if request.method() != Method::GET || !is_navigation(request) || is_speculative(request) {
            return None;
        }
        let named = HostAndPort::from_request(request)?;
        self.origins().by_host(&named).is_none().then(|| (self.origins().canonical().host(), named))
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn host(name: &str) -> HostAndPort {
        let request = Request::get("/").header(header::HOST, name).body(()).unwrap();
        HostAndPort::from_request(&request).unwrap()
    }

    #[test]
    fn each_host_is_named_once_a_minute_and_few_in_all() {
        let warnings = HostWarnings::default();
        let at = Duration::from_secs;
        assert!(warnings.is_due(&host("a.test"), at(0)));
        assert!(!warnings.is_due(&host("a.test"), at(59)));
        assert!(warnings.is_due(&host("a.test:8080"), at(59)));
        assert!(warnings.is_due(&host("a.test"), at(60)));
        let due = (0..1000).filter(|n| warnings.is_due(&host(&format!("h{n}.test")), at(61)));
        assert_eq!(due.count(), MAX_AT_ONCE - 2);
        assert_eq!(warnings.named.lock().unwrap().len(), MAX_AT_ONCE);
        assert!(warnings.is_due(&host("b.test"), at(122)));
    }

    #[test]
    fn made_up_hosts_do_not_hide_that_of_the_proxy() {
        let warnings = HostWarnings::default();
        let upstream = host("upstream:8080");
        let mut named = Vec::new();
        for second in 0..600 {
            let now = Duration::from_secs(second);
            if second % 60 == 0 {
                for n in 0..100 {
                    warnings.is_due(&host(&format!("h{n}-{second}.test")), now);
                }
            }
            if warnings.is_due(&upstream, now) {
                named.push(second);
            }
            assert!(warnings.named.lock().unwrap().len() < 2 * MAX_AT_ONCE);
        }
        assert_eq!(named.len(), 10, "once a minute: {named:?}");
    }
}
