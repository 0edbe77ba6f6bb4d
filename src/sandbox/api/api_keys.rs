//! `/api/v1/tokens`: API keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::organizations::known_organization;
use super::paging::PageRequest;
use super::{ApiErrorResponse, ApiResult, respond, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::api_keys::ApiKey;
use crate::sandbox::state::users::SandboxUser;

const INVALID: ApiErrorResponse = ApiErrorResponse::not_found("the token is invalid or expired");

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    Some(respond(match (request.method(), resource) {
        (&Method::GET, ["tokens"]) => list(environment, request),
        (&Method::POST, ["tokens"]) => create(environment, request),
        (&Method::POST, ["tokens:validate"]) => {
            let state = environment.lock();
            let now = environment.now();
            TokenFields::read(request).and_then(|named| {
                let key = named.valid(&state, now)?;
                Ok(json!({ "token_info": details(&state, key).ok_or(INVALID)? }))
            })
        }
        (&Method::POST, ["tokens:invalidate"]) => invalidate(environment, request),
        (&Method::POST, ["tokens:update"]) => update(environment, request),
        _ => return None,
    }))
}

fn create(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let written = TokenFields::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    known_organization(&state, &written.organization_id)?;
    let mut key = ApiKey::new(&written.organization_id, now);
    key.user_id = written.user_id.clone().filter(|id| !id.is_empty());
    key.expiry = written
        .expiry
        .as_deref()
        .map(|expiry| OffsetDateTime::parse(expiry, &Rfc3339))
        .transpose()
        .map_err(|_| ApiErrorResponse::invalid("expiry is not RFC 3339"))?;
    written.apply_to(&mut key)?;
    let not_a_member = ApiErrorResponse::invalid("the user is not a member of the organization");
    let details = details(&state, &key).ok_or(not_a_member)?;
    let response = json!({ "token": key.token, "token_id": key.id, "token_info": details });
    state.api_keys.push(key);
    Ok(response)
}

fn list(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let query = Parameters::from_query(request);
    let page = PageRequest::parse(&query, 10, 30)?;
    let organization_id = query.get("organization_id").unwrap_or_default();
    let user_id = query.get("user_id");
    let now = environment.now();
    let state = environment.lock();
    known_organization(&state, organization_id)?;
    let found: Vec<_> = state
        .api_keys
        .iter()
        .filter(|key| key.organization_id == organization_id && key.is_valid(now))
        .filter(|key| user_id.is_none_or(|id| key.user_id.as_deref() == Some(id)))
        .filter_map(|key| Some((key, details(&state, key)?)))
        .collect();
    let start = match &page.from {
        None => 0,
        Some(from) => found
            .iter()
            .position(|(key, _)| key.id == *from)
            .ok_or(ApiErrorResponse::invalid("page_token belongs to another list"))?,
    };
    let id = |(key, _): &(&ApiKey, Value)| key.id.clone();
    let mut response = page.response("tokens", &found, start, id, |(_, details)| details.clone());
    if let Some(response) = response.as_object_mut() {
        let count = response.remove("total_size").unwrap_or_default();
        response.insert("total_count".to_owned(), count);
    }
    Ok(response)
}

fn invalidate(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let named = TokenFields::read(request)?;
    let mut state = environment.lock();
    for key in state.api_keys.iter_mut().filter(|key| key.is_named(&named.token)) {
        key.is_invalid = true;
    }
    Ok(json!({}))
}

fn update(environment: &Environment, request: &Request<Bytes>) -> ApiResult {
    let written = TokenFields::read(request)?;
    let now = environment.now();
    let mut state = environment.lock();
    let id = written.valid(&state, now)?.id.clone();
    let key = state.api_keys.iter_mut().find(|key| key.id == id).ok_or(INVALID)?;
    written.apply_to(key)?;
    let key = key.clone();
    Ok(json!({ "token_info": details(&state, &key).ok_or(INVALID)? }))
}

/// `scalekit.v1.tokens.Token`; `None` for a key of a user who is no member any more.
fn details(state: &State, key: &ApiKey) -> Option<Value> {
    let user = match &key.user_id {
        None => None,
        Some(id) => Some(state.users.with_id(id)?.active_at(&key.organization_id)?),
    };
    let user = user.as_ref();
    let organization = state.users.organization(&key.organization_id)?;
    let details = without_nulls(json!({
        "token_id": key.id,
        "organization_id": key.organization_id,
        "organization_external_id": organization.external_id,
        "user_id": key.user_id,
        "user_external_id": user.and_then(|user| user.external_id.as_deref()),
        "email": user.map(|user| user.email.as_str()),
        "roles": user.map_or(&[][..], |user: &SandboxUser| &user.roles),
        "custom_claims": key.custom_claims,
        "expiry": key.expiry.map(timestamp),
        "created_at": timestamp(key.made_at),
        "description": key.description,
        "token_suffix": key.suffix(),
    }));
    Some(details.into())
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
    fn read(request: &Request<Bytes>) -> Result<Self, ApiErrorResponse> {
        serde_json::from_slice(request.body())
            .map_err(|_| ApiErrorResponse::invalid("the body is not that of this call"))
    }

    /// The valid key that is named.
    fn valid<'s>(
        &self,
        state: &'s State,
        now: OffsetDateTime,
    ) -> Result<&'s ApiKey, ApiErrorResponse> {
        let mut keys = state.api_keys.iter();
        keys.find(|key| key.is_named(&self.token) && key.is_valid(now)).ok_or(INVALID)
    }

    fn apply_to(self, key: &mut ApiKey) -> Result<(), ApiErrorResponse> {
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
