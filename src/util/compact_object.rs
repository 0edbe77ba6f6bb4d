//! A JSON object whose texts share one allocation, for the claims of tokens and sessions: most
//! members are texts or lists of texts, few are read, and a tree of them costs an allocation each.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::json::{JsonLimits, LimitedValue, MAX_VALUES, is_private};

/// An object with unique member names at any depth.
#[derive(Debug, Default)]
pub(crate) struct CompactObject {
    content: Content,
    /// In the order of their names.
    members: Vec<(Span, Slot)>,
    /// Built when it is first read.
    map: OnceLock<Map<String, Value>>,
}

/// A member's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Member<'a> {
    Text(&'a str),
    Texts(Texts<'a>),
    Other(&'a Value),
}

impl Member<'_> {
    pub(crate) fn to_value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Texts(texts) => texts.iter().collect(),
            Self::Other(value) => value.clone(),
        }
    }
}

/// A list of texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts<'a> {
    content: &'a Content,
    items: &'a [Span],
}

impl<'a> Texts<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> + Clone {
        self.items.iter().map(|item| self.content.text(item))
    }
}

type Span = Range<usize>;

#[derive(Debug)]
enum Slot {
    Text(Span),
    /// Items of [`Content`].
    Texts(Span),
    Other(Value),
}

#[derive(Debug, Default)]
struct Content {
    texts: String,
    items: Vec<Span>,
}

impl Content {
    fn push(&mut self, text: &str) -> Span {
        let start = self.texts.len();
        self.texts.push_str(text);
        start..self.texts.len()
    }

    fn push_value(&mut self, value: &Value) -> Slot {
        match value {
            Value::String(text) => Slot::Text(self.push(text)),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                let start = self.items.len();
                for text in items.iter().filter_map(Value::as_str) {
                    let item = self.push(text);
                    self.items.push(item);
                }
                Slot::Texts(start..self.items.len())
            }
            other => Slot::Other(other.clone()),
        }
    }

    fn text(&self, span: &Span) -> &str {
        self.texts.get(span.clone()).unwrap_or_default()
    }

    /// Removes the last items, because their list has other values too.
    fn take_items(&mut self, start: usize) -> Vec<Value> {
        let spans = self.items.split_off(start.min(self.items.len()));
        spans.iter().map(|span| Value::from(self.text(span))).collect()
    }
}

impl CompactObject {
    /// Parses an object in one pass, with the limits of [`parse_object`](super::json::parse_object).
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        // UTF-8 is validated once, not for each text.
        let text = std::str::from_utf8(json).map_err(de::Error::custom)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let object = deserializer
            .deserialize_map(ObjectVisitor { max_values: MAX_VALUES, capacity: json.len() })?;
        deserializer.end()?;
        Ok(object)
    }

    /// A member; a null is a value like others.
    pub(crate) fn get(&self, name: &str) -> Option<Member<'_>> {
        // Of the few members of a token, only those with names of this length are compared.
        const FEW: usize = 32;
        let content = &self.content;
        let (_, slot) = if self.members.len() <= FEW {
            self.members
                .iter()
                .find(|(own, _)| own.len() == name.len() && content.text(own) == name)?
        } else {
            let found = self.members.binary_search_by(|(own, _)| content.text(own).cmp(name));
            self.members.get(found.ok()?)?
        };
        Some(self.member(slot))
    }

    /// All members.
    pub(crate) fn map(&self) -> &Map<String, Value> {
        self.map.get_or_init(|| {
            self.members
                .iter()
                .map(|(name, slot)| {
                    (self.content.text(name).to_owned(), self.member(slot).to_value())
                })
                .collect()
        })
    }

    fn member<'a>(&'a self, slot: &'a Slot) -> Member<'a> {
        let content = &self.content;
        match slot {
            Slot::Text(span) => Member::Text(content.text(span)),
            Slot::Texts(range) => Member::Texts(Texts {
                content,
                items: content.items.get(range.clone()).unwrap_or_default(),
            }),
            Slot::Other(value) => Member::Other(value),
        }
    }
}

