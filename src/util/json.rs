//! JSON objects whose members are named once: a parser that keeps the last of two members and one
//! that keeps the first would see two different tokens.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values in one text, at most, whatever their shape: they are built in less than a millisecond.
const MAX_VALUES: usize = 16 * 1024;
/// Names that serde_json gives a meaning of its own when a crate in the tree enables
/// `arbitrary_precision` or `raw_value`.
const PRIVATE_PREFIX: &str = "$serde_json::private::";

/// Parses one object, in one pass. Duplicate members and serde_json's private names are errors at any
/// depth, as are more than [`MAX_VALUES`] values.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut values_left = MAX_VALUES;
    let value = UniqueMembers { values_left: &mut values_left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(de::Error::custom("not an object")),
    }
}

/// Builds a value whose objects name their members once.
struct UniqueMembers<'a> {
    values_left: &'a mut usize,
}

impl UniqueMembers<'_> {
    /// The same for a value inside of this one.
    fn inner<E: de::Error>(&mut self) -> Result<UniqueMembers<'_>, E> {
        let left = self.values_left.checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        *self.values_left = left;
        Ok(UniqueMembers { values_left: self.values_left })
    }
}

impl<'de> DeserializeSeed<'de> for UniqueMembers<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueMembers<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self.inner()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name.starts_with(PRIVATE_PREFIX) {
                let number = members.is_empty().then(|| entries.next_value::<String>());
                return number
                    .transpose()?
                    .and_then(|text| number_of(&text))
                    .ok_or_else(|| de::Error::custom("private member name"));
            }
            let value = entries.next_value_seed(self.inner()?)?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// The number that a visitor sees as an object with this text, if serde_json's `arbitrary_precision`
/// is enabled: it keeps the text of a number. Else the object is the sender's.
fn number_of(text: &str) -> Option<Value> {
    let keeps_texts =
        serde_json::from_str("1.00").is_ok_and(|one: Number| one.to_string() == "1.00");
    serde_json::from_str(text).ok().filter(|_| keeps_texts).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j8_an_object_with_unique_members_is_read_whole() {
        let text = br#"{"a":1,"b":[{"a":-1.5},null,true,"x"],"c":{"a":18446744073709551615}}"#;
        let members = parse_object(text).unwrap();
        assert_eq!(Value::Object(members), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn j8_duplicates_trailing_text_and_other_values_are_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"a":{"$serde_json::private::RawValue":"{}"}}"#,
            r#"{"a":[{"b":1,"$serde_json::private::Number":"1"}]}"#,
            "{} {}",
            "[]",
            "\"text\"",
            "",
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}").is_err());
        let many = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count));
        assert!(parse_object(many(MAX_VALUES - 3).as_bytes()).is_ok());
        assert!(parse_object(many(MAX_VALUES).as_bytes()).is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse_object(deep.as_bytes()).is_err());
    }
}
