//! The example `mcp_server`.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::NewUser;

use crate::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn organizations_do_not_see_each_others_todos() {
    let resource = Sandbox::new().mcp().resource_id();
    let server = Watched::start("mcp_server", &[("MCP_RESOURCE_ID", &resource)]).await;
    let sandbox = &server.sandbox;
    let (url, id) = (server.address("/mcp"), sandbox.mcp().resource_id());
    sandbox.mcp().set_resource_url(&id, &url);
    let [one, two] = ["One Ltd", "Two Ltd"].map(|name| sandbox.organizations().add(name, &[]).id);
    for (email, organization) in
        [("ada@one.test", &one), ("bob@one.test", &one), ("eve@two.test", &two)]
    {
        sandbox.users().add(NewUser::new(email).organization_id(organization));
    }
    let call = async |email: &str, call: &'static str| {
        let scopes = ["todo:read", "todo:write"];
        let token = sandbox.tokens().resource_token(email, &id, &scopes);
        let response = server.visitor.call(Method::POST, &url, &token, call).await;
        assert_eq!(response.status(), StatusCode::OK);
        let result: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        result["result"]["content"][0]["text"].as_str().unwrap().to_owned()
    };
    let add = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_todo","arguments":{"title":"Buy milk"}}}"#;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_todos"}}"#;
    call("ada@one.test", add).await;
    assert_eq!(call("bob@one.test", list).await, "Buy milk");
    assert_eq!(call("eve@two.test", list).await, "Nothing to do");
    let other = add.replace("Buy milk", "Sell milk").leak();
    call("eve@two.test", other).await;
    assert_eq!(call("ada@one.test", list).await, "Buy milk");
    assert_eq!(call("eve@two.test", list).await, "Sell milk");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_server_requires_a_token_and_clients_in_browsers_can_use_it() {
    let resource = Sandbox::new().mcp().resource_id();
    let inspector = "https://inspector.test";
    let settings = [("MCP_RESOURCE_ID", resource.as_str()), ("ALLOWED_ORIGINS", inspector)];
    let server = Watched::start("mcp_server", &settings).await;
    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: &'static str| {
        let mut request = Request::builder().method(method).uri(server.address(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.visitor.send(request.body(Bytes::from(body)).unwrap()).await
    };
    let header = |response: &Response<Bytes>, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_ascii_lowercase())
    };
    // Paths that clients try where there is no metadata of another kind.
    for path in ["/.well-known/oauth-authorization-server", "/register", "/favicon.ico", "/"] {
        let response = send(Method::GET, path, &[], "").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let metadata = "/.well-known/oauth-protected-resource";
    for path in ["", "/", "/mcp", "/mcp/"] {
        let response = send(Method::GET, &format!("{metadata}{path}"), &[], "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "access-control-allow-origin").as_deref(), Some("*"));
    }
    let (url, sandbox) = (server.address("/mcp"), &server.sandbox);
    sandbox.mcp().set_resource_url(&resource, &url);
    let token = sandbox.tokens().resource_token_draft("jane@acme.test", &resource, &["todo:read"]);
    let authorization = format!("Bearer {}", sandbox.tokens().sign_draft(&token));
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for path in ["/mcp", "/mcp/"] {
        let preflight = [
            ("origin", inspector),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,mcp-method,mcp-param-region"),
        ];
        let response = send(Method::OPTIONS, path, &preflight, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        let allowed = header(&response, "access-control-allow-headers").unwrap();
        assert_eq!(allowed, "authorization,mcp-method,mcp-param-region");
        let response = send(Method::POST, path, &[("origin", inspector)], list).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let exposed = header(&response, "access-control-expose-headers").unwrap();
        assert!(exposed.contains("www-authenticate") && exposed.contains("mcp-session-id"));
        let port = url.rsplit(':').next().unwrap().trim_end_matches("/mcp");
        let localhost = format!("localhost:{port}");
        for (host, origin, status) in [
            (localhost.as_str(), inspector, StatusCode::OK),
            ("127.0.0.1", "http://localhost:6274", StatusCode::OK),
            ("127.0.0.1", "https://other.test", StatusCode::FORBIDDEN),
            ("rebound.test", inspector, StatusCode::FORBIDDEN),
        ] {
            let headers = [
                ("host", host),
                ("origin", origin),
                ("authorization", authorization.as_str()),
                ("accept", "application/json, text/event-stream"),
                ("content-type", "application/json"),
            ];
            let response = send(Method::POST, path, &headers, list).await;
            assert_eq!(response.status(), status, "{host} {origin}");
            assert_eq!(header(&response, "access-control-allow-origin").as_deref(), Some("*"));
        }
    }
}
