//! The operation of a request to an MCP server, or that it is unclear.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request, header};

/// The operation of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// None: a response to a request of the server, or no message.
    Nothing,
    /// A call or a notification. The name is that of a tool or prompt, or the URI of a resource.
    Call { method: String, name: Option<String> },
    /// It cannot be determined reliably.
    Unclear,
}

impl Operation {
    /// The operation in the headers, if they have one.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let method = header_text(headers, "mcp-method");
        let name = header_text(headers, "mcp-name");
        match (method, name) {
            (HeaderText::Absent, HeaderText::Absent) => None,
            (HeaderText::Text(method), HeaderText::Absent) => {
                Some(Self::Call { method, name: None })
            }
            (HeaderText::Text(method), HeaderText::Text(name)) => {
                Some(Self::Call { method, name: Some(name) })
            }
            _ => Some(Self::Unclear),
        }
    }

    /// Whether the method's required name is present. Headers may omit it.
    pub(super) fn has_required_name(&self) -> bool {
        match self {
            Self::Call { method, name } => name.is_some() || name_member(method).is_none(),
            Self::Nothing | Self::Unclear => true,
        }
    }

    /// Combines headers and body: the body's operation, unless a header contradicts it.
    pub(super) fn unless_contradicted_by(self, headers: Option<Self>) -> Self {
        let agree = match (&self, headers) {
            (_, None) => true,
            (Self::Call { method, name }, Some(Self::Call { method: sent, name: sent_name })) => {
                *method == sent && sent_name.is_none_or(|sent| name.as_deref() == Some(&*sent))
            }
            _ => false,
        };
        if agree { self } else { Self::Unclear }
    }
}

/// Whether the server reads nothing but the body, in a form that both parse alike.
pub(super) fn is_readable<B>(request: &Request<B>) -> bool {
    !request.headers().contains_key(header::CONTENT_ENCODING) && !may_become_a_tunnel(request)
}

/// Whether a request with an empty body carries no message: it opens an event stream or ends a
/// session (MCP, Streamable HTTP).
pub(super) fn has_no_operation<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::DELETE | Method::GET | Method::HEAD)
        && !may_become_a_tunnel(request)
}

/// Whether the server may read more from the connection than the body, for instance over a
/// WebSocket.
fn may_become_a_tunnel<B>(request: &Request<B>) -> bool {
    *request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE)
}

/// Removes an offer of HTTP/2 (`Upgrade: h2c`), which some clients send on every connection without
/// TLS. Requests over an accepted upgrade would bypass this layer (h2c smuggling).
pub(super) fn decline_http2_upgrade<B>(request: &mut Request<B>) {
    let mut upgrades = request.headers().get_all(header::UPGRADE).iter();
    if upgrades.all(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        request.headers_mut().remove(header::UPGRADE);
        request.headers_mut().remove("http2-settings");
    }
}

/// The parameter that names the target of a method.
pub(super) fn name_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => Some("taskId"),
        _ => None,
    }
}

enum HeaderText {
    Absent,
    Text(String),
    /// Several values, or one that is not text.
    Ambiguous,
}

fn header_text(headers: &HeaderMap, name: &str) -> HeaderText {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return HeaderText::Absent };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    match text.map(str::trim) {
        Some(text) => decoded(text).map_or(HeaderText::Ambiguous, HeaderText::Text),
        None => HeaderText::Ambiguous,
    }
}

