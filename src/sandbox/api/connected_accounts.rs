//! `/api/v1/connected_accounts`.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Map, Value, json};
use url::Url;

use super::paging::PageRequest;
use super::{
    ApiErrorResponse, ApiRequest, ApiResult, GrpcCode, created, parse, respond, timestamp,
};
use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{
    Account, AccountSelector, AccountStatus, AddAccountError,
};

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    Some(respond(match (request.method, request.resource) {
        (&Method::GET, ["connected_accounts"]) => list(state, query),
        (&Method::GET, ["connected_accounts:search"]) => search(state, query),
        (&Method::GET, ["connected_accounts", "details"]) => get(state, query, details),
        (&Method::GET, ["connected_accounts", "auth"]) => get(state, query, full),
        (&Method::POST, ["connected_accounts"]) => {
            return Some(created(create(state, body)));
        }
        (&Method::PUT, ["connected_accounts"]) => update(state, body),
        (&Method::POST, ["connected_accounts:delete"]) => delete(state, body),
        (&Method::POST, ["connected_accounts", "magic_link"]) => link(state, body),
        (&Method::POST, ["connected_accounts", "user", "verify"]) => verify(state, body),
        _ => return None,
    }))
}

/// Oldest first.
fn list(state: &State, query: &Parameters) -> ApiResult {
    let names: Vec<_> = query.all("connection_names").collect();
    if names.len() > 20 || (!names.is_empty() && query.get("connector").is_some()) {
        return Err(ApiErrorResponse::invalid(
            "connection_names are at most 20, and not together with connector",
        ));
    }
    let text = query.get("query").map(str::to_lowercase);
    page(state, &PageRequest::parse(query, 10, 100)?, |account| {
        query.admits("connector", Some(&account.connection.name))
            && query.admits("identifier", Some(&account.identifier))
            && query.admits("organization_id", account.organization_id.as_deref())
            && query.admits("user_id", account.user_id.as_deref())
            && query.get("provider").is_none_or(|provider| {
                provider.eq_ignore_ascii_case(account.connection.connector.provider)
            })
            && (names.is_empty() || names.contains(&account.connection.name.as_str()))
            && text.as_ref().is_none_or(|text| account.identifier.to_lowercase().contains(text))
    })
}

fn search(state: &State, query: &Parameters) -> ApiResult {
    let text = query
        .get("query")
        .filter(|text| text.chars().count() >= 3)
        .ok_or(ApiErrorResponse::invalid("query must have at least 3 characters"))?
        .to_lowercase();
    page(state, &PageRequest::parse(query, 10, 30)?, |account| {
        account.identifier.to_lowercase().contains(&text)
            && query.admits("connection_id", Some(&account.connection.id))
    })
}

fn page(state: &State, page: &PageRequest, is_wanted: impl Fn(&Account) -> bool) -> ApiResult {
    let found: Vec<_> =
        state.connected_accounts.iter().filter(|account| is_wanted(account)).collect();
    page.by_id(
        "connected_accounts",
        &found,
        |account| account.id.clone(),
        |account| summary(account).into(),
    )
}

fn get(
    state: &State,
    query: &Parameters,
    details: impl Fn(&Account) -> Map<String, Value>,
) -> ApiResult {
    let which = selector(|name| query.get(name))?;
    Ok(json!({ "connected_account": details(known(state, &which)?) }))
}

fn create(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let (Some(connector), Some(identifier)) = (text(&body, "connector"), text(&body, "identifier"))
    else {
        return Err(ApiErrorResponse::invalid("connector and identifier are required"));
    };
    let account =
        state.connected_accounts.add(connector, identifier, state.now).map_err(|reason| {
            match reason {
                AddAccountError::NoConnection => no_connection(connector),
                AddAccountError::Exists => ApiErrorResponse::new(
                    GrpcCode::AlreadyExists,
                    format!("{identifier} has a connected account at {connector} already"),
                ),
            }
        })?;
    account.organization_id = text(&body, "organization_id").map(str::to_owned);
    account.user_id = text(&body, "user_id").map(str::to_owned);
    if set_content(account, &body) {
        account.status = AccountStatus::Active;
    }
    let (id, created) = (account.id.clone(), full(account));
    state.emit_account_event(AccountEvent::Created, &id);
    Ok(json!({ "connected_account": created }))
}

fn update(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let which = selector(|name| text(&body, name))?;
    let id = known(state, &which)?.id.clone();
    let has_tokens = state.connected_accounts.with_id_mut(&id).is_some_and(|account| {
        account.updated_at = state.now;
        set_content(account, &body)
    });
    if has_tokens {
        state.set_account_status(&id, AccountStatus::Active);
    }
    state.emit_account_event(AccountEvent::Updated, &id);
    Ok(json!({ "connected_account": full(known(state, &which)?) }))
}

fn delete(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let which = selector(|name| text(&body, name))?;
    let id = known(state, &which)?.id.clone();
    state.emit_account_event(AccountEvent::Deleted, &id);
    state.connected_accounts.remove(&id);
    Ok(json!({}))
}

