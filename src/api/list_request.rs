use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::client::pagination::{ItemStream, Paging};
use super::client::request::ApiRequest;

/// A request for a list, which is fetched page by page. Returned by the methods of the API that
/// list objects, such as [`UsersApi::list`](super::users::UsersApi::list).
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct ListRequest<T> {
    request: ApiRequest,
    /// The member of a page that has the items.
    member: &'static str,
    paging: Paging,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> ListRequest<T> {
    pub(super) fn new(request: ApiRequest, member: &'static str) -> Self {
        Self { request, member, paging: Paging::Token, item: PhantomData }
    }

    /// A list whose pages have numbers, with the environment's maximum page size.
    pub(super) fn numbered(request: ApiRequest, member: &'static str, max_size: u16) -> Self {
        let paging = Paging::Number { size: max_size, max_size };
        Self { paging, ..Self::new(request, member) }.page_size(max_size)
    }

    /// Sets the page size, up to the environment's maximum. Default: the environment's; for lists whose
    /// pages have numbers, its maximum.
    pub fn page_size(mut self, mut size: u16) -> Self {
        if let Paging::Number { size: requested, max_size } = &mut self.paging {
            // Otherwise the environment returns pages of another size, and the last one is unknown.
            size = size.clamp(1, *max_size);
            *requested = size;
        }
        Self { request: self.request.with_query("page_size", size.to_string()), ..self }
    }

    /// Streams the items, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<T> {
        ItemStream::paged(self.request, self.member, self.paging)
    }
}
