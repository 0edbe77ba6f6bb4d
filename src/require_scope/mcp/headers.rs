//! The headers that repeat parts of the message (MCP 2026-07-28, Streamable HTTP, [request
//! metadata]).
//!
//! [request metadata]: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#request-metadata

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};

use super::message::Message;
use super::operation::Operation;

pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The revision that requires these headers.
const WITH_REQUIRED_HEADERS: &str = "2026-07-28";
/// The revision that removed batches.
const WITHOUT_BATCHES: &str = "2025-06-18";

/// A header that does not match the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) header: HeaderName,
    pub(super) is_missing: bool,
}

/// Checks the headers against the body. A header may be absent, except where the revision requires
/// it.
pub(super) fn check(headers: &HeaderMap, message: &Message) -> Result<(), Mismatch> {
    let (method, name) = match &message.operation {
        Operation::Call { method, name } => (Some(method.as_str()), name.as_deref()),
        Operation::Nothing | Operation::Any => (None, None),
    };
    let is_required = message.id.is_some() && is_since(headers, WITH_REQUIRED_HEADERS);
    // The handshake belongs to earlier revisions.
    let requires_method = is_required && method.is_some_and(|method| method != "initialize");
    let requires_name = is_required
        && name.is_some()
        && matches!(method, Some("tools/call" | "resources/read" | "prompts/get"));
    compare(headers, MCP_METHOD, method, requires_method)?;
    compare(headers, MCP_NAME, name, requires_name)
}

/// Whether the revision has batches.
pub(super) fn allow_batches(headers: &HeaderMap) -> bool {
    !is_since(headers, WITHOUT_BATCHES)
}

/// Whether the request is of this revision or a later one. Revisions are dates. Earlier ones than
/// 2025-06-18 have no header. Several headers count as the latest.
fn is_since(headers: &HeaderMap, revision: &str) -> bool {
    headers
        .get_all(MCP_PROTOCOL_VERSION)
        .iter()
        .any(|value| value.as_bytes() >= revision.as_bytes())
}

fn compare(
    headers: &HeaderMap,
    header: HeaderName,
    expected: Option<&str>,
    is_required: bool,
) -> Result<(), Mismatch> {
    let mut values = headers.get_all(&header).iter();
    let is_missing = match (values.next(), values.next()) {
        (None, _) if is_required => true,
        (None, _) => return Ok(()),
        (Some(value), None) => {
            let text = value.to_str().ok().map(str::trim).and_then(|text| {
                if header == MCP_NAME { decoded(text) } else { Some(Cow::Borrowed(text)) }
            });
            if expected.is_some() && text.as_deref() == expected {
                return Ok(());
            }
            false
        }
        (Some(_), Some(_)) => false,
    };
    Err(Mismatch { header, is_missing })
}

