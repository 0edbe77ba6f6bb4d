//! Paginated lists as streams.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use crate::api::{ApiError, ApiRequest};

/// How the pages of a list are requested.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) enum Paging {
    /// By their number, from 0. A page with fewer items than this is the last.
    Number { size: usize },
    /// By the token of the page before, which is empty on the last page.
    Token,
}

/// The items of a list. Fetches pages as needed, and ends after an error.
#[must_use = "nothing is fetched until the stream is read"]
pub struct ItemStream<T>(BoxStream<'static, Result<T, ApiError>>);

impl<T: DeserializeOwned + Send + 'static> ItemStream<T> {
    /// The items in this member of each page.
    pub(in crate::api) fn new(request: ApiRequest, member: &'static str) -> Self {
        Self::paged(request, member, Paging::Token)
    }

    pub(in crate::api) fn paged(request: ApiRequest, member: &'static str, paging: Paging) -> Self {
        let start = Progress { items: VecDeque::new(), next: Some(String::new()) };
        let state = (start, CycleDetector::default(), request);
        let items =
            stream::try_unfold(state, move |(mut progress, mut cycles, request)| async move {
                loop {
                    if let Some(item) = progress.items.pop_front() {
                        return Ok(Some((item, (progress, cycles, request))));
                    }
                    let Some(page) = progress.next.take() else { return Ok(None) };
                    if cycles.is_repeated(&page) {
                        return Err(ApiError::unexpected("pages that repeat"));
                    }
                    progress = Progress::after(&request, member, paging, page).await?;
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
    /// The token or number of the next page to fetch; empty for the first.
    next: Option<String>,
}

impl<T: DeserializeOwned> Progress<T> {
    async fn after(
        request: &ApiRequest,
        member: &'static str,
        paging: Paging,
        page: String,
    ) -> Result<Self, ApiError> {
        let parameter = match paging {
            Paging::Number { .. } => "page_number",
            Paging::Token => "page_token",
        };
        let request = match page.as_str() {
            "" => request.clone(),
            page => request.clone().query(parameter, page),
        };
        let (items, token) = request.send_page(member).await?;
        let next = match paging {
            Paging::Number { size } if items.len() < size => None,
            Paging::Number { .. } => Some((page.parse().unwrap_or(0_u32) + 1).to_string()),
            Paging::Token => Some(token).filter(|token| !token.is_empty()),
        };
        Ok(Self { items: items.into(), next })
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
