//! Logins begin at the host of the redirect URI: the callback there needs the cookie of the
//! attempt, and the user may have a session there already.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::Sessions;
use crate::middleware::route_rejection::redirect;
use crate::util::fetch_metadata::{is_navigation, requested_target};
use crate::util::host_redirect::{HostAndPort, is_marked, with_mark};
use crate::util::return_to::{ReturnTo, with_return_to};
use crate::util::telemetry;

/// A host is named in the log once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// How many hosts are named in that time. Any client can send any name.
const MAX_WARNINGS: usize = 16;

/// The hosts that were named in the log, and when.
#[derive(Default)]
pub(super) struct HostWarnings(Mutex<Vec<(HostAndPort, Duration)>>);

impl HostWarnings {
    fn is_due(&self, host: &HostAndPort, now: Duration) -> bool {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(_, at)| now.saturating_sub(*at) < WARNING_INTERVAL);
        let is_due = recent.len() < MAX_WARNINGS && recent.iter().all(|(known, _)| known != host);
        if is_due {
            recent.push((host.clone(), now));
        }
        is_due
    }
}

impl fmt::Debug for HostWarnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostWarnings").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Returns path and query of a request as the browser has sent it, if known. `layer_path` is
    /// what is removed from the path before a layer, if that is more than the base path.
    pub(crate) fn requested_target<'r, B>(
        &self,
        request: &'r Request<B>,
        layer_path: Option<&str>,
    ) -> Option<Cow<'r, str>> {
        requested_target(request, self.0.paths.base.known(), layer_path)
    }

    /// Returns the URL at the redirect URI's host of a navigation to another host, which would
    /// start a login here. A request that was redirected there is not redirected again: a proxy
    /// does not forward the host, and the login continues.
    pub(crate) fn at_own_host<B>(
        &self,
        request: &Request<B>,
        target: Option<&str>,
    ) -> Option<String> {
        let (own, other) = self.other_host(request)?;
        if is_marked(request) {
            if self.0.host_warnings.is_due(&other, self.scalekit().clock().monotonic()) {
                telemetry::other_host(&own, &other);
            }
            return None;
        }
        let target = target.filter(|target| target.starts_with('/'))?;
        Some(format!("{}{}", self.public_url().origin().ascii_serialization(), with_mark(target)))
    }

    /// Redirects a navigation that would start a login to the redirect URI's host. `path` is that of
    /// the route, if the requested one is not known.
    pub(crate) fn redirect_to_own_host(
        &self,
        request: &Request<()>,
        path: &str,
    ) -> Option<Response<Bytes>> {
        let target = self.requested_target(request, None).unwrap_or_else(|| {
            let query = request.uri().query().map(|query| format!("?{query}"));
            format!("{path}{}", query.unwrap_or_default()).into()
        });
        let page = self.at_own_host(request, Some(&target))?;
        Some(redirect(StatusCode::FOUND, &page, []))
    }

    /// Returns the URL of a login that a request leads to, marked if the request is.
    pub(crate) fn login_of<B>(&self, request: &Request<B>, return_to: Option<&ReturnTo>) -> String {
        let login = self.with_return_to(self.login_path(), return_to);
        let is_still_other = is_marked(request) && self.other_host(request).is_some();
        if is_still_other { with_mark(&login) } else { login }
    }

    /// Returns a path with `return_to` in its query, unless that is the start page.
    pub(crate) fn with_return_to(&self, path: &str, return_to: Option<&ReturnTo>) -> String {
        let start_page = self.start_page().as_str().trim_end_matches('/');
        let is_other = |page: &&ReturnTo| page.as_str().trim_end_matches('/') != start_page;
        with_return_to(path, return_to.filter(is_other))
    }

    /// Returns the redirect URI's host, and that of a navigation if it is another one.
    fn other_host<B>(&self, request: &Request<B>) -> Option<(HostAndPort, HostAndPort)> {
        if request.method() != Method::GET || !is_navigation(request) {
            return None;
        }
        let hosts = HostAndPort::of_url(self.public_url()).zip(HostAndPort::of_request(request));
        hosts.filter(|(own, other)| own != other)
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn host(name: &str) -> HostAndPort {
        let request = Request::get("/").header(header::HOST, name).body(()).unwrap();
        HostAndPort::of_request(&request).unwrap()
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
        assert_eq!(due.count(), MAX_WARNINGS - 2);
        assert_eq!(warnings.0.lock().unwrap().len(), MAX_WARNINGS);
        assert!(warnings.is_due(&host("b.test"), at(122)));
    }
}
