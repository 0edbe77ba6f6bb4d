//! Paginated lists as streams.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use crate::api::{ApiError, ApiRequest};

/// How the pages of a list are requested.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) enum Paging {
    /// By their number, from 0. A page with fewer items than requested is the last.
    Number { size: u16, max_size: u16 },
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
        let pages = Pages {
            request,
            member,
            paging,
            items: Vec::new().into_iter(),
            next: Some(String::new()),
            cycles: CycleDetector::default(),
        };
        let items = stream::try_unfold(pages, async |mut pages| {
            Ok(pages.next_item().await?.map(|item| (item, pages)))
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

/// The pages of a list, and the items of the current one.
struct Pages<T> {
    request: ApiRequest,
    member: &'static str,
    paging: Paging,
    items: vec::IntoIter<T>,
    /// The token or number of the next page to fetch. Empty: the first.
    next: Option<String>,
    cycles: CycleDetector,
}

impl<T: DeserializeOwned> Pages<T> {
    async fn next_item(&mut self) -> Result<Option<T>, ApiError> {
        loop {
            if let Some(item) = self.items.next() {
                return Ok(Some(item));
            }
            let Some(page) = self.next.take() else { return Ok(None) };
            if self.cycles.is_repeated(&page) {
                return Err(ApiError::unexpected("pages that repeat"));
            }
            self.fetch(&page).await?;
        }
    }

    async fn fetch(&mut self, page: &str) -> Result<(), ApiError> {
        let request = match self.paging {
            _ if page.is_empty() => self.request.clone(),
            Paging::Number { .. } => self.request.clone().query("page_number", page),
            Paging::Token => self.request.clone().query("page_token", page),
        };
        let (items, token) = request.send_page(self.member).await?;
        self.next = match self.paging {
            Paging::Number { size, .. } if items.len() < size.into() => None,
            Paging::Number { .. } => Some((page.parse().unwrap_or(0_u32) + 1).to_string()),
            Paging::Token => Some(token).filter(|token| !token.is_empty()),
        };
        self.items = items.into_iter();
        Ok(())
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
