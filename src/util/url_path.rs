//! Paths that another server could resolve differently.

use percent_encoding::percent_decode_str;

/// How often a path is decoded to find dot segments. Each hop may decode once more.
const MAX_DECODINGS: usize = 5;

/// Whether a path has a segment that some server resolves as `.` or `..`: percent-encoded any number
/// of times, delimited by `\`, followed by path parameters (`..;`) or by white space. Also true if
/// the path is encoded more than four times over.
pub(crate) fn has_dot_segments(path: &str) -> bool {
    let mut path = path.to_owned();
    for _ in 0..MAX_DECODINGS {
        if path.split(['/', '\\']).any(is_dot_segment) {
            return true;
        }
        let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        if decoded == path {
            return false;
        }
        path = decoded;
    }
    true
}

fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    matches!(name.trim_matches(|c: char| c.is_whitespace() || c.is_control()), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for path in [
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/a/..%2fb",
            "/a/..%2F",
            "/a/%2f..%2f",
            "/a/..\\b",
            "/a/..%5cb",
            "/a/%252e%252e/b",
            "/a/%25252e./b",
            "/..;/b",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/..%3b/b",
            "/a/..%253B%252Fb",
            "/a/..%00/b",
            "/a/..%20/b",
            "/a/%09../b",
            "..",
            "%2e",
        ] {
            assert!(has_dot_segments(path), "{path}");
        }
        for path in ["/a..b/...", "/a;..", "/..a/b", "/a%252Fb", "/100%25", "/%ff", "", "/"] {
            assert!(!has_dot_segments(path), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_encoded_many_times_over_is_rejected_without_decoding_it_completely() {
        assert!(has_dot_segments(&format!("/%{}", "25".repeat(32_000))));
    }
}
