use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use url::Url;
use zeroize::Zeroizing;

use super::ConnectAccount;
use super::attempt::ConnectAttempt;
use super::rejection::ConnectAccountError;
use crate::api::ApiError;
use crate::middleware::LoginRequired;
use crate::middleware::rejection::Renderer;
use crate::middleware::route::route;
use crate::middleware::route_response::{redirect, set_sensitive_headers};
use crate::oauth::is_error_code;
use crate::require_session::SessionRejection;
use crate::session::{OtherRequest, Session, SingleUse, StoredResult};
use crate::util::query::QueryParam;
use crate::util::return_to::ReturnTo;
use crate::util::shared_results::{DedupKey, RESULT_TTL};
use crate::util::telemetry;

/// How long a callback is claimed: longer than a verification may take.
const MAX_VERIFICATION_TIME: Duration = Duration::from_secs(60);

/// Receives users after the consent: `GET`. Returned by [`ConnectAccount::verify`], behind
/// [`RequireSession`](crate::RequireSession).
///
/// Activates the account only if the callback belongs to an attempt of this browser, and the user
/// who is logged in is the one who began. Uses up the callback and ends the attempt in any case,
/// unless the environment or the shared store is unavailable.
///
/// Two requests of one browser with the same callback verify the account once, on all replicas.
#[derive(Clone, Debug)]
pub struct Verify {
    pub(super) connect: ConnectAccount,
}

impl Verify {
    async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        let connect = &self.connect;
        let callback = match ConsentCallback::read(&request) {
            Ok(callback) => callback,
            Err(failure) => return connect.reject(failure, &request, None),
        };
        let (attempt, end_attempt) =
            ConnectAttempt::find(connect, request.headers(), &callback.state);
        let session = Session::from_extensions(request.extensions());
        let is_logged_in = session.is_some();
        match self.complete_once(callback, attempt, session).await {
            Err(ConnectAccountError::Unavailable) if !is_logged_in => {
                connect.reject(ConnectAccountError::Unavailable, &request, end_attempt)
            }
            _ if !is_logged_in => self.log_in_first(&request, end_attempt),
            Ok(target) => {
                let target = target.as_ref().map_or(&*connect.inner.start_page, Url::as_str);
                redirect(StatusCode::SEE_OTHER, target, end_attempt)
            }
            Err(failure) => connect.reject(failure, &request, end_attempt),
        }
    }

    /// Completes the attempt, or shares the result of a request of the same browser and user, on any
    /// replica, that does or has just done so. It continues when the client disconnects.
    async fn complete_once(
        &self,
        callback: ConsentCallback,
        attempt: Option<ConnectAttempt>,
        session: Option<Session>,
    ) -> Result<Option<Url>, ConnectAccountError> {
        let key = DedupKey::new(&[
            "connect account",
            &callback.state,
            callback.auth_request_id.as_deref().unwrap_or_default(),
            if attempt.is_some() { "own" } else { "foreign" },
            session.as_ref().map_or("", |session| session.principal().subject()),
        ]);
        let route = self.clone();
        self.connect
            .inner
            .verifications
            .run(key, || async move {
                match (attempt, session) {
                    (Some(attempt), Some(session)) => {
                        route.complete_own(key, callback, &attempt, &session).await
                    }
                    _ => Err(match route.consume(&callback, false).await {
                        Ok(_) => ConnectAccountError::StateMismatch,
                        Err(error) => error,
                    }),
                }
            })
            .await
    }

    /// Completes an attempt of this browser and user, or shares the result of a request on another
    /// replica, for which it waits: the browser may have dropped that response.
    async fn complete_own(
        &self,
        key: DedupKey,
        callback: ConsentCallback,
        attempt: &ConnectAttempt,
        session: &Session,
    ) -> Result<Option<Url>, ConnectAccountError> {
        let name = key.to_text();
        let callback_use = SingleUse {
            sessions: self.connect.sessions(),
            key: self.connect.callback_key(&name),
            sealing_name: name,
            used_ttl: MAX_VERIFICATION_TIME,
            end_ttl: RESULT_TTL,
        };
        let mut is_claimed = callback_use.claim().await;
        if !is_claimed {
            match callback_use.wait_until_completed().await {
                OtherRequest::Completed(target) => return Ok(target),
                OtherRequest::CompletedBefore | OtherRequest::CompletedMeanwhile => {
                    return Err(ConnectAccountError::StateMismatch);
                }
                // The other request has failed, was interrupted, or is still in progress.
                OtherRequest::Denied | OtherRequest::Failed | OtherRequest::Pending => {
                    is_claimed = callback_use.claim().await;
                }
            }
        }
        let verified = self.complete(callback, attempt, session).await;
        match &verified {
            Ok(target) => callback_use.complete(target).await,
            // The other request is still in progress. If it fails, the browser can retry.
            Err(ConnectAccountError::StateMismatch) if !is_claimed => {
                return Err(ConnectAccountError::Unavailable);
            }
            Err(_) if is_claimed => callback_use.release().await,
            Err(_) => {}
        }
        verified
    }

    async fn complete(
        &self,
        callback: ConsentCallback,
        attempt: &ConnectAttempt,
        session: &Session,
    ) -> Result<Option<Url>, ConnectAccountError> {
        let id = self.consume(&callback, true).await?;
        let verified = self.verify(id, attempt, session).await;
        match &verified {
            Ok(_) => telemetry::account_connected(),
            Err(ConnectAccountError::Unavailable) => {
                self.connect.restore_callback(&callback.state).await;
            }
            Err(_) => {}
        }
        verified
    }

    /// Uses up the callback first, so that it cannot be used again, whatever the result. Returns the
    /// environment's ID of the consent.
    async fn consume<'c>(
        &self,
        callback: &'c ConsentCallback,
        is_own: bool,
    ) -> Result<&'c str, ConnectAccountError> {
        let id = callback.auth_request_id.as_deref();
        let consumed = self.connect.consume_callback(&callback.state, id.ok(), is_own).await;
        let id = id.map_err(Clone::clone)?;
        consumed.map(|()| id)
    }

    async fn verify(
        &self,
        auth_request_id: &str,
        attempt: &ConnectAttempt,
        session: &Session,
    ) -> Result<Option<Url>, ConnectAccountError> {
        let identifier = self.connect.identifier(session);
        if !attempt.belongs_to(&self.connect, session, &identifier) {
            return Err(ConnectAccountError::UserMismatch);
        }
        self.connect.accounts().verify_user(auth_request_id, &identifier).await.map_err(|error| {
            match error {
                ApiError::Forbidden(_) => ConnectAccountError::UserMismatch,
                ApiError::InvalidRequest(_) | ApiError::NotFound(_) => {
                    ConnectAccountError::NoPendingVerification
                }
                error => ConnectAccountError::from_api(error),
            }
        })
    }

    /// Redirects to the login, which leads to the page with the button: the address must not
    /// contain the callback.
    fn log_in_first(
        &self,
        request: &Request<()>,
        end_attempt: Option<HeaderValue>,
    ) -> Response<Bytes> {
        let sessions = self.connect.sessions();
        let start_page = ReturnTo::parse(&self.connect.inner.start_page);
        let login_url = sessions.with_return_to(sessions.login_path(), start_page.as_ref());
        let login = LoginRequired::new(request, login_url, Vec::new());
        let mut response =
            Renderer::default().render(SessionRejection::MissingSession(login), request);
        response.headers_mut().extend(end_attempt.map(|cookie| (header::SET_COOKIE, cookie)));
        set_sensitive_headers(response.headers_mut());
        response
    }
}

