//! Reads the members of a JSON-RPC message that decide its authorization, and skips the rest.

use std::task::Poll;

use super::grammar::{
    Action, Expected, MAX_TOKEN_BYTES, Step, Unreadable, colon_length, scalar, skip_text, spaces,
};
use super::names::{NameMatch, compare, first_letter, is_private};
use super::operation::{Operation, name_member};

/// Bytes that are read at once: a small fraction of a millisecond for any content.
const CHUNK_BYTES: usize = 128 * 1024;
/// Maximum depth; serde_json has the same limit.
const MAX_DEPTH: usize = 127;
/// Depth of the members of the message and of `params`.
const DECISIVE_DEPTH: usize = 2;
/// Longer request IDs are not repeated in responses.
const MAX_ID_BYTES: usize = 256;

/// A message whose operation is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) operation: Operation,
    /// The ID of a request. Notifications have none.
    pub(super) id: Option<RequestId>,
}

/// The ID of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestId {
    /// The range of a string or number.
    Json { start: usize, end: usize },
    /// One that cannot be repeated in a response: too long, or of another type.
    Other,
}

impl RequestId {
    /// The ID as JSON.
    pub(super) fn json(self, body: &[u8]) -> Option<Box<str>> {
        let Self::Json { start, end } = self else { return None };
        std::str::from_utf8(body.get(start..end)?).ok().map(Into::into)
    }
}

/// Reads a message (JSON-RPC 2.0) in one pass, in parts, without allocating.
///
/// The grammar is exactly RFC 8259, so that every parser sees the same tokens. Deciding members may
/// appear once: of two, one parser keeps the first and another the last.
#[derive(Debug)]
pub(crate) struct MessageReader {
    cursor: Cursor,
    /// What follows a value, by its depth.
    after_value: [Expected; MAX_DEPTH + 1],
    /// The bytes before it are valid UTF-8.
    valid_up_to: usize,
    /// The member at the current level whose value follows.
    member: Option<Member>,
    is_in_params: bool,
    /// The deciding members of the two levels, as read so far.
    top: [Option<Content>; 6],
    params: [Option<Content>; 3],
    /// Parameters that also appear in another spelling.
    has_variant: [bool; 3],
}

/// Position within a message.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    position: usize,
    /// Number of objects and arrays around the position.
    depth: usize,
    expected: Expected,
    /// Start of the string that is being read.
    text_start: usize,
}

/// A member that decides the authorization.
#[derive(Clone, Copy, Debug)]
enum Member {
    Top(usize),
    Params(usize),
}

/// The value of a member.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// A number, `true`, `false` or `null`.
    Scalar {
        start: usize,
        end: usize,
    },
    /// The text between the quotes.
    Text {
        start: usize,
        end: usize,
    },
    Object,
    Array,
}

const TOP: [&str; 6] = ["method", "params", "result", "error", "id", "jsonrpc"];
const METHOD: usize = 0;
const PARAMS: usize = 1;
const RESULT: usize = 2;
const ERROR: usize = 3;
const ID: usize = 4;
/// Members of the message that may not also appear in another spelling.
const EXACT: std::ops::Range<usize> = METHOD..RESULT;
const NAMES: [&str; 3] = ["name", "uri", "taskId"];

impl MessageReader {
    /// Reads a part of `body`, which is the same in each call. Ready when the operation is known, or
    /// cannot be.
    pub(super) fn poll_read(&mut self, body: &[u8]) -> Poll<Step<Message>> {
        let end = body.len().min(self.cursor.position + CHUNK_BYTES);
        match self.read_part(body, end) {
            Ok(()) if self.cursor.position < body.len() || self.valid_up_to < body.len() => {
                Poll::Pending
            }
            Ok(()) => Poll::Ready(self.message(body)),
            Err(unreadable) => Poll::Ready(Err(unreadable)),
        }
    }

