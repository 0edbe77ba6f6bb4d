//! Clients of resources: registered ones, and those whose ID is the URL of a document.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;
use url::Url;

use crate::http_client::HttpClient;
use crate::sandbox::redirect_uri;
use crate::sandbox::state::ids::{new_id, random_token};
use crate::secret::SecretString;

/// Maximum number of registered clients. More are rejected, because a client that disappears would
/// be confusing.
const MAX_REGISTERED: usize = 1000;

/// Maximum number of fetched documents. Another one replaces the first to expire.
const MAX_FETCHED: usize = 100;

/// Maximum number of redirect URIs of a client.
const MAX_REDIRECT_URIS: usize = 20;

pub(crate) const AUTH_METHODS: [&str; 3] = ["none", "client_secret_post", "client_secret_basic"];

pub(crate) const GRANT_TYPES: [&str; 3] =
    ["authorization_code", "client_credentials", "refresh_token"];

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    registered: HashMap<String, Registered>,
    documents: HashMap<String, Value>,
    /// Fetched documents, or why there is none, with the time of the next fetch.
    fetched: HashMap<String, (Result<Value, String>, OffsetDateTime)>,
    document_client: Option<DocumentClient>,
}

/// Fetches documents.
#[derive(Clone)]
struct DocumentClient(Arc<dyn HttpClient>);

// Manual impl: a client has no Debug.
impl fmt::Debug for DocumentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentClient")
    }
}

#[derive(Debug)]
struct Registered {
    resource_id: String,
    client: Client,
}

impl Clients {
    /// Assigns a client its ID and, unless it is public, its secret. `None` if there are too many.
    pub(crate) fn register(
        &mut self,
        resource_id: &str,
        metadata: ClientMetadata,
    ) -> Option<Client> {
        if self.registered.len() >= MAX_REGISTERED {
            return None;
        }
        let client = Client {
            id: new_id("m2m"),
            secret: (metadata.auth_method != "none").then(|| random_token().into()),
            metadata,
        };
        self.registered.insert(
            client.id.clone(),
            Registered { resource_id: resource_id.to_owned(), client: client.clone() },
        );
        Some(client)
    }

    pub(crate) fn publish(&mut self, url: &str, document: Value) {
        self.documents.insert(url.to_owned(), document);
    }

    /// Whether a client may have the URL of a document as its ID.
    pub(crate) fn has_documents(&self) -> bool {
        !self.documents.is_empty() || self.document_client.is_some()
    }

    pub(crate) fn fetch_documents(&mut self, client: Arc<dyn HttpClient>) {
        self.document_client = Some(DocumentClient(client));
    }

    /// The HTTP client, if the document of this ID has to be fetched.
    pub(crate) fn client_for_document(
        &self,
        client_id: &str,
        now: OffsetDateTime,
    ) -> Option<Arc<dyn HttpClient>> {
        let is_known = self.registered.contains_key(client_id)
            || self.documents.contains_key(client_id)
            || self.fetched.get(client_id).is_some_and(|(_, until)| now < *until);
        let DocumentClient(client) = self.document_client.as_ref()?;
        (!is_known && is_document_url(client_id)).then(|| Arc::clone(client))
    }

    /// Keeps a fetched document until then, and an error until the next request.
    pub(crate) fn fetched(
        &mut self,
        client_id: &str,
        document: Result<Value, String>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) {
        if self.fetched.len() >= MAX_FETCHED && !self.fetched.contains_key(client_id) {
            self.fetched
                .iter()
                .min_by_key(|(_, (_, until))| *until)
                .map(|(id, _)| id.clone())
                .and_then(|first| self.fetched.remove(&first));
        }
        let until = if document.is_ok() { until } else { now };
        self.fetched.insert(client_id.to_owned(), (document, until));
    }