route!(Verify.connect);

/// Where the user is redirected.
impl StoredResult for Option<Url> {
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(self.as_ref().map_or("", Url::as_str).into()))
    }

    fn decode(content: &[u8]) -> Option<Self> {
        match std::str::from_utf8(content).ok()? {
            "" => Some(None),
            url => Url::parse(url).ok().map(Some),
        }
    }
}

/// The query parameters of the callback: the `state` (the first one, if repeated), and the ID of
/// the consent or an error. An invalid query ends its attempt too.
struct ConsentCallback {
    state: String,
    auth_request_id: Result<String, ConnectAccountError>,
}

impl ConsentCallback {
    fn read(request: &Request<()>) -> Result<Self, ConnectAccountError> {
        if request.method() != Method::GET {
            return Err(ConnectAccountError::MethodNotAllowed { allow: "GET" });
        }
        let query = request.uri().query().unwrap_or_default();
        let parameters =
            ["auth_request_id", "state", "error"].map(|name| QueryParam::find(query, name));
        let is_repeated = parameters.iter().any(|parameter| parameter.is_repeated);
        let [auth_request_id, state, error] = parameters.map(|parameter| parameter.first);
        let auth_request_id = match (auth_request_id, error) {
            _ if is_repeated => Err(ConnectAccountError::InvalidRequest),
            (_, Some(code)) => Err(ConnectAccountError::ConsentDenied {
                code: Some(code).filter(|code| is_error_code(code)),
            }),
            (Some(id), None) if !id.is_empty() => Ok(id),
            _ => Err(ConnectAccountError::InvalidRequest),
        };
        match state {
            Some(state) => Ok(Self { state, auth_request_id }),
            None => Err(auth_request_id.err().unwrap_or(ConnectAccountError::InvalidRequest)),
        }
    }
}
