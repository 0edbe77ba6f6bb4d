//! The operation of a request to an MCP server.

use http::{Method, Request, header};

/// The operation of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// None: a response to a request of the server, or no message.
    Nothing,
    /// A call or a notification. The name is that of a tool or prompt, or the URI of a resource.
    Call { method: String, name: Option<String> },
    /// Any number of operations, which are not read.
    Any,
}

/// Whether a request with an empty body carries no message: it opens an event stream or ends a
/// session (MCP, Streamable HTTP).
pub(super) fn has_no_operation<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::DELETE | Method::GET | Method::HEAD)
        && !may_become_a_tunnel(request)
}

/// Whether the server may read more from the connection than the body, for instance over a
/// WebSocket.
pub(super) fn may_become_a_tunnel<B>(request: &Request<B>) -> bool {
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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::require_scope::mcp::grammar::{Step, Unreadable};
    use crate::require_scope::mcp::message::MessageReader;

    fn call(method: &str, name: Option<&str>) -> Operation {
        Operation::Call { method: method.to_owned(), name: name.map(str::to_owned) }
    }

    fn of_body(body: &[u8]) -> Step<Operation> {
        let mut reader = MessageReader::default();
        loop {
            if let Poll::Ready(message) = reader.poll_read(body) {
                return message.map(|message| message.operation);
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
            (r#"{"method":"resources/read","params":{"name":"a"}}"#, call("resources/read", None)),
            (r#"{"method":"prompts/get"}"#, call("prompts/get", None)),
            (r#"{"method":"notifications/initialized"}"#, call("notifications/initialized", None)),
            (r#"{"id":1,"result":{}}"#, Operation::Nothing),
            (r#"{"id":1,"error":{"code":1}}"#, Operation::Nothing),
            (r#"{"id":1,"result":{},"method":"tools/list"}"#, call("tools/list", None)),
        ] {
            assert_eq!(of_body(body.as_bytes()), Ok(operation), "{body}");
        }
    }

    #[test]
    fn messages_that_parsers_read_differently_are_ambiguous() {
        let deep =
            format!("{{\"method\":\"ping\",\"params\":{}{}}}", "[".repeat(999), "]".repeat(999));
        for body in [
            r#"{"method":"tools/list","method":"tools/call"}"#,
            r#"{"method":"tools/call","params":{"name":"list","name":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list"},"params":{"name":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list","n\u0061me":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":7}}"#,
            r#"{"method":"tools/call","params":["list"]}"#,
            r#"{"method":"tools/call"}"#,
            r#"{"method":"tools/call","params":{}}"#,
            r#"{"method":"prompts/get","params":["list"]}"#,
            r#"{"method":"prompts/get","params":{"Name":"list"}}"#,
            r#"{"method":"prompts/get","params":{"name":null}}"#,
            r#"{"method":"tools/list","Method":"tools/call","params":{"name":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list","NAME":"add"}}"#,
            r#"{"method":"tools/call","params":{"name":"list"},"Params":{"name":"add"}}"#,
            r#"{"method":["tools/list"]}"#,
            r#"{"method":null,"result":1}"#,
            r#"{"id":1}"#,
            "{}",
            &deep,
        ] {
            assert_eq!(of_body(body.as_bytes()), Err(Unreadable::Ambiguous), "{body:.80}");
        }
    }

    #[test]
    fn other_bodies_are_malformed_or_batches() {
        for body in [
            "",
            " ",
            "{",
            "null",
            "7",
            "\"tools/list\"",
            r#"{"method":"tools/list"}{"method":"tools/call"}"#,
            r#"{"method":"tools/list"}]"#,
            "\u{feff}{\"method\":\"tools/list\"}",
        ] {
            assert_eq!(of_body(body.as_bytes()), Err(Unreadable::Malformed), "{body}");
        }
        assert_eq!(of_body(b"{\"method\":\"\xff\"}"), Err(Unreadable::Malformed));
        for body in ["[]", " \n[", r#"[{"method":"tools/list"}]"#] {
            assert_eq!(of_body(body.as_bytes()), Err(Unreadable::Batch), "{body}");
        }
    }
}