    /// Reads to `end`, or to the end of the token at that position.
    fn read_part(&mut self, body: &[u8], end: usize) -> Step {
        self.validate_utf8(body, end)?;
        // Kept in registers: large messages spend their time in this loop.
        let Cursor { mut position, mut depth, mut expected, mut text_start } = self.cursor;
        let part = body.get(..end).unwrap_or_default();
        while let Some(&byte) = part.get(position) {
            let is_decisive = depth <= DECISIVE_DEPTH;
            match expected.action(byte) {
                Action::Skip => {
                    position += 1 + spaces(part.get(position + 1..).unwrap_or_default())
                }
                action @ (Action::OpenObject | Action::OpenArray) => {
                    let is_object = action == Action::OpenObject;
                    if is_decisive {
                        self.open_decisive(is_object)?;
                    }
                    position += 1;
                    depth += 1;
                    let (first, after_value) = match is_object {
                        true => (Expected::NameOrEnd, Expected::CommaOrEndOfObject),
                        false => (Expected::ValueOrEnd, Expected::CommaOrEndOfArray),
                    };
                    *self.after_value.get_mut(depth).ok_or(Unreadable::Ambiguous)? = after_value;
                    expected = first;
                }
                Action::Close => {
                    position += 1;
                    depth -= 1;
                    self.is_in_params &= depth > 1;
                    expected = self.after_value(depth);
                }
                Action::NextMember => {
                    position += 1;
                    expected = Expected::Name;
                }
                Action::NextItem => {
                    position += 1;
                    expected = Expected::Value;
                }
                Action::Scalar => {
                    expected = self.after_value(depth);
                    loop {
                        let start = position;
                        position += scalar(body.get(position..).unwrap_or_default())?;
                        if is_decisive {
                            self.end_value(Content::Scalar { start, end: position })?;
                        }
                        // The numbers of an array are read at once.
                        match part.get(position..position + 2) {
                            Some([b',', b'0'..=b'9'])
                                if expected == Expected::CommaOrEndOfArray =>
                            {
                                position += 1;
                            }
                            _ => break,
                        }
                    }
                }
                action @ (Action::Name | Action::Text | Action::RestOfString) => {
                    if action != Action::RestOfString {
                        position += 1;
                        text_start = position;
                        expected = match action {
                            Action::Name => Expected::RestOfName,
                            _ => Expected::RestOfText,
                        };
                    }
                    let (skipped, is_whole) = skip_text(body, part, position)?;
                    position = skipped;
                    if !is_whole {
                        continue;
                    }
                    let text = text_start..position - 1;
                    if expected == Expected::RestOfName {
                        if depth <= 1 || is_decisive && self.is_in_params {
                            let name = body.get(text).unwrap_or_default();
                            self.member = self.member_of(name, depth)?;
                        }
                        position += colon_length(body.get(position..).unwrap_or_default())?;
                        expected = Expected::Value;
                    } else {
                        if is_decisive {
                            self.end_value(Content::Text { start: text.start, end: text.end })?;
                        }
                        expected = self.after_value(depth);
                    }
                }
                Action::Reject if expected == Expected::Message && byte == b'[' => {
                    return Err(Unreadable::Batch);
                }
                Action::Reject => return Err(Unreadable::Malformed),
            }
        }
        self.cursor = Cursor { position, depth, expected, text_start };
        Ok(())
    }

    #[inline]
    fn after_value(&self, depth: usize) -> Expected {
        self.after_value.get(depth).copied().unwrap_or(Expected::End)
    }

    fn validate_utf8(&mut self, body: &[u8], end: usize) -> Step {
        // A token may end after `end`; bytes are validated before they are read.
        let end = body.len().min(end + MAX_TOKEN_BYTES);
        match std::str::from_utf8(body.get(self.valid_up_to..end).unwrap_or_default()) {
            Ok(_) => self.valid_up_to = end,
            // An incomplete character, which the next part completes.
            Err(error) if error.error_len().is_none() && end < body.len() => {
                self.valid_up_to += error.valid_up_to();
            }
            Err(_) => return Err(Unreadable::Malformed),
        }
        Ok(())
    }

