//! `/api/v1/organizations/{organization_id}/clients`

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiRequest, ApiResult, created, parse, respond, timestamp};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::machines::{MachineClient, MachineSecret, NewMachineClient};

const UNKNOWN: ApiErrorResponse = ApiErrorResponse::not_found("client not found");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    let ["organizations", organization, "clients", rest @ ..] = request.resource else {
        return None;
    };
    Some(respond(match (request.method, rest) {
        (&Method::GET, []) => list(state, organization, query),
        (&Method::POST, []) => return Some(created(create(state, organization, body))),
        (&Method::GET, [id]) => {
            known_client(state, organization, id).map(|client| json!({ "client": details(client) }))
        }
        (&Method::PATCH, [id]) => change(state, organization, id, |client| {
            ClientFields::read(body)?.apply_to(client);
            Ok(json!({ "client": details(client) }))
        }),
        (&Method::DELETE, [id]) => delete(state, organization, id),
        (&Method::POST, [id, "secrets"]) => {
            let secret = MachineSecret::new(state.now);
            return Some(created(change(state, organization, id, |client| {
                client.secrets.push(secret.clone());
                Ok(json!({
                    "secret": secret_details(&secret),
                    "plain_secret": secret.text.expose(),
                }))
            })));
        }
        (&Method::DELETE, [id, "secrets", secret]) => change(state, organization, id, |client| {
            let before = client.secrets.len();
            client.secrets.retain(|known| known.id != *secret);
            match client.secrets.len() < before {
                true => Ok(json!({})),
                false => Err(ApiErrorResponse::not_found("secret not found")),
            }
        }),
        _ => return None,
    }))
}

fn list(state: &State, organization: &str, query: &Parameters) -> ApiResult {
    let page = PageRequest::parse(query, 10, 100)?;
    known_organization(state, organization)?;
    let found: Vec<_> =
        state.machines.iter().filter(|client| client.organization_id == organization).collect();
    page.by_id("clients", &found, |client| client.id.clone(), |client| details(client))
}

fn create(state: &mut State, organization: &str, body: &[u8]) -> ApiResult {
    let written = ClientFields::read(body)?;
    known_organization(state, organization)?;
    let mut client = MachineClient::new(organization, NewMachineClient::new(), state.now);
    written.apply_to(&mut client);
    let response = json!({ "client": details(&client), "plain_secret": client.secret.expose() });
    state.machines.push(client);
    Ok(response)
}

fn change(
    state: &mut State,
    organization: &str,
    id: &str,
    change: impl FnOnce(&mut MachineClient) -> ApiResult,
) -> ApiResult {
    known_client(state, organization, id)?;
    change(state.machines.iter_mut().find(|client| client.id == id).ok_or(UNKNOWN)?)
}

fn delete(state: &mut State, organization: &str, id: &str) -> ApiResult {
    known_client(state, organization, id)?;
    state.machines.retain(|client| client.id != id);
    Ok(json!({}))
}

fn known_client<'s>(
    state: &'s State,
    organization: &str,
    id: &str,
) -> ApiResult<&'s MachineClient> {
    known_organization(state, organization)?;
    state
        .machines
        .iter()
        .find(|client| client.id == id && client.organization_id == organization)
        .ok_or(UNKNOWN)
}

/// `clientsM2MClient`
fn details(client: &MachineClient) -> Value {
    without_nulls(json!({
        "client_id": client.id,
        "organization_id": client.organization_id,
        "name": client.name,
        "description": client.description,
        "scopes": client.scopes,
        "audience": client.audience,
        "custom_claims": client
            .claims
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect::<Vec<_>>(),
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

#[derive(Deserialize)]
struct CustomClaim {
    key: String,
    value: String,
}

impl ClientFields {
    fn read(body: &[u8]) -> ApiResult<Self> {
        let fields: Self = parse::body(body, "the body is not a client")?;
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
            client.claims =
                claims.into_iter().map(|CustomClaim { key, value }| (key, value)).collect();
        }
        if let Some(expiry) = self.expiry {
            client.lifetime = expiry.parse().ok();
        }
    }
}
