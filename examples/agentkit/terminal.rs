//! Untrusted text on a terminal, where anyone can send an e-mail; and links, without a browser.

use serde_json::{Map, Value};
use tower_scalekit::api::connected_accounts::AuthorizationLink;

/// Opens a link, which is enough in a sandbox.
pub async fn visit(link: &AuthorizationLink) -> Result<(), String> {
    reqwest::get(link.url().as_str())
        .await
        .and_then(reqwest::Response::error_for_status)
        .map(drop)
        .map_err(|error| format!("the authorization link: {}", error.without_url()))
}

/// Text on a single line.
pub fn line(text: &str) -> String {
    text.chars().map(|letter| if is_command(letter) { ' ' } else { letter }).collect()
}

/// Multi-line JSON, with escapes for the characters that `serde_json` does not escape.
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

/// Whether a terminal may interpret it: control characters, including those of C1 (U+009B begins a
/// command like ESC), line breaks, and characters that change the direction of writing.
fn is_command(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
        )
}