/// An account whose tokens have expired, or that was disconnected, becomes pending again, if links
/// change its status.
fn link(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let which = selector(|name| text(&body, name))?;
    let user_verify_url = text(&body, "user_verify_url");
    if user_verify_url.is_some_and(|url| {
        !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    }) {
        return Err(ApiErrorResponse::invalid("user_verify_url is not an http or https URL"));
    }
    let account = known(state, &which)?;
    let (id, status) = (account.id.clone(), account.status);
    if matches!(status, AccountStatus::Disconnected | AccountStatus::Expired)
        && !state.connected_accounts.over_until_consent
    {
        state.set_account_status(&id, AccountStatus::PendingAuth);
    }
    let (token, expires_at) = state.connected_accounts.open_link(
        &id,
        user_verify_url.map(str::to_owned),
        text(&body, "state").map(str::to_owned),
        state.now,
    );
    state.emit_account_event(AccountEvent::MagicLinkGenerated, &id);
    Ok(json!({
        "link": format!("{}/magicLink/{token}", state.environment_url),
        "expiry": timestamp(expires_at),
    }))
}

/// The application names the user who has returned.
fn verify(state: &mut State, body: &[u8]) -> ApiResult {
    let body = object(body)?;
    let (Some(id), Some(identifier)) = (text(&body, "auth_request_id"), text(&body, "identifier"))
    else {
        return Err(ApiErrorResponse::invalid("auth_request_id and identifier are required"));
    };
    let flow = state
        .connected_accounts
        .unverified(id, state.now)
        .cloned()
        .ok_or(ApiErrorResponse::not_found("no user verification is pending for this id"))?;
    if known(state, &AccountSelector::Id(flow.account_id.clone()))?.identifier != identifier {
        return Err(ApiErrorResponse::new(
            GrpcCode::PermissionDenied,
            "identifier does not match the connected account",
        ));
    }
    state.connected_accounts.verified(id);
    state.connect_account(&flow.account_id, flow.api_key.as_deref());
    let redirect = state.connected_accounts.verified_redirect.clone().or_else(|| {
        let application = Url::parse(&flow.user_verify_url?).ok()?.origin().ascii_serialization();
        let mut url = Url::parse(&format!("{}/connected", state.environment_url)).ok()?;
        url.query_pairs_mut().append_pair("application", &application);
        Some(url.into())
    });
    Ok(json!({ "post_user_verify_redirect_url": redirect.unwrap_or_default() }))
}

/// Applies the account fields of a request. Returns whether they contain tokens.
fn set_content(account: &mut Account, body: &Map<String, Value>) -> bool {
    let Some(content) = body.get("connected_account") else { return false };
    if let Some(config) = content.get("api_config").and_then(Value::as_object) {
        account.api_config.extend(config.clone());
    }
    let Some(details) = content.get("authorization_details").filter(|value| value.is_object())
    else {
        return false;
    };
    account.authorization_details = details.clone();
    details.get("static_auth").is_some()
        || details
            .pointer("/oauth_token/access_token")
            .and_then(Value::as_str)
            .is_some_and(|token| !token.is_empty())
}

pub(super) fn object(body: &[u8]) -> ApiResult<Map<String, Value>> {
    parse::body(body, "the body is not JSON")
}

pub(super) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn selector<'a>(get: impl Fn(&str) -> Option<&'a str>) -> ApiResult<AccountSelector> {
    if let Some(id) = get("id") {
        return Ok(AccountSelector::Id(id.to_owned()));
    }
    let (Some(connection), Some(identifier)) = (get("connector"), get("identifier")) else {
        return Err(ApiErrorResponse::invalid("id, or connector and identifier are required"));
    };
    Ok(AccountSelector::Of {
        connection: Some(connection.to_owned()),
        identifier: identifier.to_owned(),
        organization_id: get("organization_id").map(str::to_owned),
        user_id: get("user_id").map(str::to_owned),
    })
}

/// The account, or an error that names what is missing.
pub(super) fn known<'s>(state: &'s State, which: &AccountSelector) -> ApiResult<&'s Account> {
    if let Some(account) = state.connected_accounts.get(which) {
        return Ok(account);
    }
    Err(match which {
        AccountSelector::Of { connection: Some(name), .. }
            if state.connected_accounts.connection(name).is_none() =>
        {
            no_connection(name)
        }
        AccountSelector::Of { connection: Some(name), identifier, .. } => ApiErrorResponse::new(
            GrpcCode::NotFound,
            format!("{identifier} has no connected account at {name}"),
        ),
        AccountSelector::Of { identifier, .. } => ApiErrorResponse::new(
            GrpcCode::NotFound,
            format!("{identifier} has no connected account"),
        ),
        AccountSelector::Id(id) => {
            ApiErrorResponse::new(GrpcCode::NotFound, format!("there is no connected account {id}"))
        }
    })
}

fn no_connection(name: &str) -> ApiErrorResponse {
    ApiErrorResponse::new(GrpcCode::NotFound, format!("there is no connection named {name}"))
}

/// `connected_accountsConnectedAccount`
fn full(account: &Account) -> Map<String, Value> {
    let mut details = details(account);
    details.insert("authorization_details".to_owned(), account.authorization_details.clone());
    details
}

/// The same without its credentials.
fn details(account: &Account) -> Map<String, Value> {
    let mut details = summary(account);
    details.insert("api_config".to_owned(), account.api_config.clone().into());
    details
}

/// `connected_accountsConnectedAccountForList`
fn summary(account: &Account) -> Map<String, Value> {
    without_nulls(json!({
        "authorization_type": account.connection.connector.authorization_type(),
        "connection_id": account.connection.id,
        "connector": account.connection.name,
        "id": account.id,
        "identifier": account.identifier,
        "provider": account.connection.connector.provider,
        "status": account.status.as_str(),
        "updated_at": timestamp(account.updated_at),
        "token_expires_at": account.token_expires_at.map(timestamp),
        "last_used_at": account.last_used_at.map(timestamp),
    }))
}
