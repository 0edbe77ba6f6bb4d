//! Normalization of pasted text: surrounding white space, line breaks, digits of any script.

/// The text without surrounding white space and invisible characters.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_invisible)
}

/// The text without line breaks and spaces.
pub(crate) fn unwrap_lines(text: &str) -> String {
    text.chars().filter(|&c| !is_invisible(c)).collect()
}

/// A code of ASCII letters and digits, of at most `max` characters: decimal digits of any script
/// become ASCII digits, and other characters are dropped.
pub(crate) fn code(text: &str, max: usize) -> Option<String> {
    let mut code = String::new();
    for c in text.chars() {
        match decimal_digit(c) {
            Some(digit) => code.push(digit),
            None if c.is_ascii_alphanumeric() => code.push(c),
            None if c.is_alphanumeric() => return None,
            None => {}
        }
    }
    (1..=max).contains(&code.len()).then_some(code)
}

fn is_invisible(c: char) -> bool {
    // Soft hyphen, zero-width characters, directional marks and the byte order mark.
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn decimal_digit(c: char) -> Option<char> {
    let c = u32::from(c);
    let zero = ZEROS.get(ZEROS.partition_point(|&zero| zero <= c).checked_sub(1)?)?;
    char::from_digit(c - zero, 10)
}

/// The zero of each run of ten decimal digits (general category Nd of Unicode 16).
const ZEROS: [u32; 76] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x10d40, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0,
    0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50,
    0x11da0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8,
    0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_digit_of_any_script_counts() {
        for code_in in [
            "123456",
            "\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}\u{ff16}",
            "\u{661}\u{662}\u{663}\u{664}\u{665}\u{666}",
            "\u{6f1}\u{6f2}\u{6f3}\u{6f4}\u{6f5}\u{6f6}",
            "\u{967}\u{968}\u{969}\u{96a}\u{96b}\u{96c}",
            "\u{1d7cf}\u{1d7d0}\u{1d7d1}\u{1d7d2}\u{1d7d3}\u{1d7d4}",
            "\u{1fbf1}\u{ff12}3\u{664}5\u{6f6}",
        ] {
            assert_eq!(code(code_in, 6).as_deref(), Some("123456"), "{code_in}");
        }
        for zero in ZEROS {
            let digits = (zero..zero + 10).map(|c| char::from_u32(c).unwrap());
            let read: String = digits.map(|c| decimal_digit(c).unwrap()).collect();
            assert_eq!(read, "0123456789", "{zero:x}");
        }
        for other in ['/', ':', '\u{ff0f}', '\u{ff1a}', '\u{65f}', '\u{66a}', '\0', char::MAX] {
            assert_eq!(decimal_digit(other), None, "{other:?}");
        }
    }

    #[test]
    fn other_characters_are_dropped_before_the_length_is_checked() {
        for text in [
            " 123 456\r\n",
            "123-456",
            "123\u{2011}456",
            "123\u{2013}456",
            "123.456",
            "\"123456\"",
            "\u{200b}123\u{a0}456\u{feff}",
            "*123456*",
            "1 2 3 4 5 6 . . . . . . . . . . . . .",
            "\u{2066}123456\u{2069}",
            "123\u{b7}456",
        ] {
            assert_eq!(code(text, 6).as_deref(), Some("123456"), "{text:?}");
        }
        assert_eq!(code("aB3-x", 6).as_deref(), Some("aB3x"));
        for text in
            ["", " - ", "1234567", "12345\u{b2}", "12345\u{e9}", "12345\u{2460}", "\u{4e00}"]
        {
            assert_eq!(code(text, 6), None, "{text:?}");
        }
    }

    #[test]
    fn invisible_characters_around_and_inside_are_removed() {
        assert_eq!(trim("\u{feff} a b\u{200b}\r\n"), "a b");
        assert_eq!(unwrap_lines(" ab\r\n  cd\u{200b}\t"), "abcd");
        assert_eq!(trim(" \n"), "");
    }
}