/// Names that are not valid header text are encoded as `=?base64?…?=`.
fn decoded(text: &str) -> Option<String> {
    let encoded = text.strip_prefix("=?base64?").and_then(|text| text.strip_suffix("?="));
    match encoded {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::require_scope::mcp::message::MessageReader;

    fn call(method: &str, name: Option<&str>) -> Operation {
        Operation::Call { method: method.to_owned(), name: name.map(str::to_owned) }
    }

    fn of_body(body: &[u8]) -> Operation {
        let mut reader = MessageReader::default();
        loop {
            if let Poll::Ready(operation) = reader.poll_read(body) {
                return operation;
            }
        }
    }

    #[test]
    fn the_method_and_its_required_name_are_read_from_the_body() {
        for (body, operation) in [
            (r#"{"method":"tools/list","id":1}"#, call("tools/list", None)),
            (r#"{"method":"tools/call","params":{"name":"add"}}"#, call("tools/call", Some("add"))),
            (
                r#"{"params":{"arguments":{"name":"x"},"name":"add"},"method":"tools/call"}"#,
                call("tools/call", Some("add")),
            ),
            (
                r#" {"method":"tools\/call","params":{"n\u0061me":"a\u0064d"}} "#,
                call("tools/call", Some("add")),
            ),
            (
                r#"{"method":"resources/read","params":{"uri":"a:b"}}"#,
                call("resources/read", Some("a:b")),
            ),
            (r#"{"method":"tasks/get","params":{"taskId":"t"}}"#, call("tasks/get", Some("t"))),
            (r#"{"method":"notifications/initialized"}"#, call("notifications/initialized", None)),
            (r#"{"id":1,"result":{}}"#, Operation::Nothing),
            (r#"{"id":1,"error":{"code":1}}"#, Operation::Nothing),
            (r#"{"id":1,"result":{},"method":"tools/list"}"#, call("tools/list", None)),
        ] {
            assert_eq!(of_body(body.as_bytes()), operation, "{body}");
        }
    }

    #[test]
    fn messages_that_parsers_read_differently_are_unclear() {
        let deep =
            format!("{{\"method\":\"ping\",\"params\":{}{}}}", "[".repeat(999), "]".repeat(999));
        for body in [
            "",
            "{",
            "[]",
            r#"[{"method":"tools/list"}]"#,
            r#"{"method":"tools/list"}{"method":"tools/call"}"#,
            r#"{"method":"tools/list","method":"tools/call"}"#,
            r#"{"method":"tools/call","params":{"name":"list","name":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list"},"params":{"name":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list","n\u0061me":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":7}}"#,
            r#"{"method":"tools/call","params":["list"]}"#,
            r#"{"method":"tools/call"}"#,
            r#"{"method":"tools/list","Method":"tools/call","params":{"name":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list","NAME":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list"},"Params":{"name":"add"}}"#,
            r#"{"method":["tools/list"]}"#,
            r#"{"method":null,"result":1}"#,
            r#"{"id":1}"#,
            "\u{feff}{\"method\":\"tools/list\"}",
            "null",
            &deep,
        ] {
            assert_eq!(of_body(body.as_bytes()), Operation::Unclear, "{body:.80}");
        }
        assert_eq!(of_body(b"{\"method\":\"\xff\"}"), Operation::Unclear);
    }

    #[test]
    fn headers_can_only_contradict_the_body() {
        let headers = |values: &[(&'static str, &'static str)]| {
            let headers = values.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            Operation::from_headers(&headers.collect())
        };
        let add = || call("tools/call", Some("add"));
        for agreeing in [
            &[][..],
            &[("mcp-method", "tools/call")],
            &[("mcp-method", "tools/call"), ("mcp-name", "add")],
            &[("mcp-method", " tools/call "), ("mcp-name", "=?base64?YWRk?=")],
        ] {
            assert_eq!(add().unless_contradicted_by(headers(agreeing)), add(), "{agreeing:?}");
        }
        for contradicting in [
            &[("mcp-method", "tools/list")][..],
            &[("mcp-name", "add")],
            &[("mcp-method", "tools/call"), ("mcp-name", "list")],
            &[("mcp-method", "tools/call"), ("mcp-name", "ADD")],
            &[("mcp-method", "tools/call"), ("mcp-method", "tools/call")],
            &[("mcp-method", "tools/call"), ("mcp-name", "add"), ("mcp-name", "add")],
            &[("mcp-method", "tools/call"), ("mcp-name", "=?base64?!?=")],
        ] {
            let operation = add().unless_contradicted_by(headers(contradicting));
            assert_eq!(operation, Operation::Unclear, "{contradicting:?}");
        }
        let sent = headers(&[("mcp-method", "tools/list"), ("mcp-name", "add")]);
        assert_eq!(call("tools/list", None).unless_contradicted_by(sent), Operation::Unclear);
        let sent = headers(&[("mcp-method", "tools/list")]);
        assert_eq!(Operation::Nothing.unless_contradicted_by(sent), Operation::Unclear);
    }
}
