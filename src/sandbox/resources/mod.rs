//! MCP resources: each is an authorization server of its own, with clients that register
//! themselves and tokens that are good for it alone.

mod clients;
mod metadata;
mod registration;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::Sandbox;
use super::environment::{Environment, new_id};
use super::router::only;
use super::state::State;
use super::tokens::Binding;
use super::{authorize, respond, token_endpoint};

pub(super) use self::clients::{Client, Clients};

/// The resource every sandbox starts with.
const SEEDED_ID: &str = "res_123456789";

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
        let NewResource { name, scopes, url } = resource.into();
        let resource = Resource { id: new_id("res"), name, scopes, url };
        let id = resource.id.clone();
        self.environment.lock().resources.all.insert(id.clone(), resource);
        id
    }

    /// Registers the URL of the resource's server; tokens issued from now on have it in their
    /// `aud`, in these very characters. Says whether there is such a resource.
    pub fn set_resource_url(&self, id: &str, url: &str) -> bool {
        let mut state = self.environment.lock();
        let resource = state.resources.all.get_mut(id);
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
    /// exist for it: the client meets a page that says `invalid_client_metadata_url`. The document
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

/// Which `iss` the tokens of a resource carry. Scalekit is moving from one to the other, so a
/// server has to take both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceIssuer {
    /// The environment's URL.
    Environment,
    /// `{environment}/resources/{id}`, the `issuer` of the resource's metadata.
    #[default]
    Resource,
}

/// A resource to add.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewResource {
    name: String,
    scopes: Vec<String>,
    url: Option<String>,
}

impl NewResource {
    /// A resource without scopes and without a server URL.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), scopes: Vec::new(), url: None }
    }

    /// What may be done at the resource.
    pub fn scopes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.scopes = names.into_iter().map(Into::into).collect();
        self
    }

    /// The URL of its server. Tokens have it in their `aud` beside the resource's id.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }
}

impl From<&str> for NewResource {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
    url: Option<String>,
}

impl Resource {
    /// Whether a `resource` parameter (RFC 8707) means this one. URLs are compared as URLs:
    /// clients write `https://mcp.test` and `https://mcp.test/` for the same server.
    pub(super) fn is_meant_by(&self, indicator: &str) -> bool {
        let same_url = || {
            let own = Url::parse(self.url.as_deref()?).ok()?;
            Some(Url::parse(indicator).ok()? == own)
        };
        indicator == self.id || same_url() == Some(true)
    }
}

/// The resources and who may ask for tokens for them.
#[derive(Debug)]
pub(super) struct Resources {
    all: BTreeMap<String, Resource>,
    issuer_form: ResourceIssuer,
    pub(super) clients: Clients,
}

impl Resources {
    pub(super) fn seeded() -> Self {
        let todo_list = Resource {
            id: SEEDED_ID.to_owned(),
            name: "Todo list".to_owned(),
            scopes: ["todo:read", "todo:write"].map(str::to_owned).to_vec(),
            url: None,
        };
        Self {
            all: BTreeMap::from([(todo_list.id.clone(), todo_list)]),
            issuer_form: ResourceIssuer::default(),
            clients: Clients::default(),
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Resource> {
        self.all.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.all.values()
    }
}

impl State {
    /// The `issuer` of a resource's metadata.
    pub(super) fn resource_issuer(&self, id: &str) -> String {
        format!("{}/resources/{id}", self.environment_url)
    }

    /// What binds a token to a resource and a client. An id that is unknown is taken as it is: a
    /// test may want to choose it. `indicated` is whether the client named the resource itself.
    pub(super) fn binding(&self, resource_id: &str, client_id: &str, indicated: bool) -> Binding {
        let url = self.resources.get(resource_id).and_then(|resource| resource.url.clone());
        let audience: Vec<_> = url.into_iter().chain([resource_id.to_owned()]).collect();
        Binding {
            issuer: match self.resources.issuer_form {
                ResourceIssuer::Environment => self.environment_url.clone(),
                ResourceIssuer::Resource => self.resource_issuer(resource_id),
            },
            client_id: client_id.to_owned(),
            resource: audience.first().filter(|_| indicated).cloned(),
            audience,
        }
    }
}

/// Answers a request to what stands after `/resources/{id}/`.
pub(super) fn answer(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
    rest: &[&str],
) -> Response<Bytes> {
    match rest {
        ["oauth", "authorize"] if is_known(environment, id) => {
            only(&[Method::GET], request.method(), || {
                authorize::authorize(environment, request, Some(id))
            })
        }
        ["oauth", "token"] => open(environment, request, id, &Method::POST, || {
            token_endpoint::token(environment, request, Some(id))
        }),
        [".well-known", "oauth-authorization-server" | "openid-configuration"] => {
            metadata(environment, request, id)
        }
        _ => not_found(),
    }
}

/// `GET` of the authorization server's metadata, at each of the addresses clients try.
pub(super) fn metadata(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
) -> Response<Bytes> {
    open(environment, request, id, &Method::GET, || metadata::document(environment, id))
}

/// `POST /api/v1/resources/{id}/clients:register`
pub(super) fn register(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
) -> Response<Bytes> {
    open(environment, request, id, &Method::POST, || {
        registration::register(environment, request, id)
    })
}

/// An endpoint that clients in web pages of any origin may use.
fn open(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
    allowed: &Method,
    endpoint: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    respond::readable_everywhere(match request.method() {
        _ if !is_known(environment, id) => not_found(),
        &Method::OPTIONS => respond::preflight(allowed),
        method => only(&[allowed.clone(), Method::OPTIONS], method, endpoint),
    })
}

fn is_known(environment: &Environment, id: &str) -> bool {
    environment.lock().resources.get(id).is_some()
}

fn not_found() -> Response<Bytes> {
    respond::api_error(StatusCode::NOT_FOUND, 5, "Not Found")
}
