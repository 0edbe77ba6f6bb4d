use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use http::{Extensions, HeaderValue, Request, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::AddAccessToken;
use crate::middleware::principal::{self, NoPrincipal};
use crate::session::{AccessToken, Session, SessionTokenError};

/// The service of [`AddAccessToken`].
#[derive(Clone, Debug)]
pub struct AddAccessTokenService<S> {
    pub(super) inner: S,
    pub(super) layer: AddAccessToken,
}

/// Returned when a request was not sent, or by the inner service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AddAccessTokenError<E> {
    /// The inner service failed.
    Inner(E),
    /// The request has no session in its extensions.
    MissingSession,
    /// The request is to another origin than the configured ones.
    OriginNotAllowed,
    /// The session has no valid token.
    Token(SessionTokenError),
}

impl<E: fmt::Display> fmt::Display for AddAccessTokenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::MissingSession => f.write_str("the request has no session in its extensions"),
            Self::OriginNotAllowed => f.write_str("the token is not sent to this origin"),
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for AddAccessTokenError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            _ => None,
        }
    }
}

impl<S, B> Service<Request<B>> for AddAccessTokenService<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = AddAccessTokenError<S::Error>;
    type Future = AddAccessTokenFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(AddAccessTokenError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = if !self.layer.allows(request.uri()) {
            State::Rejected { error: Some(AddAccessTokenError::OriginNotAllowed) }
        } else if let Some(session) = session(request.extensions()) {
            // `inner` is ready for this request, so a clone takes its place.
            let clone = self.inner.clone();
            let inner = mem::replace(&mut self.inner, clone);
            State::Token {
                token: Box::pin(async move { session.access_token().await }),
                call: Some((inner, request)),
            }
        } else {
            State::Rejected { error: Some(AddAccessTokenError::MissingSession) }
        };
        AddAccessTokenFuture { state }
    }
}

/// The session of the layer that has authenticated the request. Only without such a layer, one that
/// the app has inserted.
fn session(extensions: &Extensions) -> Option<Session> {
    match principal::find(extensions) {
        Err(NoPrincipal::MissingLayer) => extensions.get().cloned(),
        _ => Session::from_extensions(extensions),
    }
}

pin_project! {
    /// Response future of [`AddAccessTokenService`].
    pub struct AddAccessTokenFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Token {
            token: BoxFuture<'static, Result<AccessToken, SessionTokenError>>,
            call: Option<(S, Request<B>)>,
        },
        Inner { #[pin] future: S::Future },
        Rejected { error: Option<AddAccessTokenError<S::Error>> },
    }
}

impl<S, B> Future for AddAccessTokenFuture<S, B>
where
    S: Service<Request<B>>,
{
    type Output = Result<S::Response, AddAccessTokenError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Token { token, call } => {
                    let token = ready!(token.as_mut().poll(cx));
                    let Some((mut inner, mut request)) = call.take() else { return Poll::Pending };
                    match token.and_then(|token| bearer(&token)) {
                        Ok(bearer) => {
                            request.headers_mut().insert(header::AUTHORIZATION, bearer);
                            State::Inner { future: inner.call(request) }
                        }
                        Err(error) => {
                            State::Rejected { error: Some(AddAccessTokenError::Token(error)) }
                        }
                    }
                }
                StateProjection::Inner { future } => {
                    return future.poll(cx).map_err(AddAccessTokenError::Inner);
                }
                StateProjection::Rejected { error } => {
                    return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
            };
            state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for AddAccessTokenFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddAccessTokenFuture").finish_non_exhaustive()
    }
}

/// Verified tokens are base64url with dots, so that they are valid in headers.
fn bearer(token: &AccessToken) -> Result<HeaderValue, SessionTokenError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| SessionTokenError::Unavailable)?;
    value.set_sensitive(true);
    Ok(value)
}
