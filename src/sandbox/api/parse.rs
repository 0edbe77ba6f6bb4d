//! Bodies, and query parameters as a gRPC gateway parses them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ApiErrorResponse, ApiResult};
use crate::sandbox::parameters::Parameters;

/// The JSON in the body, or an error with this message.
pub(super) fn body<T: DeserializeOwned>(body: &[u8], message: &'static str) -> ApiResult<T> {
    serde_json::from_slice(body).map_err(|_| ApiErrorResponse::invalid(message))
}

pub(super) fn flag(query: &Parameters, name: &str) -> ApiResult<bool> {
    match query.get(name) {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(_) => Err(ApiErrorResponse::invalid("a flag is neither true nor false")),
    }
}

pub(super) fn time(query: &Parameters, name: &str) -> ApiResult<Option<OffsetDateTime>> {
    query
        .get(name)
        .map(|text| OffsetDateTime::parse(text, &Rfc3339))
        .transpose()
        .map_err(|_| ApiErrorResponse::invalid("a time is not RFC 3339"))
}

/// Checks the limits of the API's reference: at most ten pairs, keys of 3 to 25 characters, values of
/// 1 to 256.
pub(super) fn metadata(pairs: Option<&BTreeMap<String, String>>) -> ApiResult<()> {
    let is_valid = pairs.is_none_or(|pairs| {
        pairs.len() <= 10
            && pairs.iter().all(|(key, value)| {
                (3..=25).contains(&key.chars().count())
                    && (1..=256).contains(&value.chars().count())
            })
    });
    if is_valid {
        return Ok(());
    }
    Err(ApiErrorResponse::invalid("metadata has too many or too long pairs"))
}

/// The identifier, if it has the prefix of its type.
pub(super) fn id<'a>(id: &'a str, prefix: &str, message: &'static str) -> ApiResult<&'a str> {
    if id.starts_with(prefix) { Ok(id) } else { Err(ApiErrorResponse::invalid(message)) }
}
