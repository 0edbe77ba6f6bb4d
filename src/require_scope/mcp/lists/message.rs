//! Lists in the messages of a server.

use std::ops::Range;

use super::json::Json;
use super::{Access, LISTS, List, ListError, MAX_BYTES};

/// The members of results that may be large: of calls, resources and prompts. No list has them.
const CONTENT: [&str; 4] = ["content", "contents", "messages", "structuredContent"];

/// A range of the text, and what replaces it.
type Edit = (Range<usize>, Vec<u8>);

impl Access {
    /// Filters the lists in a message, or in each message of a batch. `None`: nothing changes.
    pub(super) fn filter(&self, text: &[u8]) -> Result<Option<Vec<u8>>, ListError> {
        let edits = self.edits(Json { text }).ok_or(ListError::Malformed)?;
        Ok((!edits.is_empty()).then(|| apply(text, edits)))
    }

    /// Whether a message that is too large to filter may pass, by its beginning: it is a result whose
    /// content exceeds the limit, and no list precedes that.
    pub(super) fn is_content(&self, message: &[u8]) -> bool {
        let json = Json { text: message.get(..MAX_BYTES).unwrap_or(message) };
        let members = json.begun_members(0);
        let Some(((name, result), before)) = members.split_last() else { return false };
        let begun = json.begun_members(*result);
        let Some((last, value)) = begun.last() else { return false };
        self.expected.is_none()
            && name == "result"
            && before.iter().all(|(name, _)| name != "result")
            && begun.iter().all(|(name, _)| LISTS.iter().all(|list| list.member != name))
            && CONTENT.contains(&last.as_str())
            && json.is_incomplete(*value)
    }

    fn edits(&self, json: Json<'_>) -> Option<Vec<Edit>> {
        let root = json.root()?;
        let messages = match json.get(&root).first() {
            Some(b'[') if self.expected.is_none() => json.items(&root)?,
            _ => vec![root],
        };
        let mut edits = Vec::new();
        for message in messages {
            if self.expected.is_none() && json.get(&message).first() != Some(&b'{') {
                continue;
            }
            let members = json.members(&message)?;
            if let Some(result) = only(&members, "result")? {
                self.edit_result(json, result, &mut edits)?;
            }
        }
        Some(edits)
    }

    fn edit_result(
        &self,
        json: Json<'_>,
        result: &Range<usize>,
        edits: &mut Vec<Edit>,
    ) -> Option<()> {
        if json.get(result).first() != Some(&b'{') {
            return self.expected.is_none().then_some(());
        }
        let members = json.members(result)?;
        let mut is_list = false;
        for list in &LISTS {
            let array = only(&members, list.member)?;
            let permitted = match array {
                Some(array) => self.permitted(json, array, list)?,
                None => None,
            };
            if let Some((array, permitted)) = array.zip(permitted) {
                is_list = true;
                edits.push((array.clone(), permitted));
            } else if self.expected.is_some_and(|expected| expected.member == list.member) {
                return None;
            }
        }
        if is_list {
            let private = b"\"private\"";
            edits.push(match only(&members, "cacheScope")? {
                Some(scope) => (scope.clone(), private.to_vec()),
                None => {
                    let start = result.start + 1;
                    (start..start, [b"\"cacheScope\":", &private[..], b","].concat())
                }
            });
        }
        Some(())
    }

    /// The array of the items that the principal may use. `Some(None)`: the value is no list, which
    /// results of other methods may have under the same name.
    fn permitted(
        &self,
        json: Json<'_>,
        array: &Range<usize>,
        list: &List,
    ) -> Option<Option<Vec<u8>>> {
        let may_be_other = self.expected.is_none();
        if may_be_other && json.get(array).first() != Some(&b'[') {
            return Some(None);
        }
        let items = json.items(array)?;
        let names: Vec<_> =
            items.iter().map(|item| name_of(json, item, list)).collect::<Option<_>>()?;
        if may_be_other && names.iter().all(Option::is_none) {
            return Some(None);
        }
        let mut permitted = Vec::new();
        for (item, name) in items.iter().zip(names) {
            if self.permits(list, name?) {
                permitted.push(json.get(item));
            }
        }
        Some(Some([b"[", &*permitted.join(&b','), b"]"].concat()))
    }
}

/// The name of an item, if it has one. `None` if it is malformed, or there are several.
fn name_of(json: Json<'_>, item: &Range<usize>, list: &List) -> Option<Option<String>> {
    if json.get(item).first() != Some(&b'{') {
        return Some(None);
    }
    let members = json.members(item)?;
    match only(&members, list.name)? {
        Some(name) if json.get(name).first() == Some(&b'"') => json.text(name).map(Some),
        _ => Some(None),
    }
}

/// The member with this name. `None` if there are several.
fn only<'m>(members: &'m [(String, Range<usize>)], name: &str) -> Option<Option<&'m Range<usize>>> {
    let mut found = members.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (value, None) => Some(value),
        (_, Some(_)) => None,
    }
}

fn apply(text: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| range.start);
    let (mut edited, mut end) = (Vec::with_capacity(text.len()), 0);
    for (range, replacement) in edits {
        edited.extend_from_slice(text.get(end..range.start).unwrap_or_default());
        edited.extend(replacement);
        end = range.end;
    }
    edited.extend_from_slice(text.get(end..).unwrap_or_default());
    edited
}
