use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;

use super::RequireToken;
use crate::flight::Flight;
use crate::guard::{Decision, Wait, response_future};

response_future!(KeyFetch, "RequireTokenService");

/// A request whose token names a key that is being fetched.
pub(super) struct KeyFetch {
    pub(super) config: RequireToken,
    pub(super) fetch: Flight<bool>,
}

impl<B> Wait<B> for KeyFetch {
    type Mark = ();

    fn poll_decide(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<()>> {
        let fetched = ready!(Pin::new(&mut self.fetch).poll(cx));
        Poll::Ready(self.config.decide_again(fetched, request))
    }
}
