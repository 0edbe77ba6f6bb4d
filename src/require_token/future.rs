use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, StatusCode};

use super::RequireToken;
use crate::middleware::response_future::{Decision, OnResponse, Wait, response_future};
use crate::util::cache_control::limit_to_token;
use crate::util::single_flight::Flight;

response_future!(KeyFetch, "RequireTokenService");

/// A request whose token names a key that is being fetched.
pub(super) struct KeyFetch {
    pub(super) config: RequireToken,
    pub(super) fetch: Flight<bool>,
}

impl<B> Wait<B> for KeyFetch {
    type OnResponse = TokenMark;

    fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<TokenMark>> {
        let fetched = ready!(Pin::new(&mut self.fetch).poll(cx));
        Poll::Ready(self.config.decide_again(fetched, request))
    }
}

/// Marks the response to a token as one that no cache keeps.
#[derive(Debug)]
pub(super) struct TokenMark;

impl OnResponse for TokenMark {
    fn poll_response(
        &mut self,
        _: &mut Context<'_>,
        _: StatusCode,
        response: &mut HeaderMap,
    ) -> Poll<()> {
        limit_to_token(response);
        Poll::Ready(())
    }
}
