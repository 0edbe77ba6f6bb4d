use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::dedup::{Claim, Running};
use super::payload::SignedPayload;
use super::rejection::again;
use super::signature::Signed;
use super::{WebhookError, WebhookRejection, WebhookVerify};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Guarded, OnResponse, Wait};
use crate::shared_store::StoreError;
use crate::util::telemetry;

/// A request whose signature is being checked.
pub(super) struct WebhookWait {
    pub(super) config: WebhookVerify,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    /// Its body is being read.
    Read,
    /// It is being found out whether it was handled before.
    Begin(BoxFuture<'static, Result<Claim, StoreError>>),
}

impl<B: Body<Data = Bytes>> Wait<ReplayBody<B>> for WebhookWait {
    type OnResponse = WebhookMark;

    fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<WebhookMark>> {
        loop {
            let decided = match &mut self.stage {
                Stage::Read => {
                    let filled = ready!(request.body_mut().poll_fill(cx, &self.config.limits));
                    match self.check(filled, request.headers()) {
                        Ok(Checked { body, next }) => {
                            SignedPayload::read(self.config.kind, &body)
                                .insert(request.extensions_mut());
                            if let Some(next) = next {
                                self.stage = next;
                                continue;
                            }
                            Ok(Decision::Forward(WebhookMark::Nothing))
                        }
                        Err(reason) => Err(reason),
                    }
                }
                Stage::Begin(begin) => match ready!(begin.as_mut().poll(cx)) {
                    Ok(Claim::Acquired(running)) => {
                        Ok(Decision::Forward(WebhookMark::Running(running)))
                    }
                    Ok(Claim::Completed(status)) => {
                        telemetry::webhook_received("duplicate");
                        Ok(Decision::Reject(again(status)))
                    }
                    Ok(Claim::InProgress) => Err(WebhookRejection::InProgress),
                    Err(error) => {
                        telemetry::internal_error("webhook_begin", &error);
                        Err(WebhookRejection::StoreUnavailable)
                    }
                },
            };
            return Poll::Ready(match decided {
                Ok(decision) => {
                    if let Decision::Forward(_) = &decision {
                        telemetry::webhook_received("accepted");
                    }
                    decision
                }
                Err(reason) => Decision::Reject(self.config.renderer.render(reason, request)),
            });
        }
    }
}

impl WebhookWait {
    /// Checks a body that was read.
    fn check(
        &self,
        body: Result<Bytes, BodyError>,
        headers: &HeaderMap,
    ) -> Result<Checked, WebhookRejection> {
        let body = body.map_err(|error| match error {
            BodyError::Broken => WebhookRejection::Invalid { error: WebhookError::Malformed },
            BodyError::Evicted => WebhookRejection::Overloaded,
            BodyError::Late => WebhookRejection::RequestTimeout,
            BodyError::TooLarge => WebhookRejection::PayloadTooLarge,
        })?;
        let config = &self.config;
        let signed = Signed::read(headers, config.kind, config.clock.now());
        let signed = signed.and_then(|signed| {
            signed.check(&body, &config.secrets)?;
            Ok(signed)
        });
        let signed = signed.map_err(|error| WebhookRejection::Invalid { error })?;
        let next = config.ledger().map(|ledger| {
            let id = signed.id.to_owned();
            Stage::Begin(Box::pin(async move { ledger.begin(&id).await }))
        });
        Ok(Checked { body, next })
    }
}

/// A body that its sender has signed.
struct Checked {
    body: Bytes,
    /// What has to be waited for before it is handled.
    next: Option<Stage>,
}

/// Settles a message by the response that it got.
pub(super) enum WebhookMark {
    Nothing,
    Running(Box<Running>),
    Settling(BoxFuture<'static, ()>),
}

impl OnResponse for WebhookMark {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        _: &mut HeaderMap,
    ) -> Poll<()> {
        if let Self::Running(_) = self
            && let Self::Running(running) = std::mem::replace(self, Self::Nothing)
        {
            *self = Self::Settling(Box::pin(running.settle(status)));
        }
        match self {
            Self::Settling(settling) => settling.as_mut().poll(cx),
            Self::Nothing | Self::Running(_) => Poll::Ready(()),
        }
    }
}

pin_project! {
    /// Response future of [`WebhookVerifyService`](super::WebhookVerifyService).
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReplayBody<ReqBody>>>,
        ReqBody: Body<Data = Bytes>,
    {
        #[pin]
        guarded: Guarded<S, ReplayBody<ReqBody>, WebhookWait>,
    }
}

impl<S, ReqBody> From<Guarded<S, ReplayBody<ReqBody>, WebhookWait>> for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReplayBody<ReqBody>>>,
    ReqBody: Body<Data = Bytes>,
{
    fn from(guarded: Guarded<S, ReplayBody<ReqBody>, WebhookWait>) -> Self {
        Self { guarded }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReplayBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().guarded.poll(cx)
    }
}

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReplayBody<ReqBody>>>,
    ReqBody: Body<Data = Bytes>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
