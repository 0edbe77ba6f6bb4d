//! Lists in the messages of a server.

use std::ops::Range;

use super::json::Json;
use super::{Access, LISTS, List, ListError};

/// Members of results that may precede a list.
const OF_ANY_RESULT: [&str; 5] = ["_meta", "cacheScope", "nextCursor", "resultType", "ttlMs"];

/// A range of the text, and what replaces it.
type Edit = (Range<usize>, Vec<u8>);

impl Access {
    /// Filters the lists in a message, or in each message of a batch. `None`: nothing changes.
    pub(super) fn filter(&self, text: &[u8]) -> Result<Option<Vec<u8>>, ListError> {
        let edits = self.edits(Json(text)).ok_or(ListError::Malformed)?;
        Ok((!edits.is_empty()).then(|| apply(text, edits)))
    }

    /// Whether the rest of a message may pass that is too large to filter, by its beginning: it is a
    /// request of the server, or it has a result that begins with members that no list has.
    pub(super) fn is_other_message(&self, start: &[u8]) -> bool {
        let json = Json(start);
        let members = json.begun_members(0);
        let mut results = members.iter().filter(|(name, _)| name == "result");
        self.expected.is_none()
            && match (results.next(), results.next()) {
                (None, _) => members.iter().any(|(name, _)| name == "method"),
                (Some((_, result)), None) => {
                    let begun = json.begun_members(*result);
                    let is_list = |name: &str| LISTS.iter().any(|list| list.member == name);
                    begun.iter().any(|(name, _)| !OF_ANY_RESULT.contains(&name.as_str()))
                        && !begun.iter().any(|(name, _)| is_list(name))
                }
                (Some(_), Some(_)) => false,
            }
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
            let array = only(&members, list.member)?
                .filter(|value| self.expected.is_some() || json.get(value).first() == Some(&b'['));
            if let Some(array) = array {
                is_list = true;
                edits.push((array.clone(), self.permitted(json, array, list)?));
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

    /// The array of the items that the principal may use.
    fn permitted(&self, json: Json<'_>, array: &Range<usize>, list: &List) -> Option<Vec<u8>> {
        let mut permitted = Vec::new();
        for item in json.items(array)? {
            let members = json.members(&item)?;
            let name = json.text(only(&members, list.name)??)?;
            if self.permits(list, name) {
                permitted.push(json.get(&item));
            }
        }
        Some([b"[", &*permitted.join(&b','), b"]"].concat())
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
