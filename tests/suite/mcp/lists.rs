//! Lists without what a token does not allow.

use futures::StreamExt as _;

use super::*;

/// A server that sends these headers and pieces of a body, whatever the request.
fn server(headers: &[(&'static str, &'static str)], pieces: Vec<Bytes>) -> World {
    let headers = headers.to_vec();
    let respond = move || {
        let (headers, pieces) = (headers.clone(), pieces.clone());
        async move {
            let pieces = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
            let mut response = Response::new(Body::from_stream(pieces));
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
    };
    World::with(|_| Router::new().route("/mcp", any(respond)).layer(layer()))
}

fn layer() -> RequireMcpScope {
    RequireMcpScope::new()
        .tool("list", ["todo:read"])
        .tool("add", ["todo:write"])
        .tool_roles("purge", ["owner"])
        .tool_condition("beta", |principal: &Principal| {
            principal.raw_claims().get("beta").is_some_and(|beta| beta == true)
        })
        .method("resources/read", ["docs:read"])
        .filter_lists()
}

fn json_server(body: &str) -> World {
    server(
        &[("content-type", "application/json"), ("content-length", "7")],
        vec![body.to_owned().into()],
    )
}

const TOOLS: &str = concat!(
    r#"{ "jsonrpc":"2.0", "id":1 ,"result":{"resultType":"complete","tools":["#,
    r#"{"name":"list","inputSchema":{"z":1.0,"a":12345678901234567890123}}, {"name":"add"},"#,
    r#"{"name":"purge"},{"n\u0061me":"beta"} ,{"name":"other"}],"nextCursor":"c","ttlMs":5,"#,
    r#""cacheScope":"public"}}"#
);

const TOOLS_OF_A_READER: &str = concat!(
    r#"{ "jsonrpc":"2.0", "id":1 ,"result":{"resultType":"complete","tools":["#,
    r#"{"name":"list","inputSchema":{"z":1.0,"a":12345678901234567890123}}],"#,
    r#""nextCursor":"c","ttlMs":5,"cacheScope":"private"}}"#
);

fn names(response: &Response<Bytes>, list: &str) -> Vec<String> {
    let json = response.json();
    assert_eq!(json["result"]["cacheScope"], "private", "{json}");
    let items = json["result"][list].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_shows_what_the_token_may_call_and_is_private() {
    let world = json_server(TOOLS);
    let reader = world.token("todo:read", |_| {});
    let response = world.post(&reader, method("tools/list"), &[]).await;
    assert_eq!(response.text(), TOOLS_OF_A_READER, "all other bytes stay");
    assert_eq!(response.header("content-length"), None);
    for (scope, roles, beta, expected) in [
        ("", &[][..], false, &[][..]),
        ("todo:write", &[], false, &["add"]),
        ("", &["owner"], true, &["purge", "beta"]),
        // Tools that are not configured require what all others do.
        ("todo:read todo:write", &["owner"], true, &["list", "add", "purge", "beta", "other"]),
    ] {
        let token = world.token(scope, |draft| {
            draft.claims.insert("roles".into(), json!(roles));
            draft.claims.insert("beta".into(), beta.into());
        });
        let response = world.post(&token, method("tools/list"), &[]).await;
        assert_eq!(names(&response, "tools"), expected, "{scope}");
    }
}

#[tokio::test]
async fn other_results_pass_byte_for_byte() {
    for body in [
        r#"{ "jsonrpc":"2.0","id":1, "result":{"content":[{"tools":[{}]}],"tools":{}} }"#,
        r#"{"id":1,"result":{"resources":"none","structuredContent":{"tools":[{"name":"add"}]}}}"#,
        r#"{"id":1,"result":[]}"#,
        r#"{"id":1,"result":{"tools":["add",{"title":"x"},{"name":1}],"prompts":[]}}"#,
        r#"{"id":1,"error":{"code":-32602,"message":"unknown"}}"#,
        "null",
        "",
    ] {
        for status in [StatusCode::OK, StatusCode::ACCEPTED] {
            let world = World::with(|_| {
                let respond =
                    move || async move { (status, [("content-type", "application/json")], body) };
                Router::new().route("/mcp", any(respond)).layer(layer())
            });
            let reader = world.token("todo:read", |_| {});
            let response = world.post(&reader, call("list"), &[]).await;
            assert_eq!((response.status(), response.text().as_str()), (status, body));
        }
    }
    let text = "Accepted";
    let world = World::with(|_| {
        let respond = move || async move { (StatusCode::ACCEPTED, text) };
        Router::new().route("/mcp", any(respond)).layer(layer())
    });
    let reader = world.token("todo:read", |_| {});
    assert_eq!(world.post(&reader, method("tools/list"), &[]).await.text(), text);
    // Other types have no messages, compressed or not.
    let world = server(
        &[("content-type", "text/html"), ("content-encoding", "gzip")],
        vec![TOOLS.to_owned().into()],
    );
    let authorization = format!("Bearer {}", world.token("todo:read", |_| {}));
    let get = request(Method::GET, "/mcp", &[("authorization", &authorization)]);
    let response = send(&world.app, get).await;
    assert_eq!(
        (response.text().as_str(), response.header("content-encoding")),
        (TOOLS, Some("gzip"))
    );
}

#[tokio::test]
async fn a_list_in_the_response_to_another_request_is_filtered() {
    let other = r#"{"method":"notifications/progress","params":{}}"#;
    let stream = format!("data: {other}\n\ndata: {TOOLS}\n\n");
    let filtered = format!("data: {other}\n\ndata: {TOOLS_OF_A_READER}\n\n");
    for (world, expected) in [
        (json_server(TOOLS), TOOLS_OF_A_READER.to_owned()),
        (events(&stream, stream.len()), filtered),
    ] {
        let reader = world.token("todo:read", |_| {});
        for body in [call("list"), method("ping"), method("tools/List")] {
            assert_eq!(world.post(&reader, body, &[]).await.text(), expected);
        }
    }
}

#[tokio::test]
async fn a_list_that_is_malformed_in_the_response_to_another_request_is_an_error() {
    for tools in [
        r#"[{"name":"list"},{"title":"add"}]"#,
        r#"[{"name":"add","name":"list"}]"#,
        r#"[{"name":"\ud800"}]"#,
    ] {
        let world = json_server(&format!(r#"{{"id":1,"result":{{"tools":{tools}}}}}"#));
        let reader = world.token("todo:read", |_| {});
        let response = world.post(&reader, call("list"), &[]).await;
        assert!(response.text().contains("-32603"), "{}", response.text());
    }
}

#[tokio::test]
async fn layers_inside_do_not_compress_what_is_filtered() {
    let respond = async |headers: http::HeaderMap| {
        let encoding = headers.get("accept-encoding").map(|value| value.to_str().unwrap());
        let body = json!({ "id": 1, "result": { "content": [encoding] } }).to_string();
        ([("content-type", "application/json")], body)
    };
    for (layer, encoding) in [(layer(), "identity"), (RequireMcpScope::new(), "gzip")] {
        let world = World::with(|_| Router::new().route("/mcp", any(respond)).layer(layer));
        let reader = world.token("todo:read", |_| {});
        let response = world.post(&reader, call("list"), &[("accept-encoding", "gzip")]).await;
        assert_eq!(response.json()["result"]["content"], json!([encoding]));
    }
}

#[tokio::test]
async fn large_content_passes_and_other_large_messages_are_errors() {
    let filler = "a".repeat(4 << 20);
    let result = |members: &str| format!(r#"{{"id":1,"result":{{{members}}},"jsonrpc":"2.0"}}"#);
    for (message, passes) in [
        (result(&format!(r#""content":["{filler}"],"isError":false"#)), true),
        (result(&format!(r#""_meta":{{"tools":[1]}},"content":["{filler}"]"#)), true),
        (result(&format!(r#""contents":["{filler}"],"ttlMs":5"#)), true),
        (result(&format!(r#""_meta":{{"x":"{filler}"}},"tools":[]"#)), false),
        (result(&format!(r#""content":[],"_meta":{{"x":"{filler}"}},"tools":[]"#)), false),
        (format!(r#"{{"result":{{"content":[]}},"x":"{filler}","id":1}}"#), false),
        (format!(r#"{{"method":"x","params":"{filler}","result":{{"tools":[]}}}}"#), false),
        (result(&format!(r#""nextCursor":"","tools":[],"_meta":"{filler}""#)), false),
        (result(&format!(r#""_meta":{{}},"tools":[{{"name":"{filler}"}}]"#)), false),
        (result(&format!(r#""_meta":"{filler}","tools":[]"#)), false),
        (format!(r#"{{"id":"{filler}","result":{{"tools":[]}}}}"#), false),
        (format!(r#"{{"result":{{}},"result":{{"content":"{filler}"}}}}"#), false),
        (format!(r#"[{{"id":1,"result":{{"content":"{filler}"}}}}]"#), false),
    ] {
        let world = json_server(&message);
        let reader = world.token("todo:read", |_| {});
        let response = world.post(&reader, call("list"), &[]).await;
        assert_eq!(response.text() == message, passes, "{message:.80}");
        assert_eq!(response.text().contains("-32603"), !passes, "{message:.80}");
        let list = world.post(&reader, method("tools/list"), &[]).await;
        assert!(list.text().contains("-32603"), "{message:.80}");

        // The end of the event is recognized in any parts.
        let head = format!("id: 1\ndata: {}", &message[..message.len() - 30]);
        let is_first = message.contains("isError");
        for end in if is_first { &["\n", "\r\n", "\r"][..] } else { &["\n"] } {
            let tail = format!(
                "{}{end}event: message{end}{end}data: {TOOLS}{end}{end}",
                &message[message.len() - 30..],
            );
            let parts = tail.as_bytes().chunks(1).map(Bytes::copy_from_slice);
            let pieces = [head.clone().into()].into_iter().chain(parts).collect();
            let world = server(&[("content-type", "text/event-stream")], pieces);
            let reader = world.token("todo:read", |_| {});
            let response = world.post(&reader, call("list"), &[]).await;
            let passed = format!(
                "{head}{}{end}event: message{end}{end}data: {TOOLS_OF_A_READER}\n\n",
                &message[message.len() - 30..],
            );
            assert_eq!(response.text() == passed, passes, "{end:?} {message:.80}");
            assert_eq!(response.text().contains("-32603"), !passes, "{end:?} {message:.80}");
        }
    }
}

#[tokio::test]
async fn resources_and_prompts_follow_the_methods_that_use_them() {
    for (list_method, list, item, is_restricted) in [
        ("resources/list", "resources", r#"{"uri":"a:b","name":"x"}"#, true),
        (
            "resources/templates/list",
            "resourceTemplates",
            r#"{"uriTemplate":"a:{b}","name":"x"}"#,
            true,
        ),
        ("prompts/list", "prompts", r#"{"name":"x"}"#, false),
    ] {
        let body = format!(r#"{{"id":1,"result":{{"{list}":[{item}]}}}}"#);
        let world = json_server(&body);
        for (scope, is_allowed) in [("docs:read", true), ("todo:read", !is_restricted)] {
            let token = world.token(scope, |_| {});
            let response = world.post(&token, method(list_method), &[]).await;
            assert_eq!(names(&response, list).len(), usize::from(is_allowed), "{list_method}");
        }
    }
}

fn events(text: &str, chunk: usize) -> World {
    let pieces = text.as_bytes().chunks(chunk).map(Bytes::copy_from_slice).collect();
    server(&[("content-type", "text/event-stream; charset=utf-8")], pieces)
}

#[tokio::test]
async fn event_streams_are_filtered_wherever_their_parts_end() {
    let progress = r#"{"method":"notifications/progress","params":{"tools":[{"name":"add"}]}}"#;
    let at = TOOLS.find("\"tools\"").unwrap();
    let (first, second) = TOOLS.split_at(at);
    for end in ["\n", "\r\n", "\r"] {
        let text = [
            ": comment",
            "",
            "id: 0",
            "retry: 3000",
            "data:",
            "",
            &format!("data: {progress}"),
            "",
            "event: message",
            // Of several lines, the client reads one text.
            &format!("data:{first}"),
            "id: 1",
            &format!("data: {second}"),
            "",
            ": keep-alive",
            "",
            "",
        ]
        .join(end);
        let filtered = [
            ": comment",
            "",
            "id: 0",
            "retry: 3000",
            "data:",
            "",
            &format!("data: {progress}"),
            "",
            "",
        ]
        .join(end);
        // A line feed between the two parts is white space.
        let (first, second) = TOOLS_OF_A_READER.split_at(at);
        let list = format!("{first} {second}");
        let list = format!("event: message\nid: 1\ndata: {list}\n\n");
        let expected = format!("{filtered}{list}: keep-alive{end}{end}");
        for chunk in 1..=text.len() {
            let world = events(&text, chunk);
            let reader = world.token("todo:read", |_| {});
            let response = world.post(&reader, method("tools/list"), &[]).await;
            assert_eq!(response.text(), expected, "{end:?} {chunk}");
        }
    }
    // At the start of the stream, clients skip a byte order mark. At its end, some read an event
    // that no blank line completes.
    for text in [format!("\u{feff}data: {TOOLS}\n\n"), format!("data: {TOOLS}")] {
        let world = events(&text, 10);
        let reader = world.token("todo:read", |_| {});
        let response = world.post(&reader, method("tools/list"), &[]).await;
        assert_eq!(response.text(), format!("data: {TOOLS_OF_A_READER}\n\n"));
    }
}

#[tokio::test]
async fn a_resumed_stream_is_filtered() {
    let other = r#"{"id":2,"result":{"content":[]}}"#;
    let batch = format!("[{other},{TOOLS}]");
    let text = format!("data: {TOOLS}\n\ndata: {other}\n\ndata: {batch}\n\n");
    let world = events(&text, text.len());
    let authorization = format!("Bearer {}", world.token("todo:read", |_| {}));
    let headers = [("authorization", authorization.as_str()), ("last-event-id", "1")];
    let batch = format!("[{other},{TOOLS_OF_A_READER}]");
    let expected = format!("data: {TOOLS_OF_A_READER}\n\ndata: {other}\n\ndata: {batch}\n\n");
    // Servers ignore the body of a GET.
    for body in ["", r#"{"jsonrpc":"2.0","method":"ping"}"#] {
        let mut request = request(Method::GET, "/mcp", &headers);
        *request.body_mut() = Body::from(body);
        assert_eq!(send(&world.app, request).await.text(), expected, "{body}");
    }
}

#[tokio::test]
async fn an_event_without_a_message_does_not_end_a_stream() {
    let text = format!("event: endpoint\ndata: /messages?session=1\n\ndata: {TOOLS}\n\n");
    let world = events(&text, text.len());
    let authorization = format!("Bearer {}", world.token("todo:read", |_| {}));
    let request = request(Method::GET, "/mcp", &[("authorization", &authorization)]);
    let expected =
        format!("event: endpoint\ndata: /messages?session=1\n\ndata: {TOOLS_OF_A_READER}\n\n");
    assert_eq!(send(&world.app, request).await.text(), expected);
}

#[tokio::test]
async fn events_pass_as_soon_as_they_are_complete() {
    let world = World::with(|_| {
        let respond = || async {
            let event = Ok::<_, Infallible>(Bytes::from("data: {\"id\":2,\"result\":{}}\n\n"));
            let events = stream::iter([event]).chain(stream::pending());
            let mut response = Response::new(Body::from_stream(events));
            let content_type = "text/event-stream".parse().unwrap();
            response.headers_mut().insert("content-type", content_type);
            response
        };
        Router::new().route("/mcp", any(respond)).layer(layer())
    });
    let authorization = format!("Bearer {}", world.token("todo:read", |_| {}));
    let request = request(Method::GET, "/mcp", &[("authorization", &authorization)]);
    let response = world.app.clone().oneshot(request).await.unwrap();
    let mut pieces = response.into_body().into_data_stream();
    let first = pieces.next().await.unwrap().unwrap();
    assert_eq!(first, "data: {\"id\":2,\"result\":{}}\n\n");
}

#[tokio::test]
async fn a_list_that_cannot_be_filtered_is_an_error() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"The response could not be filtered. See the server's log"}}"#;
    let json = ("content-type", "application/json");
    let large = format!(r#"{{"id":1,"result":{{"tools":[],"a":"{}"}}}}"#, "a".repeat(5 << 20));
    for (headers, body) in [
        (&[json, ("content-encoding", "gzip")][..], TOOLS.to_owned()),
        (&[("content-type", "text/html")], TOOLS.to_owned()),
        (&[], TOOLS.to_owned()),
        (&[json], large.clone()),
        (&[json], TOOLS.replace("]", "")),
        (&[json], TOOLS.replace("\"nextCursor\"", "\"tools\"")),
        (&[json], TOOLS.replace("\"jsonrpc\":\"2.0\"", "\"result\":{}")),
        (&[json], TOOLS.replace("\"name\":\"add\"", "\"name\":\"list\",\"name\":\"add\"")),
        (&[json], TOOLS.replace("\"name\":\"add\"", "\"title\":\"add\"")),
        (&[json], TOOLS.replace("{\"name\":\"add\"}", "\"add\"")),
        (&[json], TOOLS.replace("\"tools\"", "\"Tools\"")),
        (&[json], format!("\u{feff}{TOOLS}")),
        (&[json], format!("{TOOLS}{TOOLS}")),
        (&[json], format!("[{TOOLS}]")),
        (&[json], String::new()),
    ] {
        let world = server(headers, vec![body.clone().into()]);
        let reader = world.token("todo:read", |_| {});
        let response = world.post(&reader, method("tools/list"), &[]).await;
        assert_eq!(response.text(), error, "{headers:?} {body:.80}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("content-encoding"), None);
    }
    // Long IDs are not repeated in errors.
    let world = server(&[("content-type", "text/html")], vec![TOOLS.to_owned().into()]);
    let reader = world.token("todo:read", |_| {});
    let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"tools/list"}}"#, "a".repeat(300));
    for body in [long.as_str(), r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#] {
        let response = world.post(&reader, body.to_owned(), &[]).await;
        assert_eq!(response.text(), error.replace("\"id\":1,", ""), "{body:.80}");
    }
    for text in [
        format!("data: {large}\n\n"),
        "data: no JSON\n\n".to_owned(),
        format!("data: {}\n\n", TOOLS.replace(']', "")),
    ] {
        let world = events(&format!(": first\n\n{text}data: {TOOLS}\n\n"), 64 * 1024);
        let reader = world.token("todo:read", |_| {});
        let response = world.post(&reader, method("tools/list"), &[]).await;
        assert_eq!(response.text(), format!(": first\n\ndata: {error}\n\n"));
    }
    // Errors of the server pass.
    let error = r#"{"id":1,"error":{"code":-32602,"message":"cursor"}}"#;
    let world = json_server(error);
    let reader = world.token("todo:read", |_| {});
    assert_eq!(world.post(&reader, method("tools/list"), &[]).await.text(), error);
}
