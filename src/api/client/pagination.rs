//! Paginated lists as streams.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use crate::api::{ApiError, ApiRequest};

/// One page of a list.
pub(in crate::api) trait Page: DeserializeOwned + Send + 'static {
    type Item: Send + 'static;

    /// The items, and the token of the next page, which is empty on the last page.
    fn into_parts(self) -> (Vec<Self::Item>, String);
}

/// The items of a list. Fetches pages as needed, and ends after an error.
#[must_use = "nothing is fetched until the stream is read"]
pub struct ItemStream<T>(BoxStream<'static, Result<T, ApiError>>);

impl<T: Send + 'static> ItemStream<T> {
    pub(in crate::api) fn new<P: Page<Item = T>>(request: ApiRequest) -> Self {
        let start = Progress { items: VecDeque::new(), next: Some(String::new()) };
        let state = (start, CycleDetector::default(), request);
        let items = stream::try_unfold(state, |(mut progress, mut cycles, request)| async {
            loop {
                if let Some(item) = progress.items.pop_front() {
                    return Ok(Some((item, (progress, cycles, request))));
                }
                let Some(token) = progress.next.take() else { return Ok(None) };
                if cycles.is_repeated(&token) {
                    return Err(ApiError::unexpected("pages that repeat"));
                }
                progress = Progress::after::<P>(&request, token).await?;
            }
        });
        Self(items.boxed())
    }
}

impl<T> ItemStream<T> {
    /// Returns the next item, and `None` after the last. Cancel safe: no item is lost.
    pub async fn next(&mut self) -> Option<Result<T, ApiError>> {
        self.0.next().await
    }
}

impl<T> Stream for ItemStream<T> {
    type Item = Result<T, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<T> fmt::Debug for ItemStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").finish_non_exhaustive()
    }
}

/// Detects a cycle of page tokens with one token in memory (Brent's algorithm).
#[derive(Default)]
struct CycleDetector {
    mark: String,
    steps: u64,
    next_mark: u64,
}

impl CycleDetector {
    fn is_repeated(&mut self, token: &str) -> bool {
        if self.steps > 0 && self.mark == token {
            return true;
        }
        if self.steps == self.next_mark {
            token.clone_into(&mut self.mark);
            self.next_mark = 2 * self.steps + 1;
        }
        self.steps += 1;
        false
    }
}

struct Progress<T> {
    items: VecDeque<T>,
    /// The token of the next page to fetch; empty for the first.
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
        Ok(Self { items: items.into(), next: (!next.is_empty()).then_some(next) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_repeated(mut tokens: impl Iterator<Item = usize>) -> Option<usize> {
        let mut cycles = CycleDetector::default();
        tokens.position(|token| cycles.is_repeated(&token.to_string()))
    }

    #[test]
    fn cycles_of_pages_of_any_length_are_detected() {
        assert_eq!(first_repeated(0..10_000), None);
        for (before, length) in [(1, 1), (1, 2), (3, 2), (2, 7), (100, 30)] {
            let circle = (before..before + length).cycle();
            let found = first_repeated((0..before).chain(circle).take(1000));
            assert!(
                found.is_some_and(|at| at < 4 * (before + length)),
                "{before} {length} {found:?}"
            );
        }
    }
}
