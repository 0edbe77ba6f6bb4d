//! Lenient deserialization of event fields: one malformed field must not lose the whole event.
//! Malformed values read as absent; [`WebhookEvent::raw`](crate::webhook::WebhookEvent::raw) has
//! them.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::secret::SecretString;

/// An object, or the default one.
pub(crate) fn read<'de, T: Deserialize<'de> + Default>(value: impl Deserializer<'de>) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// Text that is not empty. Numbers become their digits.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The text of a member.
pub(crate) fn member_text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).and_then(text_of)
}

/// `true` or `false`, also as text in any case.
pub(crate) fn flag_of(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// RFC 3339.
pub(crate) fn timestamp_of(value: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()
}

pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    with(deserializer, read)
}

pub(crate) fn text<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    with(deserializer, |value| match value {
        Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        value => text_of(&value),
    })
}

pub(crate) fn secret<'de, D>(deserializer: D) -> Result<Option<SecretString>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(text(deserializer)?.map(SecretString::from))
}

/// A value of an open enum.
pub(crate) fn open_enum<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> From<&'a str>,
{
    Ok(text(deserializer)?.map(|word| T::from(&word)))
}

pub(crate) mod timestamp {
    use super::*;
    pub(crate) use crate::model::wire::timestamp::serialize;

    pub(crate) fn deserialize<'de, D>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error>
    where
        D: Deserializer<'de>,
    {
        with(deserializer, |value| timestamp_of(&value))
    }
}

/// `true` or `false`, also as text: some identity providers write it so.
pub(crate) fn flag<'de, D>(deserializer: D) -> Result<Option<bool>, D::Error>
where
    D: Deserializer<'de>,
{
    with(deserializer, |value| flag_of(&value))
}

/// The well-formed elements of a list.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    with(deserializer, |value| match value {
        Value::Array(items) => {
            items.into_iter().filter_map(|item| T::deserialize(item).ok()).collect()
        }
        _ => vec![],
    })
}

pub(crate) fn map<'de, D>(deserializer: D) -> Result<Map<String, Value>, D::Error>
where
    D: Deserializer<'de>,
{
    with(deserializer, |value| match value {
        Value::Object(map) => map,
        _ => Map::new(),
    })
}

fn with<'de, D, T>(deserializer: D, read: impl FnOnce(Value) -> T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    Value::deserialize(deserializer).map(read)
}
