//! `/api/v1/organizations/{organization_id}/clients`

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, created, respond, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::machines::{MachineClient, MachineSecret, NewMachineClient};

const UNKNOWN: ApiErrorResponse = ApiErrorResponse::not_found("client not found");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    let ["organizations", organization, "clients", rest @ ..] = resource else { return None };
    Some(match (request.method(), rest) {
        (&Method::GET, []) => respond(list(environment, organization, request)),
        (&Method::POST, []) => created(create(environment, organization, request)),
        (&Method::GET, [id]) => {
            let state = environment.lock();
            let client = known_client(&state, organization, id);
            respond(client.map(|client| json!({ "client": details(client) })))
        }
        (&Method::PATCH, [id]) => respond(change(environment, organization, id, |client| {
            ClientFields::read(request)?.apply_to(client);
            Ok(json!({ "client": details(client) }))
        })),
        (&Method::DELETE, [id]) => {
            let mut state = environment.lock();
            let known = known_client(&state, organization, id).map(|client| client.id.clone());
            respond(known.map(|id| {
                state.machines.retain(|client| client.id != id);
                json!({})
            }))
        }
        (&Method::POST, [id, "secrets"]) => {
            let now = environment.now();
            created(change(environment, organization, id, |client| {
                let secret = MachineSecret::new(now);
                let response = json!({ "secret": secret_details(&secret), "plain_secret": secret.text.expose() });
                client.secrets.push(secret);
                Ok(response)
            }))
        }
        (&Method::DELETE, [id, "secrets", secret]) => {
            respond(change(environment, organization, id, |client| {
                let before = client.secrets.len();
                client.secrets.retain(|known| known.id != *secret);
                match client.secrets.len() < before {
                    true => Ok(json!({})),
                    false => Err(ApiErrorResponse::not_found("secret not found")),
                }
            }))
        }
        _ => return None,
    })
}

fn list(environment: &Environment, organization: &str, request: &Request<Bytes>) -> ApiResult {
    let page = PageRequest::parse(&Parameters::from_query(request), 10, 100)?;
    let state = environment.lock();
    known_organization(&state, organization)?;
    let is_listed = |client: &&MachineClient| client.organization_id == organization;
    let found: Vec<_> = state.machines.iter().filter(is_listed).collect();
    let start = match &page.from {
        None => 0,
        Some(from) => found
            .iter()
            .position(|client| client.id == *from)
            .ok_or(ApiErrorResponse::invalid("page_token belongs to another list"))?,
    };
    let id = |client: &&MachineClient| client.id.clone();
    Ok(page.response("clients", &found, start, id, |client| details(client)))
}

fn create(environment: &Environment, organization: &str, request: &Request<Bytes>) -> ApiResult {
    let written = ClientFields::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    known_organization(&state, organization)?;
    let mut client = MachineClient::new(organization, NewMachineClient::new(), now);
    written.apply_to(&mut client);
    let response = json!({ "client": details(&client), "plain_secret": client.secret.expose() });
    state.machines.push(client);
    Ok(response)
}

fn change(
    environment: &Environment,
    organization: &str,
    id: &str,
    change: impl FnOnce(&mut MachineClient) -> ApiResult,
) -> ApiResult {
    let mut state = environment.lock();
    known_client(&state, organization, id)?;
    let client = state.machines.iter_mut().find(|client| client.id == id).ok_or(UNKNOWN)?;
    change(client)
}

fn known_client<'s>(
    state: &'s State,
    organization: &str,
    id: &str,
) -> Result<&'s MachineClient, ApiErrorResponse> {
    known_organization(state, organization)?;
    let is_meant =
        |client: &&MachineClient| client.id == id && client.organization_id == organization;
    state.machines.iter().find(is_meant).ok_or(UNKNOWN)
}

/// `clientsM2MClient`
fn details(client: &MachineClient) -> Value {
    let claims = client.claims.iter().map(|(key, value)| json!({ "key": key, "value": value }));
    without_nulls(json!({
        "client_id": client.id,
        "organization_id": client.organization_id,
        "name": client.name,
        "description": client.description,
        "scopes": client.scopes,
        "audience": client.audience,
        "custom_claims": claims.collect::<Vec<_>>(),
        "expiry": client.lifetime.map(|seconds| seconds.to_string()),
        "secrets": client.secrets.iter().map(secret_details).collect::<Vec<_>>(),
        "is_cimd": false,
        "is_dcr": false,
        "create_time": client.made_at.map(timestamp),
    }))
    .into()
}

/// `clientsClientSecret`
fn secret_details(secret: &MachineSecret) -> Value {
    let text = secret.text.expose();
    json!({
        "id": secret.id,
        "secret_suffix": text.get(text.len().saturating_sub(4)..),
        "create_time": timestamp(secret.made_at),
    })
}

/// `clientsOrganizationClient`
#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientFields {
    name: Option<String>,
    description: Option<String>,
    scopes: Option<Vec<String>>,
    audience: Option<Vec<String>>,
    custom_claims: Option<Vec<CustomClaim>>,
    expiry: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct CustomClaim {
    key: String,
    value: String,
}

impl ClientFields {
    fn read(request: &Request<Bytes>) -> Result<Self, ApiErrorResponse> {
        let fields: Self = serde_json::from_slice(request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not a client"))?;
        if fields.expiry.as_deref().is_some_and(|expiry| expiry.parse::<i64>().is_err()) {
            return Err(ApiErrorResponse::invalid("expiry is not a number"));
        }
        Ok(fields)
    }

    fn apply_to(self, client: &mut MachineClient) {
        client.name = self.name.or_else(|| client.name.take());
        client.description = self.description.or_else(|| client.description.take());
        if let Some(scopes) = self.scopes {
            client.scopes = scopes;
        }
        if let Some(audience) = self.audience {
            client.audience = audience;
        }
        if let Some(claims) = self.custom_claims {
            client.claims = claims
                .into_iter()
                .map(|CustomClaim { key, value }| (key, value))
                .collect::<BTreeMap<_, _>>();
        }
        if let Some(expiry) = self.expiry {
            client.lifetime = expiry.parse().ok();
        }
    }
}
