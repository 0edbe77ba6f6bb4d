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
        "error": "insufficient_scope", "message": "Required scope todo:write",
        "error_description": "Required scope todo:write", "scope": "todo:read todo:write",
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
        // Batches.
        (format!("[{}]", method("tools/list")), "todo:read todo:write", 403),
        (format!("[{}]", method("tools/list")), all, 200),
    ] {
        let response = world.post(&world.token(granted, |_| {}), body.clone(), &[]).await;
        assert_eq!(response.status(), status, "{granted:?} {body:.200}");
        if status == 200 {
            assert_eq!(response.text(), body, "the very bytes");
        } else {
            assert!(matches!(
                error(&response),
                McpError::Scope(ScopeRejection::Insufficient { .. })
            ));
            assert!(response.header("www-authenticate").unwrap().contains(METADATA));
        }
    }
    let listing = world.post(&world.token("", |_| {}), call("list"), &[]).await;
    let body = json!({
        "jsonrpc": "2.0", "id": 1,
        "error": {
            "code": 403, "message": "Required scope todo:read",
            "data": {"error": "insufficient_scope", "scope": "todo:read"},
        },
    });
    assert_eq!(listing.json(), body);
    let batch = world.post(&world.token("", |_| {}), "[]", &[]).await;
    let scope = batch.json()["error"]["data"]["scope"].as_str().unwrap().to_owned();
    let mut scopes: Vec<_> = scope.split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["docs:read", "todo:read", "todo:write"]);
}

