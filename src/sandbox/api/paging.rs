//! Pages of a list. A token contains the page's first item, so that additions and removals between
//! two requests shift nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::ApiErrorResponse;
use crate::sandbox::parameters::Parameters;

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
    ) -> Result<Self, ApiErrorResponse> {
        let size = match query.get("page_size").map(str::parse) {
            None | Some(Ok(0)) => default_size,
            Some(Ok(size)) => max_size.min(size),
            Some(Err(_)) => return Err(ApiErrorResponse::invalid("page_size is not a number")),
        };
        let read = |token| {
            URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|id| String::from_utf8(id).ok())
                .ok_or(ApiErrorResponse::invalid("page_token is invalid"))
        };
        Ok(Self { size, from: query.get("page_token").map(read).transpose()? })
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
        let token = |index: usize| {
            items.get(index).map(|item| URL_SAFE_NO_PAD.encode(id(item))).unwrap_or_default()
        };
        let start = start.min(items.len());
        let end = items.len().min(start + self.size);
        let page = items.get(start..end).unwrap_or_default();
        json!({
            name: page.iter().map(details).collect::<Vec<_>>(),
            "next_page_token": token(end),
            "prev_page_token": match start {
                0 => String::new(),
                _ => token(start.saturating_sub(self.size)),
            },
            "total_size": items.len(),
        })
    }
}