    /// An object or array that begins at a deciding level.
    fn open_decisive(&mut self, is_object: bool) -> Step {
        self.is_in_params |= matches!(self.member, Some(Member::Top(PARAMS))) && is_object;
        self.end_value(if is_object { Content::Object } else { Content::Array })
    }

    fn member_of(&mut self, name: &[u8], depth: usize) -> Step<Option<Member>> {
        let Some(first) = first_letter(name) else { return Ok(None) };
        if first == '$' && is_private(name) {
            return Err(Unreadable::Ambiguous);
        }
        if depth == 1 {
            for (index, known) in TOP.into_iter().enumerate() {
                match compare(name, first, known) {
                    NameMatch::Same => return Ok(Some(Member::Top(index))),
                    NameMatch::Variant if EXACT.contains(&index) => {
                        return Err(Unreadable::Ambiguous);
                    }
                    NameMatch::Variant | NameMatch::Other => {}
                }
            }
            return Ok(None);
        }
        for (index, (known, variant)) in NAMES.into_iter().zip(&mut self.has_variant).enumerate() {
            match compare(name, first, known) {
                NameMatch::Same => return Ok(Some(Member::Params(index))),
                NameMatch::Variant => *variant = true,
                NameMatch::Other => {}
            }
        }
        Ok(None)
    }

    /// Stores the value of a deciding member, which may appear once.
    fn end_value(&mut self, content: Content) -> Step {
        let slot = match self.member.take() {
            None => return Ok(()),
            Some(Member::Top(index)) => self.top.get_mut(index),
            Some(Member::Params(index)) => self.params.get_mut(index),
        };
        match slot.and_then(|slot| slot.replace(content)) {
            Some(_) => Err(Unreadable::Ambiguous),
            None => Ok(()),
        }
    }

    /// The whole message.
    fn message(&self, body: &[u8]) -> Step<Message> {
        if self.cursor.expected != Expected::End {
            return Err(Unreadable::Malformed);
        }
        let operation = self.operation(body).ok_or(Unreadable::Ambiguous)?;
        let id = match &operation {
            Operation::Call { .. } => self.request_id(body),
            Operation::Nothing | Operation::Any => None,
        };
        Ok(Message { operation, id })
    }

    /// The ID of the request, if it was read.
    pub(super) fn request_id(&self, body: &[u8]) -> Option<RequestId> {
        self.top[ID].map(|id| id.request_id(body))
    }

    fn operation(&self, body: &[u8]) -> Option<Operation> {
        let Some(method) = self.top[METHOD] else {
            let is_response = self.top[RESULT].is_some() || self.top[ERROR].is_some();
            return is_response.then_some(Operation::Nothing);
        };
        let method = method.text(body)?;
        let Some(member) = name_member(&method) else {
            return Some(Operation::Call { method, name: None });
        };
        let index = NAMES.iter().position(|name| *name == member)?;
        let is_clear = self.has_variant.get(index) == Some(&false)
            && matches!(self.top[PARAMS], None | Some(Content::Object));
        let name = match self.params.get(index).copied().flatten() {
            _ if !is_clear => return None,
            Some(name) => Some(name.text(body)?),
            // Its name decides. Other messages without one are left to the server.
            None if method == "tools/call" => return None,
            None => None,
        };
        Some(Operation::Call { method, name })
    }
}

impl Content {
    fn text(self, body: &[u8]) -> Option<String> {
        let Self::Text { start, end } = self else { return None };
        let quoted = body.get(start - 1..=end)?;
        if quoted.len() > MAX_TOKEN_BYTES { None } else { serde_json::from_slice(quoted).ok() }
    }

    fn request_id(self, body: &[u8]) -> RequestId {
        let (start, end) = match self {
            Self::Text { start, end } => (start - 1, end + 1),
            Self::Scalar { start, end } if matches!(body.get(start), Some(b'-' | b'0'..=b'9')) => {
                (start, end)
            }
            Self::Scalar { .. } | Self::Object | Self::Array => return RequestId::Other,
        };
        if end - start > MAX_ID_BYTES { RequestId::Other } else { RequestId::Json { start, end } }
    }
}

