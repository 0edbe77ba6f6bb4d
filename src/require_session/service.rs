use std::task::{Context, Poll, ready};

use http::{Request, Response, header};
use tower_service::Service;

use super::rejection::{RetryLater, page_of};
use super::session_headers::SessionHeaders;
use super::{RequireSession, SessionRejection};
use crate::challenge::{BearerError, Challenge};
use crate::middleware::LoginRequired;
use crate::middleware::principal::{Anonymous, strip_principal};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{DecidingLayer, Decision, Evaluation, ResponseFuture};
use crate::session::{
    LoadedSession, PendingSession, Recency, RefreshTrigger, SentCookies, Session, SessionLoad,
    Sessions, UsableSession,
};
use crate::util::cache_control::set_no_store;
use crate::util::fetch_metadata::{is_speculative, is_state_changing};
use crate::util::host_redirect::strip_redirect_param;
use crate::util::telemetry;

/// The service of [`RequireSession`].
#[derive(Clone, Debug)]
pub struct RequireSessionService<S> {
    pub(super) inner: S,
    pub(super) layer: RequireSession,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireSessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, RequireSession>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let load = self.layer.sessions.load(request.headers());
        let evaluation = self.layer.evaluate(load, &mut request);
        ResponseFuture::evaluated(&self.layer, evaluation, request, &mut self.inner)
    }
}

impl<B> DecidingLayer<B> for RequireSession {
    type Pending = PendingSession;
    type OnResponse = SessionHeaders;

    fn poll_decision(
        &self,
        pending: &mut PendingSession,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<SessionHeaders>> {
        loop {
            match self.evaluate_loaded(ready!(pending.as_mut().poll(cx)), request) {
                Evaluation::Decided(decision) => return Poll::Ready(decision),
                Evaluation::Pending(refresh) => *pending = refresh,
            }
        }
    }
}

impl RequireSession {
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Evaluates a request by its session. Removes what an outer layer has inserted.
    pub(crate) fn evaluate<B>(
        &self,
        load: SessionLoad,
        request: &mut Request<B>,
    ) -> Evaluation<PendingSession, SessionHeaders> {
        strip_principal(request.extensions_mut());
        strip_redirect_param(request);
        match load {
            SessionLoad::Done(loaded) => self.evaluate_loaded(loaded, request),
            SessionLoad::Pending(pending) => Evaluation::Pending(pending),
        }
    }

    fn evaluate_loaded<B>(
        &self,
        loaded: LoadedSession,
        request: &mut Request<B>,
    ) -> Evaluation<PendingSession, SessionHeaders> {
        Evaluation::Decided(match loaded {
            // Without a session there is nothing that another origin could make use of.
            LoadedSession::Active(_) | LoadedSession::RefreshDue(_)
                if is_state_changing(request) && self.sessions.is_cross_origin(request) =>
            {
                self.reject(SessionRejection::CrossSite, request)
            }
            LoadedSession::Active(usable) | LoadedSession::RefreshDue(usable)
                if self.recency(&usable.session) != Recency::Recent =>
            {
                self.reject_outdated_authentication(&usable.session, request)
            }
            LoadedSession::Active(active) => self.forward(active, request),
            LoadedSession::RefreshDue(due) if is_speculative(request) => {
                match self.sessions.without_refresh(due) {
                    LoadedSession::Active(active) => self.forward(active, request),
                    _ => self.forward_or_reject_anonymous(
                        SessionRejection::InvalidSession,
                        SentCookies::default(),
                        request,
                    ),
                }
            }
            LoadedSession::RefreshDue(due) => {
                let sessions = self.sessions.clone();
                return Evaluation::Pending(Box::pin(async move {
                    sessions.refresh_session(due, RefreshTrigger::Due).await
                }));
            }
            LoadedSession::Missing => self.forward_or_reject_anonymous(
                SessionRejection::MissingSession,
                SentCookies::default(),
                request,
            ),
            LoadedSession::Invalid { clear } => {
                self.forward_or_reject_anonymous(SessionRejection::InvalidSession, clear, request)
            }
            LoadedSession::Unavailable { set_cookies } => {
                let retry = RetryLater::of(request, &self.sessions, self.layer_path.as_deref());
                let mut response =
                    self.renderer.render(SessionRejection::Unavailable(retry), request);
                for cookie in set_cookies {
                    response.headers_mut().append(header::SET_COOKIE, cookie);
                    set_no_store(response.headers_mut());
                }
                Decision::Respond(response)
            }
        })
    }