impl From<Map<String, Value>> for CompactObject {
    fn from(map: Map<String, Value>) -> Self {
        let mut content = Content::default();
        // In the order of names, whether or not serde_json keeps that of the text.
        let members = map
            .iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(name, value)| {
                let slot = content.push_value(value);
                (content.push(name), slot)
            })
            .collect();
        Self { content, members, map: map.into() }
    }
}

impl Serialize for CompactObject {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(
            self.members.iter().map(|(name, slot)| (self.content.text(name), self.member(slot))),
        )
    }
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Texts(texts) => to.collect_seq(texts.iter()),
            Self::Other(value) => value.serialize(to),
        }
    }
}

/// Any number of members: the object's origin is trusted.
impl<'de> Deserialize<'de> for CompactObject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const USUAL_BYTES: usize = 1024;
        from.deserialize_map(ObjectVisitor { max_values: usize::MAX, capacity: USUAL_BYTES })
    }
}

struct ObjectVisitor {
    max_values: usize,
    /// Bytes of the texts.
    capacity: usize,
}

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = CompactObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<CompactObject, A::Error> {
        const USUAL_MEMBERS: usize = 24;
        let mut limits = JsonLimits::new(None, self.max_values);
        let mut content =
            Content { texts: String::with_capacity(self.capacity), items: Vec::new() };
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        while let Some(name) = entries.next_key_seed(TextSeed(&mut content))? {
            if is_private(content.text(&name)) {
                return Err(de::Error::custom("private member name"));
            }
            let value = MemberSeed { content: &mut content, limits: &mut limits, depth: 1 };
            members.push((name, entries.next_value_seed(value)?));
        }
        members.sort_unstable_by(|(one, _), (other, _)| content.text(one).cmp(content.text(other)));
        // Strictly: equal names are duplicates.
        if !members.is_sorted_by(|(one, _), (other, _)| content.text(one) < content.text(other)) {
            return Err(de::Error::custom("duplicate member"));
        }
        Ok(CompactObject { content, members, map: OnceLock::new() })
    }
}

/// A member's name.
struct TextSeed<'a>(&'a mut Content);

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Span;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Span, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for TextSeed<'_> {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Span, E> {
        Ok(self.0.push(text))
    }
}

/// The value of a member, or an item of its list, which is one level deeper.
struct MemberSeed<'a> {
    content: &'a mut Content,
    limits: &'a mut JsonLimits,
    depth: usize,
}

impl MemberSeed<'_> {
    /// For a value that is not stored as text.
    fn limited(&mut self) -> LimitedValue<'_> {
        LimitedValue::counted(self.limits, self.depth)
    }
}

impl<'de> DeserializeSeed<'de> for MemberSeed<'_> {
    type Value = Slot;

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<Slot, D::Error> {
        match self.limited().fits() {
            true => from.deserialize_any(self),
            false => Err(de::Error::custom("too many values")),
        }
    }
}

