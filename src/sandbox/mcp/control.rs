//! Controls of MCP resources.

use std::sync::Arc;

use serde_json::Value;
use url::Url;

use crate::http_client::HttpClient;
use crate::sandbox::environment::Environment;
use crate::sandbox::state::resources::{NewResource, OwnLoginPage, ResourceIssuer, SEEDED_ID};

/// MCP resources and their clients. Returned by [`Sandbox::mcp`](crate::sandbox::Sandbox::mcp).
#[derive(Clone, Copy, Debug)]
pub struct Mcp<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Mcp<'_> {
    /// The ID of the resource that every sandbox starts with, "Todo list": the value of
    /// `MCP_RESOURCE_ID`. Its scopes are `todo:read` and `todo:write`, and it has no server URL until
    /// [`set_resource_url`](Self::set_resource_url).
    #[must_use]
    pub fn resource_id(&self) -> String {
        SEEDED_ID.to_owned()
    }

    /// Adds a resource and returns its ID (`res_…`).
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewResource, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// let notes = NewResource::new("Notes").scopes(["notes:read"]).url("https://notes.test/mcp");
    /// assert!(sandbox.mcp().add_resource(notes).starts_with("res_"));
    /// ```
    pub fn add_resource(&self, resource: impl Into<NewResource>) -> String {
        self.environment.lock().resources.add(resource.into())
    }

    /// Sets the URL of the resource's server. Tokens issued from now on contain it in their `aud`,
    /// character by character. Returns whether the resource exists.
    pub fn set_resource_url(&self, id: &str, url: &str) -> bool {
        self.environment
            .lock()
            .resources
            .get_mut(id)
            .map(|resource| resource.urls = vec![url.to_owned()])
            .is_some()
    }

    /// Adds a URL of the resource's server: clients may name it as `resource` (RFC 8707), too. Tokens
    /// contain the first URL. Returns whether the resource exists.
    pub fn add_resource_url(&self, id: &str, url: &str) -> bool {
        let mut state = self.environment.lock();
        let Some(resource) = state.resources.get_mut(id) else { return false };
        if !resource.urls.iter().any(|known| known == url) {
            resource.urls.push(url.to_owned());
        }
        true
    }

    /// Registers the resource of the app that has started this sandbox, as its developer would in the
    /// dashboard.
    #[cfg(feature = "reqwest")]
    pub(crate) fn register_resource<'u>(
        &self,
        id: &str,
        urls: impl Iterator<Item = &'u str>,
        scopes: &[String],
    ) {
        let urls = urls.map(str::to_owned).collect();
        self.environment.lock().resources.register(id, urls, scopes);
    }

    /// Sets the application's own login page for the users of a resource ("bring your own auth"), an
    /// absolute URL. Returns the ID of the connection (`conn_…`); `None` if there is no such
    /// resource, or if the URL is not `https` or `http`. Default: the hosted login page.
    ///
    /// Clients are then redirected there, even if the browser is logged in at the environment. The
    /// user is the one whom [`set_user`](crate::api::auth_requests::AuthRequestsApi::set_user) names:
    /// the user with `sub` as external ID, or else with this address, or a new one.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let resource = sandbox.mcp().resource_id();
    /// let connection = sandbox.mcp().set_own_login(&resource, "https://app.example.com/login");
    /// assert!(connection.is_some_and(|id| id.starts_with("conn_")));
    /// ```
    pub fn set_own_login(&self, id: &str, url: &str) -> Option<String> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
        let own_login = OwnLoginPage::new(url);
        let connection_id = own_login.connection_id.clone();
        self.environment.lock().resources.get_mut(id)?.own_login = Some(own_login);
        Some(connection_id)
    }

    /// Sets the `iss` of the tokens of resources. Default: [`ResourceIssuer::Resource`].
    pub fn set_resource_issuer(&self, form: ResourceIssuer) {
        self.environment.lock().resources.issuer_form = form;
    }

    /// Adds the client ID metadata document of a URL, which makes that URL the ID of a client at
    /// every resource. The URL is `https` and has a path; `http` on loopback works too. A later
    /// document replaces an earlier one.
    ///
    /// Without a document, authorization fails with `invalid_client_metadata_url`, unless the sandbox
    /// [fetches](Self::fetch_client_metadata_documents) it. A document is validated when it is used: its
    /// `client_id` must be the URL, its `redirect_uris` must be valid, and it must not contain a secret.
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
    /// sandbox.mcp().add_client_metadata_document(url, document);
    /// ```
    pub fn add_client_metadata_document(&self, url: &str, document: Value) {
        self.environment.lock().resources.clients.publish(url, document);
    }

    /// Fetches the client ID metadata documents of clients that are not known, with this HTTP client. A
    /// document is JSON of at most 5 KiB that arrives within 5 s from its own URL: redirects are not
    /// followed. It is cached for 5 minutes. Default: none is fetched.
    ///
    /// [`Sandbox::log_in`](crate::sandbox::Sandbox::log_in), which is synchronous, fetches none.
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")] {
    /// use tower_scalekit::http_client::ReqwestClient;
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sandbox = Sandbox::new();
    /// sandbox.mcp().fetch_client_metadata_documents(ReqwestClient::new()?);
    /// # Ok(())
    /// # }
    /// # }
    /// ```
    pub fn fetch_client_metadata_documents(&self, client: impl HttpClient) {
        self.environment.lock().resources.clients.fetch_documents(Arc::new(client));
    }
}
