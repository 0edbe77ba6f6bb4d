//! The outcome of a login, which several requests of one browser share.

use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use super::single_use::StoredResult;
use super::{LoadedSession, SessionCookies, Sessions};

/// What a login has led to: a session that has begun, or a page that asks for the user's
/// confirmation.
#[derive(Clone)]
pub(crate) struct LoginOutcome {
    /// Those of the session, or of the login that waits.
    pub(crate) cookies: SessionCookies,
    /// The page that asks whether to replace another user's session; `None` if the session has begun.
    pub(crate) confirmation: Option<String>,
}

impl LoginOutcome {
    /// A session that another request has begun, whose cookies the browser may have.
    pub(crate) fn elsewhere() -> Self {
        Self { cookies: SessionCookies::new([]), confirmation: None }
    }
}

impl StoredResult for SessionCookies {
    /// `["cookie"]`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(&self.to_texts()).ok().map(Zeroizing::new)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        Self::from_texts(serde_json::from_slice(content).ok()?)
    }
}

impl StoredResult for LoginOutcome {
    /// `[["cookie"], "confirmation"]`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(&(self.cookies.to_texts(), &self.confirmation)).ok().map(Zeroizing::new)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let (cookies, confirmation) = serde_json::from_slice(content).ok()?;
        Some(Self { cookies: SessionCookies::from_texts(cookies)?, confirmation })
    }
}

impl Sessions {
    /// Returns the cookies of a login that another request may have completed. If its session has
    /// ended since, keeps only those that remove other cookies, such as attempts: the session's own
    /// cookies would replace those of a later login.
    pub(crate) async fn drop_cookies_of_ended_session(
        &self,
        cookies: SessionCookies,
    ) -> SessionCookies {
        let values = cookies.into_values();
        let sent: HeaderMap =
            values.iter().filter_map(sent_back).map(|pair| (header::COOKIE, pair)).collect();
        match self.load(&sent).wait().await {
            LoadedSession::Invalid { .. } => SessionCookies::new(
                values.into_iter().filter(|value| self.cookies().removes_other(value)),
            ),
            _ => SessionCookies::new(values),
        }
    }
}

/// Returns what a browser sends after this `Set-Cookie` value.
fn sent_back(set_cookie: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(set_cookie.as_bytes().split(|byte| *byte == b';').next()?).ok()
}