impl<'de> Visitor<'de> for MemberSeed<'_> {
    type Value = Slot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Slot, E> {
        Ok(Slot::Other(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Slot, E> {
        Ok(Slot::Other(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Slot, E> {
        Ok(Slot::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Slot, E> {
        Ok(Slot::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Slot, E> {
        Ok(Slot::Other(value.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Slot, E> {
        Ok(Slot::Text(self.content.push(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Slot, A::Error> {
        if self.depth > 1 {
            return self.limited().visit_seq(items).map(Slot::Other);
        }
        let start = self.content.items.len();
        let mut values: Option<Vec<Value>> = None;
        while let Some(item) = items.next_element_seed(MemberSeed {
            content: self.content,
            limits: self.limits,
            depth: self.depth + 1,
        })? {
            match (item, &mut values) {
                (Slot::Text(item), None) => self.content.items.push(item),
                (Slot::Text(item), Some(values)) => values.push(self.content.text(&item).into()),
                (Slot::Other(value), values) => {
                    values.get_or_insert_with(|| self.content.take_items(start)).push(value);
                }
                // A list within a list is a `Value`.
                (Slot::Texts(_), _) => {}
            }
        }
        Ok(match values {
            None => Slot::Texts(start..self.content.items.len()),
            Some(values) => Slot::Other(Value::Array(values)),
        })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, entries: A) -> Result<Slot, A::Error> {
        self.limited().visit_map(entries).map(Slot::Other)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::json::parse_object;
    use super::*;

    const TEXTS: [&str; 16] = [
        "{}",
        r#"{"b":"x","a":["y","z"],"c":[],"d":null,"e":[null],"é":"\n\u00e9","":""}"#,
        r#"{"a":["x",1,"y",["z",["u"]],{"v":"w"}],"b":{"c":["d"]},"n":-1.5,"m":18446744073709551615}"#,
        r#"{"a":true,"b":[true,"x"],"c":["x",true,"y"],"d":[[],[]],"e":[{}],"f":{"a":{}}}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":"x","\u0061":"y"}"#,
        r#"{"a":{"b":1,"b":1}}"#,
        r#"{"a":["x",{"b":1,"b":1}]}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"a":{"$serde_json::private::RawValue":"{}"}}"#,
        r#"{"a":["x",{"b":1,"$serde_json::private::Number":"1"}]}"#,
        "{} {}",
        r#"{"a":["x""#,
        r#"["x"]"#,
        "\"text\"",
        "",
    ];

    #[test]
    fn an_object_is_that_of_serde_json() {
        for text in TEXTS {
            let expected = parse_object(text.as_bytes()).ok();
            let object = CompactObject::parse(text.as_bytes()).ok();
            assert_eq!(object.as_ref().map(CompactObject::map), expected.as_ref(), "{text}");
            let Some((object, expected)) = object.zip(expected) else { continue };
            let names: Vec<_> = expected.keys().cloned().collect();
            let json = serde_json::to_string(&expected).unwrap();
            let read: CompactObject = serde_json::from_str(&json).unwrap();
            for object in [object, read, expected.into()] {
                assert_eq!(serde_json::to_string(&object).unwrap(), json);
                assert!(names.iter().all(|name| object.get(name).is_some()), "{text}");
                assert!(object.get("other").is_none());
            }
        }
    }

    #[test]
    fn texts_and_lists_of_texts_are_read_without_a_tree() {
        let text = r#"{"c":{"d":"e"},"a":"x\u00e9","b":["y","z"],"f":["g",1]}"#;
        let object = CompactObject::parse(text.as_bytes()).unwrap();
        assert!(matches!(object.get("a"), Some(Member::Text("xé"))));
        let Some(Member::Texts(texts)) = object.get("b") else { panic!("{object:?}") };
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["y", "z"]);
        let other = |name| match object.get(name) {
            Some(Member::Other(value)) => value.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((other("c"), other("f")), (json!({"d": "e"}), json!(["g", 1])));
    }

    #[test]
    fn the_number_of_values_is_limited_where_a_sender_decides() {
        let many = |count: usize| format!("{{\"a\":[{}\"\"]}}", "\"\",".repeat(count));
        assert!(CompactObject::parse(many(MAX_VALUES - 2).as_bytes()).is_ok());
        let more = many(MAX_VALUES);
        assert!(CompactObject::parse(more.as_bytes()).is_err());
        assert!(serde_json::from_str::<CompactObject>(&more).is_ok());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(CompactObject::parse(deep.as_bytes()).is_err());
        assert!(CompactObject::parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_member_is_found_among_few_and_many() {
        for count in [1, 32, 33, 500] {
            let map: Map<_, _> = (0..count).map(|n| (format!("name {n}"), json!(n))).collect();
            let object = CompactObject::from(map.clone());
            for (name, value) in &map {
                let found = object.get(name).map(Member::to_value);
                assert_eq!(found.as_ref(), Some(value), "{name} of {count}");
            }
            assert!(object.get("name").is_none() && object.get("name 501").is_none());
        }
    }
}
