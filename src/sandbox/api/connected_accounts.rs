//! `/api/v1/connected_accounts`.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use super::paging::PageRequest;
use super::timestamp;
use crate::sandbox::connected_accounts::events::AccountEvent;
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::{self, without_nulls};
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{
    Account, AccountSelector, AccountStatus, AddAccountError,
};

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    let outcome = match (request.method(), resource) {
        (&Method::GET, ["connected_accounts"]) => list(environment, request),
        (&Method::GET, ["connected_accounts:search"]) => search(environment, request),
        (&Method::GET, ["connected_accounts", "details"]) => get(environment, request, false),
        (&Method::GET, ["connected_accounts", "auth"]) => get(environment, request, true),
        (&Method::POST, ["connected_accounts"]) => create(environment, request),
        (&Method::PUT, ["connected_accounts"]) => update(environment, request),
        (&Method::POST, ["connected_accounts:delete"]) => delete(environment, request),
        (&Method::POST, ["connected_accounts", "magic_link"]) => link(environment, request),
        (&Method::POST, ["connected_accounts", "user", "verify"]) => verify(environment, request),
        _ => return None,
    };
    Some(match outcome {
        Ok(body) if request.method() == Method::POST && resource == ["connected_accounts"] => {
            respond::json(StatusCode::CREATED, &body)
        }
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejected) => rejected.response(),
    })
}

/// An error with a message about the request.
#[derive(Debug)]
pub(super) struct RejectedRequest {
    status: StatusCode,
    code: u8,
    error_code: &'static str,
    message: String,
}

impl RejectedRequest {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 3, "INVALID_ARGUMENT", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, 5, "NOT_FOUND", message)
    }

    pub(super) fn precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 9, "FAILED_PRECONDITION", message)
    }

    fn new(
        status: StatusCode,
        code: u8,
        error_code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code, error_code, message: message.into() }
    }

    pub(super) fn response(&self) -> Response<Bytes> {
        let detail = json!({
            "@type": "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo",
            "error_code": self.error_code,
        });
        let body = json!({ "code": self.code, "message": self.message, "details": [detail] });
        respond::json(self.status, &body)
    }
}

type Outcome = Result<Value, RejectedRequest>;

/// Oldest first.
fn list(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let query = Parameters::from_query(request);
    let names: Vec<_> = query.all("connection_names").collect();
    if names.len() > 20 || (!names.is_empty() && query.get("connector").is_some()) {
        let message = "connection_names are at most 20, and not together with connector";
        return Err(RejectedRequest::invalid(message));
    }
    let text = query.get("query").map(str::to_lowercase);
    let is = |wanted: Option<&str>, own: Option<&str>| wanted.is_none() || wanted == own;
    page(environment, &query, (10, 100), |account| {
        is(query.get("connector"), Some(&account.connection.name))
            && is(query.get("identifier"), Some(&account.identifier))
            && is(query.get("organization_id"), account.organization_id.as_deref())
            && is(query.get("user_id"), account.user_id.as_deref())
            && query.get("provider").is_none_or(|wanted| {
                wanted.eq_ignore_ascii_case(account.connection.connector.provider)
            })
            && (names.is_empty() || names.contains(&account.connection.name.as_str()))
            && text.as_ref().is_none_or(|text| account.identifier.to_lowercase().contains(text))
    })
}

fn search(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let query = Parameters::from_query(request);
    let text = query
        .get("query")
        .filter(|text| text.chars().count() >= 3)
        .ok_or(RejectedRequest::invalid("query must have at least 3 characters"))?
        .to_lowercase();
    let connection_id = query.get("connection_id");
    page(environment, &query, (10, 30), |account| {
        account.identifier.to_lowercase().contains(&text)
            && connection_id.is_none_or(|id| id == account.connection.id)
    })
}

