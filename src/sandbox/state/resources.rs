//! MCP resources.

use std::collections::BTreeMap;

use url::Url;

use crate::sandbox::state::clients::Clients;
use crate::sandbox::state::ids::new_id;

/// The first resource of every sandbox.
pub(crate) const SEEDED_ID: &str = "res_123456789";

/// The `iss` of a resource's tokens. Scalekit is moving from one to the other, so servers have to
/// accept both.
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
    /// Creates a resource without scopes and without a server URL.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), scopes: Vec::new(), url: None }
    }

    /// Sets the scopes of the resource. Default: none.
    pub fn scopes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.scopes = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the URL of its server, which is in the `aud` of its tokens in addition to the
    /// resource's ID.
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
pub(crate) struct Resource {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    /// Of its server. Tokens contain the first one.
    pub(crate) urls: Vec<String>,
    /// The login page of its users, instead of the hosted one.
    pub(crate) own_login: Option<OwnLoginPage>,
}

impl Resource {
    /// Whether a `resource` parameter (RFC 8707) matches. URLs are compared as URLs: clients write
    /// `https://mcp.test` and `https://mcp.test/` for the same server.
    pub(crate) fn is_indicated_by(&self, indicator: &str) -> bool {
        indicator == self.id
            || Url::parse(indicator).is_ok_and(|indicated| {
                self.urls.iter().any(|url| Url::parse(url).is_ok_and(|url| url == indicated))
            })
    }
}

/// The application's own login page of a resource.
#[derive(Clone, Debug)]
pub(crate) struct OwnLoginPage {
    /// `conn_…`
    pub(crate) connection_id: String,
    pub(crate) url: Url,
}

impl OwnLoginPage {
    pub(crate) fn new(url: Url) -> Self {
        Self { connection_id: new_id("conn"), url }
    }
}

/// The resources and their clients.
#[derive(Debug)]
pub(crate) struct Resources {
    all: BTreeMap<String, Resource>,
    pub(crate) issuer_form: ResourceIssuer,
    pub(crate) clients: Clients,
}

impl Resources {
    pub(crate) fn seeded() -> Self {
        let todo_list = Resource {
            id: SEEDED_ID.to_owned(),
            name: "Todo list".to_owned(),
            scopes: ["todo:read", "todo:write"].map(str::to_owned).to_vec(),
            urls: Vec::new(),
            own_login: None,
        };
        Self {
            all: BTreeMap::from([(todo_list.id.clone(), todo_list)]),
            issuer_form: ResourceIssuer::default(),
            clients: Clients::default(),
        }
    }

    /// Adds a resource and returns its ID.
    pub(crate) fn add(&mut self, new: NewResource) -> String {
        let id = new_id("res");
        self.all.insert(
            id.clone(),
            Resource {
                id: id.clone(),
                name: new.name,
                scopes: new.scopes,
                urls: new.url.into_iter().collect(),
                own_login: None,
            },
        );
        id
    }

    /// Registers the resource with this ID and these URLs, and adds these scopes to it.
    #[cfg(feature = "reqwest")]
    pub(crate) fn register(&mut self, id: &str, urls: Vec<String>, scopes: &[String]) {
        let resource = self.all.entry(id.to_owned()).or_insert_with(|| Resource {
            id: id.to_owned(),
            name: "MCP server".to_owned(),
            scopes: Vec::new(),
            urls: Vec::new(),
            own_login: None,
        });
        resource.urls = urls;
        for scope in scopes {
            if !resource.scopes.contains(scope) {
                resource.scopes.push(scope.clone());
            }
        }
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Resource> {
        self.all.get_mut(id)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Resource> {
        self.all.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.all.values()
    }
}
