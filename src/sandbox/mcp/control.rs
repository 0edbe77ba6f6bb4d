//! Controls of MCP resources.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::sandbox::state::resources::{NewResource, ResourceIssuer, SEEDED_ID};

impl Sandbox {
    /// The resource every sandbox starts with, "Todo list": what to set as `MCP_RESOURCE_ID`. Its
    /// scopes are `todo:read` and `todo:write`, and it has no server URL until one is
    /// [set](Self::set_resource_url).
    #[must_use]
    pub fn resource_id(&self) -> String {
        SEEDED_ID.to_owned()
    }

    /// Adds a resource and gives its id (`res_…`).
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewResource, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// let notes = NewResource::new("Notes").scopes(["notes:read"]).url("https://notes.test/mcp");
    /// assert!(sandbox.add_resource(notes).starts_with("res_"));
    /// ```
    pub fn add_resource(&self, resource: impl Into<NewResource>) -> String {
        self.environment.lock().resources.add(resource.into())
    }

    /// Registers the URL of the resource's server; tokens issued from now on have it in their
    /// `aud`, in these very characters. Says whether there is such a resource.
    pub fn set_resource_url(&self, id: &str, url: &str) -> bool {
        let mut state = self.environment.lock();
        let resource = state.resources.get_mut(id);
        resource.map(|resource| resource.url = Some(url.to_owned())).is_some()
    }

    /// Which `iss` the tokens of resources carry from now on.
    pub fn resource_issuer_form(&self, form: ResourceIssuer) {
        self.environment.lock().resources.issuer_form = form;
    }

    /// Registers what a URL serves, which makes that URL the id of a client at every resource: a
    /// client-id metadata document. The URL is `https` and has a path; for tests, `http` on
    /// loopback does too. A later document replaces an earlier one.
    ///
    /// The sandbox fetches nothing from anywhere. A document that was not registered here does not
    /// exist for it: the client action a page that says `invalid_client_metadata_url`. The document
    /// is judged when it is used: its `client_id` must be the URL, its `redirect_uris` such as a
    /// client may register, and it may name no secret.
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let url = "https://editor.test/client.json";
    /// let document = json!({
    ///     "client_id": url,
    ///     "client_name": "Editor",
    ///     "redirect_uris": ["http://127.0.0.1/callback"],
    ///     "grant_types": ["authorization_code", "refresh_token"],
    ///     "token_endpoint_auth_method": "none",
    /// });
    /// sandbox.client_metadata_document(url, document);
    /// ```
    pub fn client_metadata_document(&self, url: &str, document: Value) {
        self.environment.lock().resources.clients.publish(url, document);
    }
}
