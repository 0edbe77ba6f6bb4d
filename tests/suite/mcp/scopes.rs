//! Scopes of tools and methods.

use super::*;

#[tokio::test]
async fn a_step_up_names_all_scopes_in_header_and_body() {
    let implied = ScopeHierarchy::new().implies("todo:admin", ["todo:write"]).unwrap();
    let world = World::with(|app| {
        app.layer(RequireScope::all(["todo:write"]).scope_hierarchy(&implied))
            .layer(RequireScope::any(["todo:read", "todo:admin"]))
    });
    let response = world.ask(&world.token("todo:read", |_| {})).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        response.header("www-authenticate").unwrap(),
        format!(
            "Bearer error=\"insufficient_scope\", error_description=\"The token lacks a required \
             scope\", scope=\"todo:read todo:write\", resource_metadata=\"{METADATA}\""
        )
    );
    let body = json!({
        "error": "insufficient_scope", "error_description": "Required scope todo:write",
        "scope": "todo:read todo:write",
    });
    assert_eq!(response.json(), body);
    let broader = world.ask(&world.token("todo:admin", |_| {})).await;
    assert_eq!(broader.status(), StatusCode::OK);
}

#[tokio::test]
async fn each_tool_and_method_needs_its_own_scopes() {
    let world = mcp_world();
    let all = "todo:read todo:write docs:read";
    for (body, granted, status) in [
        (call("list"), "todo:read", 200),
        (call("list"), "todo:write", 403),
        (call("add"), "todo:read", 403),
        (call("add"), "todo:write", 200),
        (call("ping"), "", 200),
        // Not configured: the scopes of all tools.
        (call("remove"), "todo:write", 403),
        (call("remove"), "todo:read todo:write", 200),
        (call(""), "todo:write", 403),
        (method("resources/read"), "todo:read todo:write", 403),
        (method("resources/read"), "docs:read", 200),
        (method("tools/list"), "", 200),
        (method("initialize"), "", 200),
        (method("notifications/initialized"), "", 200),
        (json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string(), "", 200),
        // Unclear operations.
        (format!("[{}]", method("tools/list")), "todo:read todo:write", 403),
        (format!("[{}]", method("tools/list")), all, 200),
        ("{".to_owned(), "todo:read", 403),
        (String::new(), "todo:read", 403),
        (call("list").replace("}}", ",\"name\":\"add\"}}"), "todo:read", 403),
        (call("list").replace("\"id\"", "\"method\":\"tools/list\",\"id\""), "", 403),
        (format!("{}{}", call("list"), " ".repeat(1000)), "todo:read", 403),
        (format!("{}{}", call("list"), " ".repeat(1000)), all, 200),
    ] {
        let response = world.post(&world.token(granted, |_| {}), body.clone(), &[]).await;
        assert_eq!(response.status(), status, "{granted:?} {body:.200}");
        if status == 200 {
            assert_eq!(response.text(), body, "the very bytes");
        } else {
            assert!(matches!(
                response.extensions().get(),
                Some(ScopeRejection::Insufficient { .. })
            ));
            assert!(response.header("www-authenticate").unwrap().contains(METADATA));
        }
    }
    let listing = world.post(&world.token("", |_| {}), call("list"), &[]).await;
    assert_eq!(listing.json()["scope"], "todo:read");
    let unclear = world.post(&world.token("", |_| {}), "[]", &[]).await;
    let scope = unclear.json()["scope"].as_str().unwrap().to_owned();
    let mut scopes: Vec<_> = scope.split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["docs:read", "todo:read", "todo:write"]);
}

#[tokio::test]
async fn headers_allow_nothing_that_the_body_does_not() {
    let world = mcp_world();
    let reader = world.token("todo:read", |_| {});
    let list = ("mcp-method", "tools/list");
    let call_list = [("mcp-method", "tools/call"), ("mcp-name", "list")];
    for (body, headers, status) in [
        (call("list"), &call_list[..], 200),
        (call("list"), &[("mcp-method", "tools/call")], 200),
        (call("add"), &call_list, 403),
        (call("add"), &[list], 403),
        // Contradictions are rejected in both directions.
        (call("list"), &[list], 403),
        (method("tools/list"), &call_list, 403),
        (call("list"), &[("mcp-name", "list")], 403),
        (call("list"), &[call_list[0], call_list[0], call_list[1]], 403),
        (call("list"), &[("content-encoding", "gzip")], 403),
        (call("list"), &[("content-encoding", "identity")], 403),
    ] {
        let response = world.post(&reader, body.clone(), headers).await;
        assert_eq!(response.status(), status, "{headers:?} {body}");
    }
    // A header that is not allowed causes a rejection before the body arrives.
    let never = Body::new(Never);
    let early = [("mcp-method", "tools/call"), ("mcp-name", "add")];
    assert_eq!(world.post(&reader, never, &early).await.status(), StatusCode::FORBIDDEN);
}