    fn forward<B>(
        &self,
        active: UsableSession,
        request: &mut Request<B>,
    ) -> Decision<SessionHeaders> {
        if !active.has_effects() || is_speculative(request) {
            request.extensions_mut().insert(active.session.into_principal());
            return Decision::Forward(SessionHeaders::WithoutCookies);
        }
        request.extensions_mut().insert(active.session.principal().clone());
        self.sessions.record_use(&active);
        if active.set_cookie_reason.is_none() {
            return Decision::Forward(SessionHeaders::WithoutCookies);
        }
        let sessions = self.sessions.clone();
        Decision::Forward(SessionHeaders::WithCookies(Box::pin(async move {
            sessions.newest_set_cookies(&active).await
        })))
    }

    /// Decides on a request without a session.
    fn forward_or_reject_anonymous<B>(
        &self,
        rejection: fn(LoginRequired) -> SessionRejection,
        clear: SentCookies,
        request: &mut Request<B>,
    ) -> Decision<SessionHeaders> {
        let sessions = &self.sessions;
        let is_speculative = is_speculative(request);
        let removals = match self.optional || is_speculative {
            true => Vec::new(),
            false => sessions.removals(clear, request.headers()),
        };
        let target = sessions.requested_target(request, self.layer_path.as_deref());
        let path = target
            .as_deref()
            .and_then(|target| target.split('?').next())
            .unwrap_or_else(|| request.uri().path());
        if !self.optional && sessions.is_login_route(path) {
            telemetry::layer_around_login(path);
            return self.reject(SessionRejection::AroundOwnLogin, request);
        }
        let login = match sessions.canonical_host_redirect(request, target.as_deref()) {
            Some(canonical) => LoginRequired::new(request, canonical.url, removals)
                .set_cookie(canonical.set_cookie),
            None => {
                let login = LoginRequired::new(request, self.login_target(request), removals);
                if !self.optional && login.login_url().is_some() {
                    sessions.report_unreachable_login(request);
                }
                login
            }
        };
        if self.optional {
            // A login may complete while the handler runs: its cookie must not be removed.
            request.extensions_mut().insert(Anonymous::Login(login));
            return Decision::Forward(SessionHeaders::WithoutCookies);
        }
        let rejection = if is_speculative { SessionRejection::Speculative } else { rejection };
        self.reject(rejection(login), request)
    }

    fn recency(&self, session: &Session) -> Recency {
        self.authenticated_within
            .map_or(Recency::Recent, |within| self.sessions.recency(session, within))
    }

    /// Rejects a request whose user has not authenticated recently.
    fn reject_outdated_authentication<B>(
        &self,
        session: &Session,
        request: &Request<B>,
    ) -> Decision<SessionHeaders> {
        let login = LoginRequired::new(request, self.login_target(request), Vec::new());
        let rejection = if is_speculative(request) {
            SessionRejection::Speculative(login)
        } else if self.recency(session) == Recency::NotRenewed {
            SessionRejection::AuthenticationNotRenewed(login.not_renewed())
        } else {
            let challenge = Challenge::new()
                .error(BearerError::InsufficientUserAuthentication)
                .max_age(self.authenticated_within.unwrap_or_default());
            SessionRejection::OutdatedAuthentication(login.outdated_authentication(challenge))
        };
        self.reject(rejection, request)
    }

    /// Returns the login that returns to the user's page.
    fn login_target<B>(&self, request: &Request<B>) -> String {
        let page = page_of(request, &self.sessions, self.layer_path.as_deref())
            .filter(|page| !page.is_single_use());
        // The environment may complete a login without the user, which would not be recent.
        self.sessions.login_target_for(request, page.as_ref(), self.authenticated_within.is_some())
    }

    fn reject<B>(
        &self,
        rejection: SessionRejection,
        request: &Request<B>,
    ) -> Decision<SessionHeaders> {
        Decision::Respond(self.renderer.render(rejection, request))
    }
}
