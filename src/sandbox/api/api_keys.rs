//! `/api/v1/tokens`: API keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiRequest, ApiResult, parse, respond, timestamp};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::api_keys::ApiKey;

const INVALID: ApiErrorResponse = ApiErrorResponse::not_found("the token is invalid or expired");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    Some(respond(match (request.method, request.resource) {
        (&Method::GET, ["tokens"]) => list(state, query),
        (&Method::POST, ["tokens"]) => create(state, body),
        (&Method::POST, ["tokens:validate"]) => validate(state, body),
        (&Method::POST, ["tokens:invalidate"]) => invalidate(state, body),
        (&Method::POST, ["tokens:update"]) => update(state, body),
        _ => return None,
    }))
}

fn create(state: &mut State, body: &[u8]) -> ApiResult {
    let written = TokenFields::read(body)?;
    known_organization(state, &written.organization_id)?;
    let mut key = ApiKey::new(&written.organization_id, state.now);
    key.user_id = written.user_id.clone().filter(|id| !id.is_empty());
    key.expiry = written
        .expiry
        .as_deref()
        .map(|expiry| OffsetDateTime::parse(expiry, &Rfc3339))
        .transpose()
        .map_err(|_| ApiErrorResponse::invalid("expiry is not RFC 3339"))?;
    written.apply_to(&mut key)?;
    let response = json!({
        "token": key.token,
        "token_id": key.id,
        "token_info": details(state, &key).ok_or(ApiErrorResponse::invalid(
            "the user is not a member of the organization",
        ))?,
    });
    state.api_keys.push(key);
    Ok(response)
}

fn list(state: &State, query: &Parameters) -> ApiResult {
    let page = PageRequest::parse(query, 10, 30)?;
    let organization_id = query.get("organization_id").unwrap_or_default();
    known_organization(state, organization_id)?;
    let found: Vec<_> = state
        .api_keys
        .iter()
        .filter(|key| key.organization_id == organization_id && key.is_valid(state.now))
        .filter(|key| query.admits("user_id", key.user_id.as_deref()))
        .filter_map(|key| Some((key, details(state, key)?)))
        .collect();
    let mut response =
        page.by_id("tokens", &found, |(key, _)| key.id.clone(), |(_, details)| details.clone())?;
    if let Some(members) = response.as_object_mut() {
        members.remove("total_size");
        members.insert("total_count".to_owned(), found.len().into());
    }
    Ok(response)
}

fn validate(state: &State, body: &[u8]) -> ApiResult {
    let named = TokenFields::read(body)?;
    let key = named.valid(state)?;
    Ok(json!({ "token_info": details(state, key).ok_or(INVALID)? }))
}

fn invalidate(state: &mut State, body: &[u8]) -> ApiResult {
    let named = TokenFields::read(body)?;
    for key in &mut state.api_keys {
        key.is_invalid |= key.is_named(&named.token);
    }
    Ok(json!({}))
}

fn update(state: &mut State, body: &[u8]) -> ApiResult {
    let written = TokenFields::read(body)?;
    let id = written.valid(state)?.id.clone();
    let key = state.api_keys.iter_mut().find(|key| key.id == id).ok_or(INVALID)?;
    written.apply_to(key)?;
    let key = key.clone();
    Ok(json!({ "token_info": details(state, &key).ok_or(INVALID)? }))
}

/// `scalekit.v1.tokens.Token`; `None` for a key of a user who is no member any more.
fn details(state: &State, key: &ApiKey) -> Option<Value> {
    let user = match &key.user_id {
        None => None,
        Some(id) => Some(state.users.with_id(id)?.active_at(&key.organization_id)?),
    };
    let user = user.as_ref();
    Some(
        without_nulls(json!({
            "token_id": key.id,
            "organization_id": key.organization_id,
            "organization_external_id":
                state.users.organization(&key.organization_id)?.external_id,
            "user_id": key.user_id,
            "user_external_id": user.and_then(|user| user.external_id.as_deref()),
            "email": user.map(|user| user.email.as_str()),
            "roles": user.map_or(&[][..], |user| user.roles.as_slice()),
            "custom_claims": key.custom_claims,
            "expiry": key.expiry.map(timestamp),
            "created_at": timestamp(key.made_at),
            "description": key.description,
            "token_suffix": key.suffix(),
        }))
        .into(),
    )
}

/// Fields of a request.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenFields {
    /// The key, or its ID.
    token: String,
    organization_id: String,
    user_id: Option<String>,
    custom_claims: BTreeMap<String, String>,
    expiry: Option<String>,
    description: Option<String>,
}

impl TokenFields {
    fn read(body: &[u8]) -> ApiResult<Self> {
        parse::body(body, "the body is not that of this call")
    }

    /// The valid key that is named.
    fn valid<'s>(&self, state: &'s State) -> ApiResult<&'s ApiKey> {
        state
            .api_keys
            .iter()
            .find(|key| key.is_named(&self.token) && key.is_valid(state.now))
            .ok_or(INVALID)
    }

    fn apply_to(self, key: &mut ApiKey) -> ApiResult<()> {
        for (name, value) in self.custom_claims {
            if !(1..=30).contains(&name.chars().count()) || value.chars().count() > 256 {
                return Err(ApiErrorResponse::invalid("a claim is too long"));
            }
            match value.as_str() {
                "" => drop(key.custom_claims.remove(&name)),
                _ => drop(key.custom_claims.insert(name, value)),
            }
        }
        if key.custom_claims.len() > 20 {
            return Err(ApiErrorResponse::invalid("there are more than twenty claims"));
        }
        if let Some(description) = self.description {
            if description.chars().count() > 255 {
                return Err(ApiErrorResponse::invalid("description is too long"));
            }
            key.description = Some(description).filter(|text| !text.is_empty());
        }
        Ok(())
    }
}
