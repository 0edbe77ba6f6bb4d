use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::client::pagination::ItemStream;
use super::client::request::ApiRequest;

/// A request for a list, which is fetched page by page. Returned by the methods of the API that
/// list objects, such as [`UsersApi::list`](super::users::UsersApi::list).
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct ListRequest<T> {
    request: ApiRequest,
    /// The member of a page that has the items.
    member: &'static str,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> ListRequest<T> {
    pub(super) fn new(request: ApiRequest, member: &'static str) -> Self {
        Self { request, member, item: PhantomData }
    }

    /// Sets the page size, which the environment limits. Default: the environment's.
    pub fn page_size(self, size: u16) -> Self {
        Self { request: self.request.query("page_size", size.to_string()), ..self }
    }

    /// Streams the items, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<T> {
        ItemStream::new(self.request, self.member)
    }
}
