//! The API's JSON (proto3): any field may be absent or null, empty text means absent, integers may
//! be text.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The value, or the default one for null.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

pub(crate) fn text<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// A value of an open enum.
pub(crate) fn open_enum<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> From<&'a str>,
{
    Ok(text(deserializer)?.map(|word| T::from(&word)))
}

/// A field that the environment never omits.
pub(crate) fn required<'de, D>(deserializer: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    text(deserializer)?.ok_or_else(|| D::Error::custom("empty"))
}

/// RFC 3339.
pub(crate) mod timestamp {
    use serde::ser::{Error as _, Serialize as _, Serializer};

    use super::*;

    pub(crate) fn deserialize<'de, D>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error>
    where
        D: Deserializer<'de>,
    {
        text(deserializer)?
            .map(|text| OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom))
            .transpose()
    }

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<OffsetDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.format(&Rfc3339))
            .transpose()
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

/// Seconds since 1970, as a number or as text.
pub(crate) fn unix_time<'de, D>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error>
where
    D: Deserializer<'de>,
{
    number(deserializer)?
        .map(i64::try_from)
        .transpose()
        .map_err(D::Error::custom)?
        .map(OffsetDateTime::from_unix_timestamp)
        .transpose()
        .map_err(D::Error::custom)
}

/// A count, as a number or as text. Default: 0.
pub(crate) fn count<'de, D>(deserializer: D) -> Result<u64, D::Error>
where
    D: Deserializer<'de>,
{
    number(deserializer).map(Option::unwrap_or_default)
}

/// An integer, as a number or as text.
pub(crate) fn number<'de, D>(deserializer: D) -> Result<Option<u64>, D::Error>
where
    D: Deserializer<'de>,
{
    let number = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.map(Some).ok_or_else(|| D::Error::custom("not a whole number"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_numbers_or_text() {
        for (value, expected) in [
            (json!(42), Some(42)),
            (json!("42"), Some(42)),
            (json!("18446744073709551615"), Some(u64::MAX)),
            (Value::Null, Some(0)),
            (json!(-1), None),
            (json!("many"), None),
            (json!(1.5), None),
        ] {
            assert_eq!(count(&value).ok(), expected, "{value}");
            let expected = expected.filter(|_| !value.is_null());
            assert_eq!(number(&value).ok().flatten(), expected, "{value}");
        }
    }
}
