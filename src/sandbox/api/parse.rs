//! Query parameters as a gRPC gateway parses them.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ApiErrorResponse;
use crate::sandbox::parameters::Parameters;

pub(super) fn flag(query: &Parameters, name: &str) -> Result<bool, ApiErrorResponse> {
    match query.get(name) {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(_) => Err(ApiErrorResponse::invalid("a flag is neither true nor false")),
    }
}

pub(super) fn time(
    query: &Parameters,
    name: &str,
) -> Result<Option<OffsetDateTime>, ApiErrorResponse> {
    query
        .get(name)
        .map(|text| OffsetDateTime::parse(text, &Rfc3339))
        .transpose()
        .map_err(|_| ApiErrorResponse::invalid("a time is not RFC 3339"))
}

/// Checks the limits of the API's reference: at most ten pairs, keys of 3 to 25 characters, values of
/// 1 to 256.
pub(super) fn metadata(
    metadata: Option<&BTreeMap<String, String>>,
) -> Result<(), ApiErrorResponse> {
    let fits = |(key, value): (&String, &String)| {
        (3..=25).contains(&key.chars().count()) && (1..=256).contains(&value.chars().count())
    };
    match metadata {
        Some(pairs) if pairs.len() > 10 || !pairs.iter().all(fits) => {
            Err(ApiErrorResponse::invalid("metadata has too many or too long pairs"))
        }
        _ => Ok(()),
    }
}
