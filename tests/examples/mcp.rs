//! The example `mcp_server`.

use http::{Method, StatusCode};
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
        let mut draft = sandbox.tokens().resource_token_draft(email, &id, &scopes);
        let organization = sandbox.users().get(email).unwrap().organization_id;
        draft.claims.insert("oid".to_owned(), organization.into());
        let token = sandbox.tokens().sign_draft(&draft);
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
