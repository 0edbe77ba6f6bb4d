//! The grammar of JSON (RFC 8259): which bytes may follow, and where a token ends.

/// Longer numbers, methods and names are rejected.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why the operation of a body is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Valid JSON that parsers read differently, or no message of JSON-RPC.
    Ambiguous,
    /// Several messages (JSON-RPC 2.0 section 6). Their rest is not read.
    Batch,
    /// The body is not valid JSON, or no object.
    Malformed,
}

pub(super) type Step<T = ()> = Result<T, Unreadable>;

/// What may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expected {
    #[default]
    Message,
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    CommaOrEndOfObject,
    CommaOrEndOfArray,
    End,
    RestOfName,
    RestOfText,
}

impl Expected {
    /// Class of a byte.
    pub(super) fn action(self, byte: u8) -> Action {
        ACTIONS
            .get(self as usize)
            .and_then(|row| row.get(usize::from(byte)))
            .copied()
            .unwrap_or(Action::Reject)
    }
}

/// Class of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Skip,
    OpenObject,
    OpenArray,
    Close,
    NextMember,
    NextItem,
    Name,
    Text,
    RestOfString,
    Scalar,
    Reject,
}

/// Indexed by [`Expected`] and byte.
static ACTIONS: [[Action; 256]; 10] = [
    actions(Expected::Message),
    actions(Expected::Value),
    actions(Expected::ValueOrEnd),
    actions(Expected::Name),
    actions(Expected::NameOrEnd),
    actions(Expected::CommaOrEndOfObject),
    actions(Expected::CommaOrEndOfArray),
    actions(Expected::End),
    actions(Expected::RestOfName),
    actions(Expected::RestOfText),
];

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn actions(expected: Expected) -> [Action; 256] {
    let mut actions = [Action::Reject; 256];
    let mut byte: u8 = 0;
    loop {
        actions[byte as usize] = match (expected, byte) {
            (Expected::RestOfName | Expected::RestOfText, _) => Action::RestOfString,
            (_, b' ' | b'\t' | b'\n' | b'\r') => Action::Skip,
            (Expected::Message | Expected::Value | Expected::ValueOrEnd, b'{') => {
                Action::OpenObject
            }
            (Expected::Value | Expected::ValueOrEnd, b'[') => Action::OpenArray,
            (Expected::Value | Expected::ValueOrEnd, b'"') => Action::Text,
            (Expected::Value | Expected::ValueOrEnd, b'-' | b'0'..=b'9' | b'f' | b'n' | b't') => {
                Action::Scalar
            }
            (Expected::Name | Expected::NameOrEnd, b'"') => Action::Name,
            (Expected::NameOrEnd | Expected::CommaOrEndOfObject, b'}')
            | (Expected::ValueOrEnd | Expected::CommaOrEndOfArray, b']') => Action::Close,
            (Expected::CommaOrEndOfObject, b',') => Action::NextMember,
            (Expected::CommaOrEndOfArray, b',') => Action::NextItem,
            _ => Action::Reject,
        };
        if byte == u8::MAX {
            return actions;
        }
        byte += 1;
    }
}

/// Reads a string to its end, or to the end of `part`. Returns that position, and whether the
/// string has ended.
pub(super) fn skip_text(body: &[u8], part: &[u8], from: usize) -> Step<(usize, bool)> {
    let mut position = from;
    while let Some(byte) = part.get(position) {
        match byte {
            b'"' => return Ok((position + 1, true)),
            b'\\' => {
                position += escape_length(body.get(position..).unwrap_or_default())
                    .ok_or(Unreadable::Malformed)?;
            }
            0..0x20 => return Err(Unreadable::Malformed),
            _ => position += plain_bytes(part.get(position..).unwrap_or_default()),
        }
    }
    Ok((position, false))
}

/// Number of bytes between the end of a name and the byte after the colon.
pub(super) fn colon_length(rest: &[u8]) -> Step<usize> {
    let colon = spaces(rest.get(..MAX_TOKEN_BYTES).unwrap_or(rest));
    if rest.get(colon) == Some(&b':') { Ok(colon + 1) } else { Err(Unreadable::Malformed) }
}

/// Number of white-space bytes.
pub(super) fn spaces(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Length of a number, `true`, `false` or `null`.
#[inline]
pub(super) fn scalar(rest: &[u8]) -> Step<usize> {
    let literal: &[u8] = match rest.first() {
        Some(b't') => b"true",
        Some(b'f') => b"false",
        Some(b'n') => b"null",
        _ => return number(rest),
    };
    if rest.starts_with(literal) { Ok(literal.len()) } else { Err(Unreadable::Malformed) }
}

#[inline]
fn number(rest: &[u8]) -> Step<usize> {
    let text = rest.get(..MAX_TOKEN_BYTES).unwrap_or(rest);
    let start = usize::from(text.first() == Some(&b'-'));
    let end = end_of_digits(text, start)?;
    if end > start + 1 && text.get(start) == Some(&b'0') {
        return Err(Unreadable::Malformed);
    }
    match text.get(end) {
        Some(b'.' | b'e' | b'E') => end_of_fraction(text, end),
        _ => Ok(end),
    }
}

/// End of a number whose integer ends at `end`.
fn end_of_fraction(text: &[u8], mut end: usize) -> Step<usize> {
    if text.get(end) == Some(&b'.') {
        end = end_of_digits(text, end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let has_sign = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = end_of_digits(text, end + 1 + usize::from(has_sign))?;
    }
    Ok(end)
}

/// End of the digits at `start`, of which there is at least one.
#[inline]
fn end_of_digits(text: &[u8], start: usize) -> Step<usize> {
    let mut end = start;
    while let Some(b'0'..=b'9') = text.get(end) {
        end += 1;
    }
    if end == start { Err(Unreadable::Malformed) } else { Ok(end) }
}

/// Number of bytes of a string before the next quote, escape or control character.
fn plain_bytes(rest: &[u8]) -> usize {
    let (words, tail) = rest.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = less_in(word, 0x20)
            | less_in(word ^ (ONES * u64::from(b'"')), 1)
            | less_in(word ^ (ONES * u64::from(b'\\')), 1);
        if special != 0 {
            return 8 * index + special.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + tail.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The high bit of each byte that is less than `limit`. The lowest set bit is exact, others may come
/// from a borrow: <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>
#[inline]
const fn less_in(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit) & !word & HIGH
}

/// Length of an escape in a string.
fn escape_length(escape: &[u8]) -> Option<usize> {
    match escape.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => escape.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}