fn page(
    environment: &Environment,
    query: &Parameters,
    (default_size, max_size): (usize, usize),
    is_wanted: impl Fn(&Account) -> bool,
) -> Outcome {
    let page = PageRequest::parse(query, default_size, max_size)
        .map_err(|_| RejectedRequest::invalid("page_size or page_token is not valid"))?;
    let state = environment.lock();
    let found: Vec<_> =
        state.connected_accounts.iter().filter(|account| is_wanted(account)).collect();
    let start = match &page.from {
        None => 0,
        Some(from) => found
            .iter()
            .position(|account| account.id == *from)
            .ok_or(RejectedRequest::invalid("page_token belongs to another list"))?,
    };
    Ok(page.response(
        "connected_accounts",
        &found,
        start,
        |account| account.id.clone(),
        |account| summary(account).into(),
    ))
}

fn get(environment: &Environment, request: &Request<Bytes>, with_credentials: bool) -> Outcome {
    let query = Parameters::from_query(request);
    let which = which(|name| query.get(name))?;
    let state = environment.lock();
    let account = known(&state, &which)?;
    let details = if with_credentials { full(account) } else { details(account) };
    Ok(json!({ "connected_account": details }))
}

fn create(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let body = body(request)?;
    let text = |name: &str| text(&body, name);
    let (Some(connector), Some(identifier)) = (text("connector"), text("identifier")) else {
        return Err(RejectedRequest::invalid("connector and identifier are required"));
    };
    let now = environment.now();
    let mut state = environment.lock();
    let added = state.connected_accounts.add(connector, identifier, now);
    let account = added.map_err(|reason| match reason {
        AddAccountError::NoConnection => no_connection(connector),
        AddAccountError::Exists => RejectedRequest::new(
            StatusCode::CONFLICT,
            6,
            "ALREADY_EXISTS",
            format!("{identifier} has a connected account at {connector} already"),
        ),
    })?;
    account.organization_id = text("organization_id").map(str::to_owned);
    account.user_id = text("user_id").map(str::to_owned);
    if set_content(account, &body) {
        account.status = AccountStatus::Active;
    }
    let (id, created) = (account.id.clone(), full(account));
    state.emit_account_event(AccountEvent::Created, &id, now);
    Ok(json!({ "connected_account": created }))
}

fn update(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let body = body(request)?;
    let which = which(|name| text(&body, name))?;
    let now = environment.now();
    let mut state = environment.lock();
    let id = known(&state, &which)?.id.clone();
    let which = AccountSelector::Id(id.clone());
    let has_tokens = state.connected_accounts.get_mut(&which).is_some_and(|account| {
        account.updated_at = now;
        set_content(account, &body)
    });
    if has_tokens {
        state.set_account_status(&id, AccountStatus::Active, now);
    }
    state.emit_account_event(AccountEvent::Updated, &id, now);
    Ok(json!({ "connected_account": full(known(&state, &which)?) }))
}

fn delete(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let body = body(request)?;
    let which = which(|name| text(&body, name))?;
    let now = environment.now();
    let mut state = environment.lock();
    let id = known(&state, &which)?.id.clone();
    state.emit_account_event(AccountEvent::Deleted, &id, now);
    state.connected_accounts.remove(&id);
    Ok(json!({}))
}

/// An account whose tokens have expired, or that was disconnected, becomes pending again, if links
/// change its status.
fn link(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let body = body(request)?;
    let which = which(|name| text(&body, name))?;
    let user_verify_url = text(&body, "user_verify_url");
    let is_web =
        |url: &str| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !user_verify_url.is_none_or(is_web) {
        return Err(RejectedRequest::invalid("user_verify_url is not an http or https URL"));
    }
    let now = environment.now();
    let mut state = environment.lock();
    let account = known(&state, &which)?;
    let (id, status) = (account.id.clone(), account.status);
    let is_over = matches!(status, AccountStatus::Disconnected | AccountStatus::Expired);
    if is_over && !state.connected_accounts.over_until_consent {
        state.set_account_status(&id, AccountStatus::PendingAuth, now);
    }
    let (user_verify_url, given) =
        (user_verify_url.map(str::to_owned), text(&body, "state").map(str::to_owned));
    let (token, expires_at) = state.connected_accounts.open_link(&id, user_verify_url, given, now);
    state.emit_account_event(AccountEvent::MagicLinkGenerated, &id, now);
    let link = format!("{}/magicLink/{token}", state.environment_url);
    Ok(json!({ "link": link, "expiry": timestamp(expires_at) }))
}

