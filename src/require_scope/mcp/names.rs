//! Member names, as different parsers compare them.

/// Names with a special meaning in serde_json if a crate in the tree enables `arbitrary_precision`
/// or `raw_value`.
const PRIVATE_PREFIX: &str = "$serde_json::private::";

/// Similarity of a name to a known one.
pub(super) enum NameMatch {
    Same,
    /// Some parsers treat it as equal: they ignore case, a few by Unicode's rules.
    Variant,
    Other,
}

/// Compares a name, which begins with the folded letter `first`, with a known one.
pub(super) fn compare(name: &[u8], first: char, known: &str) -> NameMatch {
    if !known.starts_with(first) {
        return NameMatch::Other;
    }
    if decode(name).eq(known.chars()) {
        NameMatch::Same
    } else if decode(name).map(fold).eq(known.chars().map(fold)) {
        NameMatch::Variant
    } else {
        NameMatch::Other
    }
}

/// The first letter, which distinguishes most names.
pub(super) fn first_letter(name: &[u8]) -> Option<char> {
    decode(name).next().map(fold)
}

/// Whether serde_json may treat the name specially.
pub(super) fn is_private(name: &[u8]) -> bool {
    decode(name).take(PRIVATE_PREFIX.len()).eq(PRIVATE_PREFIX.chars())
}

/// Simple case folding (Unicode, CaseFolding.txt), limited to mappings to ASCII.
fn fold(character: char) -> char {
    match character {
        'ſ' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// The characters of a string with valid escapes. Characters that no known name contains may be
/// replaced by others.
fn decode(text: &[u8]) -> impl Iterator<Item = char> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (character, length) = match rest {
            [] => return None,
            [b'\\', b'u', digits @ ..] => {
                let escaped = digits
                    .get(..4)
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                    .and_then(char::from_u32);
                (escaped.unwrap_or(char::REPLACEMENT_CHARACTER), 6)
            }
            [b'\\', escaped @ (b'"' | b'\\' | b'/'), ..] => (char::from(*escaped), 2),
            [b'\\', ..] => (char::REPLACEMENT_CHARACTER, 2),
            [byte, ..] if byte.is_ascii() => (char::from(*byte), 1),
            [0xC5, 0xBF, ..] => ('ſ', 2),
            [0xE2, 0x84, 0xAA, ..] => ('\u{212A}', 3),
            _ => (char::REPLACEMENT_CHARACTER, 1),
        };
        rest = rest.get(length..).unwrap_or_default();
        Some(character)
    })
}