impl Default for MessageReader {
    fn default() -> Self {
        Self {
            cursor: Cursor::default(),
            after_value: [Expected::End; MAX_DEPTH + 1],
            valid_up_to: 0,
            member: None,
            is_in_params: false,
            top: [None; 6],
            params: [None; 3],
            has_variant: [false; 3],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(body: &[u8]) -> Step<Operation> {
        let mut reader = MessageReader::default();
        loop {
            if let Poll::Ready(message) = reader.poll_read(body) {
                return message.map(|message| message.operation);
            }
        }
    }

    /// Whether the parser accepts a value as well-formed.
    fn accepts(value: &str) -> bool {
        read(format!("{{\"result\":{value}}}").as_bytes()) == Ok(Operation::Nothing)
    }

    #[test]
    fn values_follow_the_grammar() {
        for value in [
            "0",
            "-0",
            "12",
            "-1.5e+30",
            "1E5",
            "0.10",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "{}",
            "\"a\\\"b\\\\\\/\\b\\f\\n\\r\\t\\u00e9é\"",
            " [ 1 , [ { \"a\" : [ ] } ] ] \r\n\t",
            "[{},{},[[]]]",
            "\"12345678\\n12345678\"",
        ] {
            assert!(accepts(value) && serde_json::from_str::<Value>(value).is_ok(), "{value}");
        }
        for value in [
            "",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x1",
            "NaN",
            "Infinity",
            "tru",
            "nulll",
            "True",
            "'a'",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "\"\0\"",
            "\"1234567\t8\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[}",
            "{]",
            "]",
            "}",
            "1//",
            "/**/1",
            "1,",
            "\u{a0}1",
        ] {
            assert!(!accepts(value) && serde_json::from_str::<Value>(value).is_err(), "{value:?}");
        }
        for depth in (120..=130).chain([100_000]) {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let in_message = format!("{{\"result\":{nested}}}");
            let by_serde = serde_json::from_str::<Value>(&in_message).is_ok();
            assert_eq!(accepts(&nested), by_serde, "{depth}");
        }
    }

    #[test]
    fn names_that_parsers_read_differently_are_unclear() {
        let add = r#""method":"tools/call","params":{"name":"add"}"#;
        for (body, is_clear) in [
            (format!("{{{add}}}"), true),
            (format!("{{{add},\"$other\":1,\"arguments\":1,\"arguments\":1}}"), true),
            (format!("{{{add},\"$serde_json::private::RawValue\":\"{{}}\"}}"), false),
            (format!("{{\"\\u0024serde_json::private::Number\":\"1\",{add}}}"), false),
            (add.replace("{\"name\"", "{\"$serde_json::private::RawValue\":\"1\",\"name\""), false),
            (format!("{{{add},\"param\u{17f}\":{{}}}}"), false),
            (format!("{{{add},\"param\\u017f\":{{}}}}"), false),
            (format!("{{{add},\"\\u0050ARAMS\":{{}}}}"), false),
            (format!("{{{add},\"id\":1,\"id\":2}}"), false),
            // A line feed and `ame`.
            (format!("{{{}}}", add.replace("\"name\"", "\"\\name\"")), false),
            (format!("{{{}}}", add.replace("{\"name\"", "{\"\\name\":1,\"name\"")), true),
        ] {
            assert_eq!(read(body.as_bytes()).is_ok(), is_clear, "{body}");
        }
        let task = |name: &str| {
            let body = format!(r#"{{"method":"tasks/get","params":{{"taskId":"t",{name}:"u"}}}}"#);
            read(body.as_bytes())
        };
        assert!(task("\"name\"").is_ok());
        for variant in ["\"taskid\"", "\"ta\u{17f}kId\"", "\"tas\u{212a}Id\"", "\"tas\\u212aId\""] {
            assert_eq!(task(variant), Err(Unreadable::Ambiguous), "{variant}");
        }
    }

    #[test]
    fn the_result_does_not_depend_on_where_parts_end() {
        let in_parts = |body: &[u8], bytes: usize| {
            let mut reader = MessageReader::default();
            while reader.cursor.position < body.len() {
                let end = body.len().min(reader.cursor.position + bytes);
                reader.read_part(body, end)?;
            }
            reader.message(body).map(|message| message.operation)
        };
        let add = r#""method":"tools\/call","params":{"n\u0061me":"\u0061dd"}"#;
        for body in [
            &format!("{{{add}}}"),
            &format!("{{{add} , \"id\" : -1.5e+3 , \"b\":[ true,false , null,[],{{}} ]}} \n"),
            &format!(
                "{{\"a\":{{\"params\":{{\"name\":\"list\"}},\"é\":[0,{{\"é\\n\":\"\"}}]}},{add}}}"
            ),
            &format!("{{\"result\":{{\"name\":1,\"name\":2,\"NAME\":3}},{add}}}"),
            &format!("{{\"params\":[{{\"name\":1,\"name\":2}}],{}}}", &add[..21]),
            &format!("{{{}\"name\":1,{}", &add[..32], &add[32..]),
            r#"{"result":{"a":"b"}}"#,
            r#"{"result":{"a":"b}}"#,
            r#"{"result":{"a" "b"}}"#,
        ] {
            let whole = read(body.as_bytes());
            for bytes in 1..12 {
                assert_eq!(in_parts(body.as_bytes(), bytes), whole, "{body} {bytes}");
            }
        }
    }

    #[test]
    fn a_large_body_is_read_in_parts_and_validated_to_its_last_byte() {
        let call = |filling: &str| {
            let arguments = format!("{{\"a\":[{filling}\"é\"]}}");
            format!(
                r#"{{"params":{{"arguments":{arguments},"name":"add"}},"method":"tools/call"}}"#
            )
        };
        let add = Operation::Call { method: "tools/call".into(), name: Some("add".into()) };
        for filling in ["{\"é\":{}},", "\"\\n\",", "1.5e3 ,", "true,\n", "\"aaaaaaaaaaaaé\","] {
            for count in [0, 1, CHUNK_BYTES / filling.len(), 3 * CHUNK_BYTES / filling.len()] {
                let body = call(&filling.repeat(count));
                let mut reader = MessageReader::default();
                let mut parts = 1;
                let operation = loop {
                    match reader.poll_read(body.as_bytes()) {
                        Poll::Ready(message) => break message.map(|message| message.operation),
                        Poll::Pending => parts += 1,
                    }
                };
                assert_eq!(operation.as_ref(), Ok(&add), "{filling} {count}");
                assert!(parts > body.len() / (2 * CHUNK_BYTES), "{parts}");
                let mut broken = body.into_bytes();
                let end = broken.len() - 40;
                broken[end..].fill(0xC3);
                assert_eq!(read(&broken), Err(Unreadable::Malformed));
            }
        }
        let text = call(&format!("\"{}\",", "aé".repeat(CHUNK_BYTES)));
        assert_eq!(read(text.as_bytes()).as_ref(), Ok(&add));
        let spaces = call(&" ".repeat(3 * CHUNK_BYTES));
        assert_eq!(read(spaces.as_bytes()), Ok(add));
    }

    #[test]
    fn the_id_of_a_request_is_kept_as_it_is_written() {
        let id = |id: &str| {
            let body = format!("{{\"method\":\"ping\"{id}}}");
            let mut reader = MessageReader::default();
            let Poll::Ready(Ok(message)) = reader.poll_read(body.as_bytes()) else {
                panic!("{body}")
            };
            message.id.map(|id| id.json(body.as_bytes()).map(String::from))
        };
        for json in ["1", "-7", "1.5e3", "\"a\\\"\\u00e9é\"", "\"\""] {
            assert_eq!(id(&format!(",\"id\": {json} ")), Some(Some(json.to_owned())));
        }
        let long = format!("\"{}\"", "1".repeat(MAX_ID_BYTES));
        for json in ["null", "true", "[1]", "{}", &long] {
            assert_eq!(id(&format!(",\"id\":{json}")), Some(None), "{json}");
        }
        assert_eq!(id(""), None);
        assert_eq!(id(",\"params\":{\"id\":1}"), None);
    }
}
