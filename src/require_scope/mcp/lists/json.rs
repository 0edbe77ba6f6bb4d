//! Positions of values in a JSON text, so that all other bytes stay as they are.

use std::ops::Range;

use serde::de::{DeserializeOwned, IgnoredAny};

/// A JSON text. The methods return `None` if it is malformed.
#[derive(Clone, Copy)]
pub(super) struct Json<'a> {
    pub(super) text: &'a [u8],
}

impl<'a> Json<'a> {
    pub(super) fn get(self, range: &Range<usize>) -> &'a [u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// The only value of the text.
    pub(super) fn root(self) -> Option<Range<usize>> {
        let start = self.skip_spaces(0);
        let (IgnoredAny, end) = self.value(start)?;
        (self.skip_spaces(end) == self.text.len()).then_some(start..end)
    }

    /// The names and values of an object.
    pub(super) fn members(self, object: &Range<usize>) -> Option<Vec<(String, Range<usize>)>> {
        self.sequence(object, [b'{', b'}'], |at| {
            let (name, start) = self.name(at)?;
            let (IgnoredAny, end) = self.value(start)?;
            Some(((name, start..end), end))
        })
    }

    /// The names of the members of an object, and where their values start. The text may end within
    /// the object.
    pub(super) fn begun_members(self, object: usize) -> Vec<(String, usize)> {
        let mut begun = Vec::new();
        let mut next = self.expect(b'{', object);
        while let Some(at) = next
            && let Some((name, start)) = self.name(self.skip_spaces(at))
        {
            begun.push((name, start));
            next = self.value(start).and_then(|(IgnoredAny, end)| self.expect(b',', end));
        }
        begun
    }

    /// Whether the text ends within the value that starts here.
    pub(super) fn is_incomplete(self, start: usize) -> bool {
        self.value::<IgnoredAny>(start).is_none()
    }

    /// The values of an array.
    pub(super) fn items(self, array: &Range<usize>) -> Option<Vec<Range<usize>>> {
        self.sequence(array, [b'[', b']'], |at| {
            let (IgnoredAny, end) = self.value(at)?;
            Some((at..end, end))
        })
    }

    /// The text of a string.
    pub(super) fn text(self, range: &Range<usize>) -> Option<String> {
        serde_json::from_slice(self.get(range)).ok()
    }

    fn sequence<T>(
        self,
        range: &Range<usize>,
        [open, close]: [u8; 2],
        read: impl Fn(usize) -> Option<(T, usize)>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        let mut at = self.skip_spaces(self.expect(open, range.start)?);
        if self.text.get(at) == Some(&close) {
            return Some(all);
        }
        loop {
            let (one, end) = read(at)?;
            all.push(one);
            match self.expect(b',', end) {
                Some(next) => at = self.skip_spaces(next),
                None => return self.expect(close, end).map(|_| all),
            }
        }
    }

    /// The name of a member at a position, and where its value starts.
    fn name(self, at: usize) -> Option<(String, usize)> {
        let (name, end) = self.value(at)?;
        Some((name, self.skip_spaces(self.expect(b':', end)?)))
    }

    /// The value at a position, and its end.
    fn value<T: DeserializeOwned>(self, at: usize) -> Option<(T, usize)> {
        let mut values = serde_json::Deserializer::from_slice(self.text.get(at..)?).into_iter();
        let value = values.next()?.ok()?;
        Some((value, at + values.byte_offset()))
    }

    /// The position after this byte, which may follow white space.
    fn expect(self, byte: u8, at: usize) -> Option<usize> {
        let at = self.skip_spaces(at);
        (self.text.get(at) == Some(&byte)).then_some(at + 1)
    }

    fn skip_spaces(self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_are_found_where_they_are() {
        let json = Json { text: br#" {"a" : [1,"]", {"b":[]}, -1.5e3 ] ,"\u0062":{}} "# };
        let root = json.root().unwrap();
        let members = json.members(&root).unwrap();
        let found: Vec<_> =
            members.iter().map(|(name, value)| (name.as_str(), json.get(value))).collect();
        assert_eq!(found, [("a", &br#"[1,"]", {"b":[]}, -1.5e3 ]"#[..]), ("b", b"{}")]);
        let items = json.items(&members[0].1).unwrap();
        let items: Vec<_> = items.iter().map(|item| json.get(item)).collect();
        assert_eq!(items, [&b"1"[..], b"\"]\"", b"{\"b\":[]}", b"-1.5e3"]);
        assert_eq!(json.members(&members[1].1), Some(Vec::new()));
        assert_eq!(json.items(&root), None);
        let begun = |text: &str| {
            let members = Json { text: text.as_bytes() }.begun_members(0);
            members.into_iter().map(|(name, start)| format!("{name} {start}")).collect::<Vec<_>>()
        };
        assert_eq!(begun(r#" {"a":{"b":1}, "c" : [2"#), ["a 6", "c 21"]);
        assert_eq!(begun(r#"{"a":1} "#), ["a 5"]);
        for text in ["", "{", "{}", "[1", r#"{"a"#, r#"{"a""#] {
            assert_eq!(begun(text), [""; 0], "{text}");
        }
        for broken in ["", "{", "{}x", "{\"a\":1,}", "[1,]", "[1 2]", "\u{feff}{}", "{a:1}"] {
            assert_eq!(Json { text: broken.as_bytes() }.root(), None, "{broken}");
        }
    }
}