/// A body that never arrives.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn requests_without_an_operation_require_only_a_principal() {
    let world = World::with(|app| {
        app.layer(
            RequireMcpScope::new()
                .tool("list", ["todo:read"])
                .default_tool_scopes(["todo:admin"])
                .method("tools/call", ["mcp"])
                .default_method_scopes(["mcp"]),
        )
    });
    for (body, granted, status) in [
        (call("list"), "", 403),
        (call("list"), "todo:read", 403),
        (call("list"), "todo:read mcp", 200),
        (call("add"), "todo:read mcp", 403),
        (call("add"), "todo:admin mcp", 200),
        (method("initialize"), "", 403),
        (method("initialize"), "mcp", 200),
    ] {
        let response = world.post(&world.token(granted, |_| {}), body.clone(), &[]).await;
        assert_eq!(response.status(), status, "{granted:?} {body}");
    }
    // All scopes of the operation in one step, also if a header contains half of it.
    for headers in [&[][..], &[("mcp-method", "tools/call")]] {
        let response = world.post(&world.token("", |_| {}), call("list"), headers).await;
        assert_eq!(response.json()["scope"], "mcp todo:read");
        assert_eq!(response.header("access-control-expose-headers"), Some("www-authenticate"));
    }
    let authorization = format!("Bearer {}", world.token("", |_| {}));
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        for (body, status) in [
            (Body::empty(), 200),
            (Body::from_stream(stream::empty::<Result<Bytes, Infallible>>()), 200),
            (Body::from(call("list")), 403),
            (Body::from("no message"), 403),
        ] {
            let mut request = request(method.clone(), "/mcp", &[("authorization", &authorization)]);
            *request.body_mut() = body;
            assert_eq!(send(&world.app, request).await.status(), status, "{method}");
        }
        // Messages of a WebSocket cannot be read; HTTP/2 carries requests.
        for (upgrade, status) in [("websocket", 403), ("h2c", 200), ("h2c, websocket", 403)] {
            let headers = [("authorization", authorization.as_str()), ("upgrade", upgrade)];
            let request = request(method.clone(), "/mcp", &headers);
            assert_eq!(send(&world.app, request).await.status(), status, "{method} {upgrade}");
        }
        let without_token = request(method.clone(), "/mcp", &[]);
        assert_eq!(send(&world.app, without_token).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(RequireMcpScope::new().tool("a", ["b c"]).validate().is_err());
}

#[tokio::test]
async fn the_scope_hierarchy_applies_to_all_requirements_in_any_order_of_configuration() {
    let admin = ScopeHierarchy::new().implies("todo:admin", ["todo:write"]).unwrap();
    for first in [true, false] {
        let world = World::with(|app| {
            let layer = RequireMcpScope::new().tool("list", ["todo:read"]);
            let layer = if first { layer.scope_hierarchy(&admin) } else { layer };
            let layer = layer.tool("add", ["todo:write"]);
            app.layer(if first { layer } else { layer.scope_hierarchy(&admin) })
        });
        for (granted, body, headers, status) in [
            ("todo:admin", call("add"), &[][..], 200),
            ("todo:admin", call("list"), &[], 403),
            ("todo:admin todo:read", call("add"), &[("content-encoding", "identity")], 200),
            ("todo:admin", call("add"), &[("content-encoding", "identity")], 403),
        ] {
            let response = world.post(&world.token(granted, |_| {}), body, headers).await;
            assert_eq!(response.status(), status, "{first} {granted}");
        }
    }
}

#[tokio::test]
async fn task_names_in_headers_must_match_the_body() {
    let world = mcp_world();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t"}});
    for (name, status) in [("t", 200), ("other", 403)] {
        let headers = [("mcp-method", "tasks/get"), ("mcp-name", name)];
        let token = world.token("todo:read", |_| {});
        let response = world.post(&token, body.to_string(), &headers).await;
        assert_eq!(response.status(), status);
    }
}