/// The application names the user who has returned.
fn verify(environment: &Environment, request: &Request<Bytes>) -> Outcome {
    let body = body(request)?;
    let (Some(id), Some(identifier)) = (text(&body, "auth_request_id"), text(&body, "identifier"))
    else {
        return Err(RejectedRequest::invalid("auth_request_id and identifier are required"));
    };
    let now = environment.now();
    let mut state = environment.lock();
    let flow = state
        .connected_accounts
        .unverified(id, now)
        .cloned()
        .ok_or(RejectedRequest::not_found("no user verification is pending for this id"))?;
    let account = known(&state, &AccountSelector::Id(flow.account_id.clone()))?;
    if account.identifier != identifier {
        let message = "identifier does not match the connected account";
        return Err(RejectedRequest::new(StatusCode::FORBIDDEN, 7, "PERMISSION_DENIED", message));
    }
    state.connected_accounts.verified(id);
    state.connect_account(&flow.account_id, flow.api_key.as_deref(), now);
    let application = flow.user_verify_url.and_then(|url| Url::parse(&url).ok());
    let redirect = state.connected_accounts.verified_redirect.clone().or_else(|| {
        let mut url = Url::parse(&format!("{}/connected", state.environment_url)).ok()?;
        let application = application?.origin().ascii_serialization();
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
    let details = content.get("authorization_details").filter(|details| details.is_object());
    let token = details.and_then(|details| details.pointer("/oauth_token/access_token"));
    let is_static = details.is_some_and(|details| details.get("static_auth").is_some());
    if let Some(details) = details {
        account.authorization_details = details.clone();
    }
    is_static || token.and_then(Value::as_str).is_some_and(|token| !token.is_empty())
}

pub(super) fn body(request: &Request<Bytes>) -> Result<Map<String, Value>, RejectedRequest> {
    serde_json::from_slice(request.body())
        .map_err(|_| RejectedRequest::invalid("the body is not JSON"))
}

pub(super) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn which<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<AccountSelector, RejectedRequest> {
    if let Some(id) = get("id") {
        return Ok(AccountSelector::Id(id.to_owned()));
    }
    let (Some(connection), Some(identifier)) = (get("connector"), get("identifier")) else {
        return Err(RejectedRequest::invalid("id, or connector and identifier are required"));
    };
    Ok(AccountSelector::Of {
        connection: Some(connection.to_owned()),
        identifier: identifier.to_owned(),
        organization_id: get("organization_id").map(str::to_owned),
        user_id: get("user_id").map(str::to_owned),
    })
}

/// The account, or an error that names what is missing.
pub(super) fn known<'s>(
    state: &'s State,
    which: &AccountSelector,
) -> Result<&'s Account, RejectedRequest> {
    if let Some(account) = state.connected_accounts.get(which) {
        return Ok(account);
    }
    Err(match which {
        AccountSelector::Of { connection: Some(name), .. }
            if state.connected_accounts.connection(name).is_none() =>
        {
            no_connection(name)
        }
        AccountSelector::Of { connection: Some(name), identifier, .. } => {
            RejectedRequest::not_found(format!("{identifier} has no connected account at {name}"))
        }
        AccountSelector::Of { identifier, .. } => {
            RejectedRequest::not_found(format!("{identifier} has no connected account"))
        }
        AccountSelector::Id(id) => {
            RejectedRequest::not_found(format!("there is no connected account {id}"))
        }
    })
}

fn no_connection(name: &str) -> RejectedRequest {
    RejectedRequest::not_found(format!("there is no connection named {name}"))
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
