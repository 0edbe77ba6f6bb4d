//! Pages of a list. A token contains the page's first item, so that additions and removals between
//! two requests shift nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{ApiErrorResponse, ApiResult};
use crate::sandbox::parameters::Parameters;

pub(super) const OTHER_LIST: ApiErrorResponse =
    ApiErrorResponse::invalid("page_token belongs to another list");

/// The requested page.
#[derive(Debug)]
pub(super) struct PageRequest {
    size: usize,
    /// The token's value for its first item.
    pub(super) from: Option<String>,
}

impl PageRequest {
    /// Without a size, or with zero, it is `default_size`; it is at most `max_size`.
    pub(super) fn parse(
        query: &Parameters,
        default_size: usize,
        max_size: usize,
    ) -> ApiResult<Self> {
        Ok(Self {
            size: match query.get("page_size").map(str::parse) {
                None | Some(Ok(0)) => default_size,
                Some(Ok(size)) => max_size.min(size),
                Some(Err(_)) => return Err(ApiErrorResponse::invalid("page_size is not a number")),
            },
            from: query
                .get("page_token")
                .map(|token| String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok())
                .map(|from| from.ok_or(ApiErrorResponse::invalid("page_token is invalid")))
                .transpose()?,
        })
    }

    /// The response with a page whose first item has the token's ID.
    pub(super) fn by_id<T>(
        &self,
        name: &str,
        items: &[T],
        id: impl Fn(&T) -> String,
        details: impl Fn(&T) -> Value,
    ) -> ApiResult {
        let start = match &self.from {
            None => 0,
            Some(from) => items.iter().position(|item| id(item) == *from).ok_or(OTHER_LIST)?,
        };
        Ok(self.response(name, items, start, id, details))
    }

    /// The response with a page whose first item has the token's number or, if that item was
    /// removed, the next one.
    pub(super) fn by_number<T>(
        &self,
        name: &str,
        items: &[(u64, &T)],
        details: impl Fn(&T) -> Value,
    ) -> ApiResult {
        let start = match &self.from {
            None => 0,
            Some(from) => {
                let from: u64 = from
                    .strip_prefix(name)
                    .and_then(|from| from.strip_prefix(':')?.parse().ok())
                    .ok_or(OTHER_LIST)?;
                items.partition_point(|(number, _)| *number < from)
            }
        };
        Ok(self.response(
            name,
            items,
            start,
            |(number, _)| format!("{name}:{number}"),
            |(_, item)| details(item),
        ))
    }

    /// The response with the page that begins with the item at `start`.
    pub(super) fn response<T>(
        &self,
        name: &str,
        items: &[T],
        start: usize,
        id: impl Fn(&T) -> String,
        details: impl Fn(&T) -> Value,
    ) -> Value {
        let token = |index| items.get(index).map(|item| URL_SAFE_NO_PAD.encode(id(item)));
        let start = start.min(items.len());
        let end = items.len().min(start + self.size);
        json!({
            name: items.get(start..end).unwrap_or_default().iter().map(details).collect::<Vec<_>>(),
            "next_page_token": token(end).unwrap_or_default(),
            "prev_page_token": match start {
                0 => String::new(),
                _ => token(start.saturating_sub(self.size)).unwrap_or_default(),
            },
            "total_size": items.len(),
        })
    }
}