/// Names that are not valid header text are encoded as `=?base64?…?=`.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    match text.strip_prefix("=?base64?").and_then(|text| text.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(text)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::require_scope::mcp::message::RequestId;

    fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = values
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn call(method: &str, name: Option<&str>) -> Message {
        let operation =
            Operation::Call { method: method.to_owned(), name: name.map(str::to_owned) };
        Message { operation, id: Some(RequestId::Other) }
    }

    fn mismatch(
        values: &[(&'static str, &'static str)],
        message: &Message,
    ) -> Option<(String, bool)> {
        let mismatch = check(&headers(values), message).err()?;
        Some((mismatch.header.to_string(), mismatch.is_missing))
    }

    const CURRENT: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

    #[test]
    fn headers_must_match_the_body() {
        let add = call("tools/call", Some("add"));
        for matching in [
            &[][..],
            &[("mcp-method", "tools/call")],
            &[("mcp-method", "tools/call"), ("mcp-name", "add")],
            &[("mcp-method", " tools/call "), ("mcp-name", "=?base64?YWRk?=")],
        ] {
            assert_eq!(mismatch(matching, &add), None, "{matching:?}");
        }
        for (values, header) in [
            (&[("mcp-method", "tools/list")][..], "mcp-method"),
            (&[("mcp-method", "TOOLS/CALL")], "mcp-method"),
            (&[("mcp-method", "=?base64?dG9vbHMvY2FsbA==?=")], "mcp-method"),
            (&[("mcp-method", "")], "mcp-method"),
            (&[("mcp-method", "tools/call"), ("mcp-method", "tools/call")], "mcp-method"),
            (&[("mcp-method", "tools/call"), ("mcp-name", "list")], "mcp-name"),
            (&[("mcp-method", "tools/call"), ("mcp-name", "ADD")], "mcp-name"),
            (&[("mcp-name", "add"), ("mcp-name", "add")], "mcp-name"),
            (&[("mcp-name", "=?base64?!?=")], "mcp-name"),
            (&[("mcp-name", "=?base64?YWRk")], "mcp-name"),
        ] {
            assert_eq!(mismatch(values, &add), Some((header.to_owned(), false)), "{values:?}");
        }
        let list = call("tools/list", None);
        let named = [("mcp-method", "tools/list"), ("mcp-name", "add")];
        assert_eq!(mismatch(&named, &list), Some(("mcp-name".to_owned(), false)));
        let response = Message { operation: Operation::Nothing, ..call("", None) };
        assert_eq!(mismatch(&[], &response), None);
        assert_eq!(mismatch(&[CURRENT], &response), None);
        let sent = [("mcp-method", "tools/list")];
        assert_eq!(mismatch(&sent, &response), Some(("mcp-method".to_owned(), false)));
    }

    #[test]
    fn requests_of_the_current_revision_require_their_headers() {
        let missing = |header: &str| Some((header.to_owned(), true));
        let add = call("tools/call", Some("add"));
        assert_eq!(mismatch(&[CURRENT], &add), missing("mcp-method"));
        assert_eq!(mismatch(&[CURRENT, ("mcp-method", "tools/call")], &add), missing("mcp-name"));
        let both = [CURRENT, ("mcp-method", "tools/call"), ("mcp-name", "add")];
        assert_eq!(mismatch(&both, &add), None);
        let list = call("tools/list", None);
        assert_eq!(mismatch(&[CURRENT], &list), missing("mcp-method"));
        assert_eq!(mismatch(&[CURRENT, ("mcp-method", "tools/list")], &list), None);
        // The specification names three methods.
        let task = call("tasks/get", Some("t"));
        assert_eq!(mismatch(&[CURRENT, ("mcp-method", "tasks/get")], &task), None);
        assert_eq!(mismatch(&[CURRENT], &call("initialize", None)), None);
        let nameless = call("prompts/get", None);
        assert_eq!(mismatch(&[CURRENT, ("mcp-method", "prompts/get")], &nameless), None);
        let notification = Message { id: None, ..call("notifications/cancelled", None) };
        assert_eq!(mismatch(&[CURRENT], &notification), None);
        for earlier in ["2025-03-26", "2025-06-18", "2025-11-25"] {
            assert_eq!(mismatch(&[("mcp-protocol-version", earlier)], &add), None, "{earlier}");
        }
        for later in ["2027-01-01", "DRAFT-2027-v1"] {
            let version = ("mcp-protocol-version", later);
            assert_eq!(mismatch(&[version], &add), missing("mcp-method"), "{later}");
        }
        let twice = [("mcp-protocol-version", "2025-06-18"), CURRENT];
        assert_eq!(mismatch(&twice, &add), missing("mcp-method"));
    }

    #[test]
    fn the_revisions_up_to_2025_03_26_have_batches() {
        for (version, expected) in [
            (&[][..], true),
            (&[("mcp-protocol-version", "2025-03-26")], true),
            (&[("mcp-protocol-version", "2025-06-18")], false),
            (&[CURRENT], false),
        ] {
            assert_eq!(allow_batches(&headers(version)), expected, "{version:?}");
        }
    }
}
