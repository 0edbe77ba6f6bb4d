//! JSON objects with unique member names: of two members, one parser keeps the last and another the
//! first, so they would see two different tokens.

use std::fmt;

use serde::de::{self, Deserialize as _, DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use serde::de::{SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Maximum number of values in one text: they are parsed in less than a millisecond.
pub(super) const MAX_VALUES: usize = 16 * 1024;
/// Maximum number of values in an event that are deeper than the members of its data's objects. The
/// largest event that is read by default has fewer, if they are the groups of a user.
const MAX_DEEP_VALUES: usize = 24 * 1024;
/// Depth of an event's envelope and of the members of its data.
const ENVELOPE_DEPTH: usize = 2;
/// serde_json rejects a depth of 128 and more.
const MAX_DEPTH: usize = 100;
/// Names with a special meaning in serde_json if a crate in the tree enables `arbitrary_precision`
/// or `raw_value`.
const PRIVATE_PREFIX: &str = "$serde_json::private::";

/// Whether a member's name has this prefix.
pub(super) fn is_private(name: &str) -> bool {
    name.starts_with(PRIVATE_PREFIX)
}

/// Parses one object, in one pass. Duplicate members and serde_json's private names are errors at any
/// depth, as are more than [`MAX_VALUES`] values.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    JsonLimits::new(None, MAX_VALUES).parse(bytes)
}

/// An object of a trusted sender, and whether it is complete.
pub(crate) struct Event {
    pub(crate) members: Map<String, Value>,
    pub(crate) is_complete: bool,
}

/// Parses one object whose sender was verified by its signature, in time and memory proportional to
/// its bytes. Only the two outer levels can cause an error, by duplicate members or by values that
/// serde_json cannot represent. Deeper values that exceed a limit are omitted, as are members with
/// serde_json's private names. Of deeper duplicate members, the last one is kept.
pub(crate) fn parse_event(bytes: &[u8]) -> Result<Event, serde_json::Error> {
    // `IgnoredAny` accepts numbers and escapes that `Value` cannot represent. So on an error, parse
    // again and skip what is deeper: first in arrays, then below the members of `data`.
    let mut limits = JsonLimits::new(Some(ENVELOPE_DEPTH + 1), MAX_DEEP_VALUES);
    let mut members = limits.parse(bytes);
    for lenient_below in [ENVELOPE_DEPTH + 1, ENVELOPE_DEPTH] {
        if members.is_err() {
            limits = JsonLimits::new(Some(lenient_below), 0);
            members = limits.parse(bytes);
        }
    }
    Ok(Event { members: members?, is_complete: limits.is_complete })
}

/// Limits of a text.
pub(super) struct JsonLimits {
    /// Members of objects up to this depth are read without a limit. Deeper values that break a
    /// rule are omitted. `None`: they are errors, at any depth.
    lenient_below: Option<usize>,
    values_left: usize,
    is_complete: bool,
}

impl JsonLimits {
    pub(super) fn new(lenient_below: Option<usize>, max_values: usize) -> Self {
        Self { lenient_below, values_left: max_values, is_complete: true }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = LimitedValue { limits: self, depth: 0, is_counted: false }
            .deserialize(&mut deserializer)?;
        deserializer.end()?;
        match value {
            Some(Value::Object(members)) => Ok(members),
            _ => Err(de::Error::custom("not an object")),
        }
    }
}

/// Builds a value, unless it is omitted.
pub(super) struct LimitedValue<'a> {
    limits: &'a mut JsonLimits,
    /// Number of objects and arrays around it.
    depth: usize,
    /// Whether the number of such values is limited.
    is_counted: bool,
}

impl<'a> LimitedValue<'a> {
    /// A value at this depth, whose number is limited.
    pub(super) fn counted(limits: &'a mut JsonLimits, depth: usize) -> Self {
        Self { limits, depth, is_counted: true }
    }
}

impl LimitedValue<'_> {
    fn item(&mut self) -> LimitedValue<'_> {
        LimitedValue::counted(self.limits, self.depth + 1)
    }

    fn member(&mut self, name: &str) -> LimitedValue<'_> {
        let depth = self.depth + 1;
        let is_deep = self.limits.lenient_below.is_none_or(|lenient_below| depth > lenient_below);
        LimitedValue { limits: self.limits, depth, is_counted: is_deep && !is_private(name) }
    }

    /// Whether the limits allow the value.
    pub(super) fn fits(&mut self) -> bool {
        let is_too_deep = self.depth > MAX_DEPTH + usize::from(!self.is_counted);
        if is_too_deep && self.limits.lenient_below.is_some() {
            return false;
        }
        let Some(left) = self.limits.values_left.checked_sub(usize::from(self.is_counted)) else {
            return false;
        };
        self.limits.values_left = left;
        true
    }
}

impl<'de> DeserializeSeed<'de> for LimitedValue<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<Option<Value>, D::Error> {
        if self.fits() {
            return from.deserialize_any(self).map(Some);
        }
        if self.limits.lenient_below.is_none() {
            return Err(de::Error::custom("too many values"));
        }
        self.limits.is_complete = false;
        IgnoredAny::deserialize(from).map(|_| None)
    }
}

