//! What others have written, as a terminal may show it: anyone can send a mail.

use serde_json::{Map, Value};

/// Text that stays in its line.
pub fn line(text: &str) -> String {
    text.chars().map(|letter| if is_command(letter) { ' ' } else { letter }).collect()
}

/// JSON over several lines, with escapes in place of what `serde_json` leaves as it is.
pub fn json(data: &Map<String, Value>) -> serde_json::Result<String> {
    let mut json = String::new();
    for letter in serde_json::to_string_pretty(data)?.chars() {
        if letter != '\n' && is_command(letter) {
            // All of them are below U+10000.
            json += &format!("\\u{:04x}", u32::from(letter));
        } else {
            json.push(letter);
        }
    }
    Ok(json)
}

/// Whether a terminal may do something else with it than show it: control characters, also those
/// of C1 (U+009B begins a command as ESC does), and what breaks lines or turns the direction of
/// writing.
fn is_command(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
        )
}