    fn document(&self, client_id: &str) -> Result<&Value, String> {
        match (self.documents.get(client_id), self.fetched.get(client_id)) {
            (Some(document), _) | (None, Some((Ok(document), _))) => Ok(document),
            (None, Some((Err(reason), _))) => Err(format!(
                "invalid_client_metadata_url: there is no document at {client_id}: {reason}."
            )),
            (None, None) => {
                Err(format!("invalid_client_metadata_url: there is no document at {client_id}."))
            }
        }
    }

    /// The resource that a client is registered at.
    pub(crate) fn resource_of(&self, client_id: &str) -> Option<&str> {
        Some(&self.registered.get(client_id)?.resource_id)
    }

    /// A client of a resource, or the error.
    pub(crate) fn find(&self, resource_id: &str, client_id: &str) -> Result<Client, String> {
        match self.registered.get(client_id) {
            Some(known) if known.resource_id == resource_id => Ok(known.client.clone()),
            Some(_) => Err(format!("The client_id {client_id} is unknown at this resource.")),
            None if is_document_url(client_id) => {
                Client::from_document(client_id, self.document(client_id)?).map_err(|reason| {
                    let reason = reason.trim_end_matches('.');
                    format!("The document at {client_id} is invalid: {reason}.")
                })
            }
            None => Err(format!("The client_id {client_id} is unknown.")),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) metadata: ClientMetadata,
    /// Public clients have no secret.
    pub(crate) secret: Option<SecretString>,
}

impl Client {
    /// The client whose ID is the URL of this document, or why it is invalid.
    fn from_document(url: &str, document: &Value) -> Result<Self, &'static str> {
        if document.get("client_id").and_then(Value::as_str) != Some(url) {
            return Err("its client_id is not its URL");
        }
        if document.get("client_secret").is_some() {
            return Err("it has a client_secret, which is public");
        }
        let metadata =
            ClientMetadata::parse(document, "none").map_err(|rejected| rejected.description)?;
        if metadata.auth_method != "none" {
            return Err("token_endpoint_auth_method must be none");
        }
        Ok(Self { id: url.to_owned(), metadata, secret: None })
    }

    /// The registered name.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or(&self.id)
    }

    pub(crate) fn may_use(&self, grant_type: &str) -> bool {
        self.metadata.grant_types.contains(&grant_type)
    }
}

/// Client metadata (RFC 7591, section 2), as far as the sandbox supports it.
#[derive(Clone, Debug)]
pub(crate) struct ClientMetadata {
    pub(crate) name: Option<String>,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) grant_types: Vec<&'static str>,
    pub(crate) auth_method: &'static str,
    /// The default scopes.
    pub(crate) scope: Option<String>,
    /// Whether all its tokens are bound to a key (RFC 9449, section 5.2).
    pub(crate) is_bound: bool,
}

impl ClientMetadata {
    pub(crate) fn parse(
        document: &Value,
        default_auth_method: &'static str,
    ) -> Result<Self, MetadataRejected> {
        if !document.is_object() {
            return Err(MetadataRejected::new("it is not a JSON object"));
        }
        let name = text(document, "client_name", "client_name is not a short text")?;
        let scope = text(document, "scope", "scope is not a short text")?;
        let auth_method =
            text(document, "token_endpoint_auth_method", "token_endpoint_auth_method is not text")?;
        let auth_method = known(&AUTH_METHODS, auth_method.unwrap_or(default_auth_method))
            .ok_or(MetadataRejected::new("token_endpoint_auth_method is not supported"))?;
        let grant_types = grant_types(document)?;
        if grant_types.contains(&"client_credentials") && auth_method == "none" {
            return Err(MetadataRejected::new("client_credentials needs a client secret"));
        }
        let is_bound = match document.get("dpop_bound_access_tokens") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(is_bound)) => *is_bound,
            Some(_) => {
                return Err(MetadataRejected::new("dpop_bound_access_tokens is not a boolean"));
            }
        };
        match texts(document, "response_types") {
            Texts::Absent => {}
            Texts::Present(names) if names.iter().all(|name| *name == "code") => {}
            _ => return Err(MetadataRejected::new("the only response_type is code")),
        }
        Ok(Self {
            name: name.map(str::to_owned),
            redirect_uris: redirect_uris(document, grant_types.contains(&"authorization_code"))?,
            grant_types,
            auth_method,
            scope: scope.map(str::to_owned),
            is_bound,
        })
    }
}