impl<'de> Visitor<'de> for LimitedValue<'_> {
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
        while let Some(value) = items.next_element_seed(self.item())? {
            values.extend(value);
            if self.limits.values_left == 0 && self.limits.lenient_below.is_some() {
                // The rest is omitted: faster than to decide on each of them.
                while items.next_element::<IgnoredAny>()?.is_some() {
                    self.limits.is_complete = false;
                }
                break;
            }
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let is_strict = self.limits.lenient_below.is_none();
        let mut members = Map::new();
        let mut number = None;
        while let Some(name) = entries.next_key::<String>()? {
            let is_first = members.is_empty() && number.is_none();
            let value = entries.next_value_seed(self.member(&name))?;
            if is_private(&name) {
                number = value.filter(|_| is_first).and_then(|text| number_of(&text));
                if number.is_none() && is_strict {
                    return Err(de::Error::custom("private member name"));
                }
                self.limits.is_complete &= number.is_some();
            } else if let Some(value) = value
                && members.insert(name, value).is_some()
                && (is_strict || self.depth < ENVELOPE_DEPTH)
            {
                return Err(de::Error::custom("duplicate member"));
            }
        }
        match number {
            Some(number) if members.is_empty() => Ok(number),
            Some(_) if is_strict => Err(de::Error::custom("private member name")),
            _ => Ok(Value::Object(members)),
        }
    }
}

/// The number that a visitor sees as an object with this text, if serde_json's
/// `arbitrary_precision` is enabled. Otherwise the object is the sender's.
fn number_of(text: &Value) -> Option<Value> {
    let keeps_texts =
        serde_json::from_str("1.00").is_ok_and(|one: Number| one.to_string() == "1.00");
    serde_json::from_str(text.as_str()?).ok().filter(|_| keeps_texts).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_unique_members_is_read_whole() {
        let text = br#"{"a":1,"b":[{"a":-1.5},null,true,"x"],"c":{"a":18446744073709551615}}"#;
        let members = parse_object(text).unwrap();
        assert_eq!(Value::Object(members), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn duplicates_trailing_text_and_other_values_are_rejected() {
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

    #[test]
    fn an_event_is_read_despite_malformed_deeper_values() {
        let private = |deep: &str| deep.replace("PRIVATE", PRIVATE_PREFIX);
        for (deep, read) in [
            (r#"{"a":1,"a":2}"#.to_owned(), r#"{"a":2}"#),
            (private(r#"{"PRIVATERawValue":"{}","a":1}"#), r#"{"a":1}"#),
            (private(r#"{"a":1,"PRIVATENumber":{"PRIVATENumber":[1]}}"#), r#"{"a":1}"#),
            (private(r#"{"PRIVATENumber":"x"}"#), "{}"),
            (r#"{"a":["\ud800",2],"b":-1.5}"#.to_owned(), r#"{"a":[],"b":-1.5}"#),
            (r#"[["\ud800"]]"#.to_owned(), "[]"),
            (r#"{"b":"\ud800","c":"\udc00"}"#.to_owned(), "{}"),
            (format!("{}1{}", "[".repeat(9999), "]".repeat(9999)), ""),
            (format!("[{}0]", "0,".repeat(200_000)), ""),
            (format!("[{}0]", r#"{"a":{"b":[]}},"#.repeat(50_000)), ""),
        ] {
            let body =
                format!(r#"{{"type":"t","data":{{"a":{deep},"email":"x","n":1.0}},"id":7}}"#);
            let event = parse_event(body.as_bytes()).unwrap();
            let members = Value::Object(event.members);
            assert_eq!((&members["type"], &members["id"]), (&"t".into(), &7.into()), "{body:.80}");
            assert_eq!(members["data"]["email"], "x", "{body:.80}");
            assert_eq!(members["data"]["n"], 1.0, "{body:.80}");
            if !read.is_empty() {
                let read: Value = serde_json::from_str(read).unwrap();
                assert_eq!(members["data"]["a"], read, "{body:.80}");
            }
            assert_eq!(event.is_complete, deep == r#"{"a":1,"a":2}"#, "{body:.80}");
        }
        let many = format!(r#"{{"data":{{"a":[{}0]}}}}"#, "0,".repeat(MAX_DEEP_VALUES - 1));
        let event = parse_event(many.as_bytes()).unwrap();
        assert!(event.is_complete);
        assert_eq!(
            event.members,
            *serde_json::from_str::<Value>(&many).unwrap().as_object().unwrap()
        );
        // Objects of the data are read to the end, however many values there are elsewhere.
        let late = format!(r#"{{"data":{{"a":[{}0],"b":{{"c":"x"}}}}}}"#, "0,".repeat(100_000));
        let event = parse_event(late.as_bytes()).unwrap();
        assert_eq!((&event.members["data"]["b"]["c"], event.is_complete), (&"x".into(), false));
        let nested = format!(r#"{{"a":{}1.5{}}}"#, "[".repeat(99), "]".repeat(99));
        let event = parse_event(nested.as_bytes()).unwrap();
        assert_eq!(Value::Object(event.members).to_string(), nested);
        assert!(event.is_complete);
    }

    #[test]
    fn the_outer_levels_of_an_event_are_read_strictly() {
        for body in [
            r#"{"id":1,"id":2}"#,
            r#"{"data":{"email":"a","email":"b"}}"#,
            r#"{"data":{"email":"\ud800"}}"#,
            r#"{"data":{"a":[1,]}}"#,
            r#"{"data":{"a":{"b":tru}}}"#,
            r#"{"data":{"a":[[[["]]]]}}"#,
            "{} {}",
            "[]",
            "",
        ] {
            assert!(parse_event(body.as_bytes()).is_err(), "{body}");
        }
    }
}
