//! Lists that come in pages, as one stream.

use std::collections::VecDeque;

use futures::stream::{self, Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use super::{ApiError, ApiRequest};

/// One page of a list.
pub(super) trait Page: DeserializeOwned + Send + 'static {
    type Item: Send + 'static;

    /// The items, and the token of the next page; an empty one stands at the end.
    fn into_parts(self) -> (Vec<Self::Item>, String);
}

/// All items of a list, page after page as they are asked for. Ends after an error.
pub(super) fn items<P: Page>(
    request: ApiRequest,
) -> impl Stream<Item = Result<P::Item, ApiError>> + Send + Unpin + 'static {
    let start = Progress { items: VecDeque::new(), next: Some(String::new()) };
    stream::try_unfold((start, request), |(mut progress, request)| async {
        loop {
            if let Some(item) = progress.items.pop_front() {
                return Ok(Some((item, (progress, request))));
            }
            let Some(token) = progress.next.take() else { return Ok(None) };
            progress = Progress::after::<P>(&request, token).await?;
        }
    })
    .boxed()
}

struct Progress<T> {
    items: VecDeque<T>,
    /// The token of the page to fetch when the items are used up; empty for the first.
    next: Option<String>,
}

impl<T> Progress<T> {
    async fn after<P: Page<Item = T>>(
        request: &ApiRequest,
        token: String,
    ) -> Result<Self, ApiError> {
        let mut request = request.clone();
        if !token.is_empty() {
            request = request.query("page_token", token.as_str());
        }
        let (items, next) = request.send::<P>().await?.into_parts();
        if !next.is_empty() && next == token {
            return Err(ApiError::unexpected("a page that names itself as the next one"));
        }
        Ok(Self { items: items.into(), next: (!next.is_empty()).then_some(next) })
    }
}