/// The supported grant types that a client requests. RFC 7591 allows a server to register fewer,
/// and clients list many.
fn grant_types(document: &Value) -> Result<Vec<&'static str>, MetadataRejected> {
    let names = match texts(document, "grant_types") {
        Texts::Absent => return Ok(vec!["authorization_code"]),
        Texts::Present(names) => names,
        Texts::Malformed => return Err(MetadataRejected::new("grant_types is not a list")),
    };
    let supported: Vec<_> =
        names.into_iter().filter_map(|name| known(&GRANT_TYPES, name)).collect();
    if !supported.iter().any(|name| matches!(*name, "authorization_code" | "client_credentials")) {
        return Err(MetadataRejected::new(
            "grant_types has neither authorization_code nor client_credentials",
        ));
    }
    Ok(supported)
}

fn redirect_uris(document: &Value, is_required: bool) -> Result<Vec<String>, MetadataRejected> {
    let uris = match texts(document, "redirect_uris") {
        Texts::Absent if is_required => {
            return Err(MetadataRejected::redirect_uri("redirect_uris is missing"));
        }
        Texts::Absent => return Ok(Vec::new()),
        Texts::Present(uris) if is_required && uris.is_empty() => {
            return Err(MetadataRejected::redirect_uri("redirect_uris is empty"));
        }
        Texts::Present(uris) if uris.len() <= MAX_REDIRECT_URIS => uris,
        _ => return Err(MetadataRejected::redirect_uri("redirect_uris is not a short list")),
    };
    match uris.iter().find_map(|uri| redirect_uri::reason_not_to_register(uri)) {
        Some(reason) => Err(MetadataRejected::redirect_uri(reason)),
        None => Ok(uris.into_iter().map(str::to_owned).collect()),
    }
}

/// An error of RFC 7591, section 3.2.2.
#[derive(Debug)]
pub(crate) struct MetadataRejected {
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

impl MetadataRejected {
    fn new(description: &'static str) -> Self {
        Self { error: "invalid_client_metadata", description }
    }

    fn redirect_uri(description: &'static str) -> Self {
        Self { error: "invalid_redirect_uri", description }
    }
}

/// A text of at most 1,000 bytes.
fn text<'a>(
    document: &'a Value,
    name: &str,
    rejection: &'static str,
) -> Result<Option<&'a str>, MetadataRejected> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= 1000 => Ok(Some(text)),
        Some(_) => Err(MetadataRejected::new(rejection)),
    }
}

enum Texts<'a> {
    Absent,
    Malformed,
    Present(Vec<&'a str>),
}

fn texts<'a>(document: &'a Value, name: &str) -> Texts<'a> {
    match document.get(name) {
        None | Some(Value::Null) => Texts::Absent,
        Some(Value::Array(items)) => items
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .map_or(Texts::Malformed, Texts::Present),
        Some(_) => Texts::Malformed,
    }
}

fn known(names: &[&'static str], name: &str) -> Option<&'static str> {
    names.iter().find(|known| **known == name).copied()
}

/// Whether a client ID is the URL of a metadata document: in normal form, so that no two IDs are
/// the same URL.
fn is_document_url(id: &str) -> bool {
    Url::parse(id).is_ok_and(|url| {
        url.as_str() == id
            && (url.scheme() == "https" || redirect_uri::is_loopback(id))
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() != "/"
            && url.fragment().is_none()
    })
}