fn error(response: &Response<Bytes>) -> &McpError {
    response.extensions().get::<McpRejection>().unwrap().error()
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_rejected_whatever_the_token() {
    let world = mcp_world();
    let revision = ("mcp-protocol-version", "2025-06-18");
    for granted in ["todo:read", "todo:read todo:write docs:read"] {
        let token = world.token(granted, |_| {});
        for (body, headers, status, code, id) in [
            (String::new(), &[][..], 400, -32700, None),
            ("{".to_owned(), &[], 400, -32700, None),
            ("no JSON".to_owned(), &[], 400, -32700, None),
            ("null".to_owned(), &[], 400, -32700, None),
            (format!("\u{feff}{}", call("list")), &[], 400, -32700, None),
            (call("list").replace("}}", ",\"name\":\"add\"}}"), &[], 400, -32600, Some(1)),
            (call("list").replace("\"name\"", "\"Name\""), &[], 400, -32600, Some(1)),
            ("{\"jsonrpc\":\"2.0\",\"id\":1}".to_owned(), &[], 400, -32600, Some(1)),
            (format!("[{}]", method("tools/list")), &[revision], 400, -32600, None),
            (format!("{}{}", call("list"), " ".repeat(1000)), &[], 413, 413, None),
            (call("list"), &[("content-encoding", "gzip")], 415, 415, None),
        ] {
            let response = world.post(&token, body.clone(), headers).await;
            assert_eq!(response.status(), status, "{body:.80}");
            let answer = response.json();
            assert_eq!(answer["error"]["code"], code, "{body:.80}");
            assert_eq!(answer.get("id").and_then(Value::as_i64), id, "{body:.80}");
            assert_eq!(response.header("www-authenticate"), None);
            assert_eq!(response.header("content-type"), Some("application/json"));
            if status == 415 {
                assert_eq!(response.header("accept-encoding"), Some("identity"));
            }
        }
    }
}

#[tokio::test]
async fn headers_that_do_not_match_the_body_are_named() {
    let world = mcp_world();
    let reader = world.token("todo:read", |_| {});
    let current = ("mcp-protocol-version", "2026-07-28");
    let earlier = ("mcp-protocol-version", "2025-11-25");
    let (call_tool, list_tools) = (("mcp-method", "tools/call"), ("mcp-method", "tools/list"));
    let list = ("mcp-name", "list");
    for (body, headers) in [
        (call("list"), &[call_tool, list][..]),
        (call("list"), &[call_tool]),
        (call("list"), &[current, call_tool, list]),
        (call("list"), &[current, ("mcp-method", " tools/call "), ("mcp-name", " list ")]),
        (call("list"), &[earlier]),
        (method("tools/list"), &[current, list_tools]),
        (method("initialize"), &[current]),
    ] {
        let response = world.post(&reader, body.clone(), headers).await;
        assert_eq!(response.status(), StatusCode::OK, "{headers:?}");
        assert_eq!(response.text(), body);
    }
    for (body, headers, message) in [
        (call("list"), &[list_tools][..], "mcp-method does not match the body"),
        (call("add"), &[call_tool, list], "mcp-name does not match the body"),
        (call("list"), &[("mcp-method", "TOOLS/CALL")], "mcp-method does not match the body"),
        (call("list"), &[call_tool, call_tool, list], "mcp-method does not match the body"),
        (method("tools/list"), &[call_tool, list], "mcp-method does not match the body"),
        (call("list"), &[current], "mcp-method is missing"),
        (call("list"), &[current, call_tool], "mcp-name is missing"),
        (
            call("list"),
            &[current, call_tool, ("mcp-name", "List")],
            "mcp-name does not match the body",
        ),
        (method("tools/list"), &[current], "mcp-method is missing"),
    ] {
        let response = world.post(&reader, body, headers).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{headers:?}");
        let message = format!("Header mismatch: {message}");
        let error = json!({"code": -32020, "message": message});
        assert_eq!(response.json(), json!({"jsonrpc": "2.0", "id": 1, "error": error}));
        assert_eq!(response.header("www-authenticate"), None);
    }
    // Headers alone decide nothing: the body of another tool needs its scopes.
    let response = world.post(&reader, call("add"), &[call_tool]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    // A token that is not sufficient for any operation does not make the layer read an encoded body.
    let encoded = world.post(&reader, never(), &[("content-encoding", "gzip")]).await;
    assert_eq!(encoded.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn what_cannot_be_requested_is_rejected_without_a_challenge() {
    let world = World::with(|app| {
        app.layer(
            RequireMcpScope::new()
                .tool("list", ["todo:read"])
                .tool("remove", ["todo:write"])
                .tool_permissions("remove", ["todos:remove"])
                .tool_roles("remove", ["editor"])
                .tool("export", ["todo:read"])
                .tool_condition("export", |principal: &Principal| {
                    principal.raw_claims().get("plan").is_some_and(|plan| plan == "enterprise")
                }),
        )
    });
    let claims = |scope: &str, permissions: &[&str], roles: &[&str], plan: &str| {
        world.token(scope, |draft| {
            draft.claims.insert("permissions".into(), json!(permissions));
            draft.claims.insert("roles".into(), json!(roles));
            draft.claims.insert("plan".into(), plan.into());
        })
    };
    let all = claims("todo:read todo:write", &["todos:remove"], &["editor"], "enterprise");
    for tool in ["list", "remove", "export", "other"] {
        assert_eq!(world.post(&all, call(tool), &[]).await.status(), StatusCode::OK, "{tool}");
    }
    for (token, tool, lacks, scope) in [
        (claims("", &[], &[], ""), "remove", "permission todos:remove", None),
        (claims("", &["todos:remove"], &[], ""), "remove", "role editor", None),
        (
            claims("", &["todos:remove"], &["editor"], ""),
            "remove",
            "scope todo:write",
            Some("todo:write"),
        ),
        (
            claims("todo:read", &[], &[], "free"),
            "export",
            "claims that meet the condition of this tool",
            None,
        ),
        (claims("", &[], &[], "enterprise"), "export", "scope todo:read", Some("todo:read")),
        // Tools that are not configured require what all others do.
        (
            claims("todo:read todo:write", &[], &[], "enterprise"),
            "other",
            "permission todos:remove",
            None,
        ),
    ] {
        let response = world.post(&token, call(tool), &[]).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{tool} {lacks}");
        let error = &response.json()["error"];
        assert_eq!(error["message"], format!("Required {lacks}"));
        assert_eq!(error["data"].get("scope").and_then(Value::as_str), scope);
        assert_eq!(response.header("www-authenticate").is_some(), scope.is_some(), "{lacks}");
    }
}

/// A body that never arrives.
fn never() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
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
        assert_eq!(response.json()["error"]["data"]["scope"], "mcp todo:read");
        assert_eq!(response.header("access-control-expose-headers"), Some("www-authenticate"));
    }
    let authorization = format!("Bearer {}", world.token("", |_| {}));
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        for (body, status) in [
            (Body::empty(), 200),
            (Body::from_stream(stream::empty::<Result<Bytes, Infallible>>()), 200),
            (Body::from(call("list")), 403),
            (Body::from("no message"), 400),
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
            ("todo:admin", call("add"), &[], 200),
            ("todo:admin", call("list"), &[], 403),
            ("todo:admin todo:read", format!("[{}]", call("add")), &[], 200),
            ("todo:admin", format!("[{}]", call("add")), &[], 403),
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
    for (name, status) in [("t", 200), ("other", 400)] {
        let headers = [("mcp-method", "tasks/get"), ("mcp-name", name)];
        let token = world.token("todo:read", |_| {});
        let response = world.post(&token, body.to_string(), &headers).await;
        assert_eq!(response.status(), status);
    }
}
