//! `/api/v1/organizations/{organization_id}/domains`

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::{
    ApiErrorResponse, ApiRequest, ApiResult, parse, respond, respond_with_info, timestamp,
};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::domains::{ALLOWED_EMAIL_DOMAIN, Domain, ORGANIZATION_DOMAIN};
use crate::sandbox::state::webhook_envelope::ENVIRONMENT_ID;

/// "Public and disposable domains are automatically blocked": some of them.
const PUBLIC_DOMAINS: [&str; 4] = ["gmail.com", "icloud.com", "outlook.com", "yahoo.com"];

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    let ["organizations", organization, "domains", rest @ ..] = request.resource else {
        return None;
    };
    Some(respond(match (request.method, rest) {
        (&Method::GET, []) => list(state, organization, query),
        (&Method::POST, []) => {
            return Some(respond_with_info(create(state, organization, body)));
        }
        (&Method::GET, [id]) => {
            known_domain(state, organization, id).map(|domain| json!({ "domain": details(domain) }))
        }
        (&Method::DELETE, [id]) => delete(state, organization, id),
        _ => return None,
    }))
}

/// By pages with numbers.
fn list(state: &State, organization: &str, query: &Parameters) -> ApiResult {
    let [Ok(size), Ok(page)] =
        ["page_size", "page_number"].map(|name| query.get(name).map_or(Ok(0), str::parse::<usize>))
    else {
        return Err(ApiErrorResponse::invalid("page_size or page_number is not a number"));
    };
    let size = if size == 0 { 30 } else { size.min(100) };
    known_organization(state, organization)?;
    let domains: Vec<_> = state
        .domains_of(organization)
        .filter(|domain| query.admits("domain_type", Some(domain.domain_type)))
        .skip(page.saturating_mul(size))
        .take(size)
        .map(details)
        .collect();
    Ok(json!({ "page_number": page, "page_size": domains.len(), "domains": domains }))
}

fn create(state: &mut State, organization: &str, body: &[u8]) -> ApiResult {
    #[derive(Deserialize)]
    struct Body {
        domain: String,
        #[serde(default)]
        domain_type: Option<String>,
    }
    let body: Body = parse::body(body, "the body is not a domain")?;
    let domain_type = match body.domain_type.as_deref() {
        None | Some(ORGANIZATION_DOMAIN) => ORGANIZATION_DOMAIN,
        Some(ALLOWED_EMAIL_DOMAIN) => ALLOWED_EMAIL_DOMAIN,
        Some(_) => return Err(ApiErrorResponse::invalid("domain_type is unknown")),
    };
    let name = body.domain.to_ascii_lowercase();
    if !name.contains('.')
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        || PUBLIC_DOMAINS.contains(&name.as_str())
    {
        return Err(ApiErrorResponse::invalid("domain is not the domain of a company"));
    }
    known_organization(state, organization)?;
    if state.domains.iter().any(|known| known.domain == name) {
        return Err(ApiErrorResponse::invalid("the domain exists"));
    }
    let domain = Domain::new(organization, &name, domain_type, state.now);
    let response = json!({ "domain": details(&domain) });
    state.add_domain(domain);
    Ok(response)
}

fn delete(state: &mut State, organization: &str, id: &str) -> ApiResult {
    known_domain(state, organization, id)?;
    state.remove_domain(id);
    Ok(json!({}))
}

fn known_domain<'s>(state: &'s State, organization: &str, id: &str) -> ApiResult<&'s Domain> {
    known_organization(state, organization)?;
    parse::id(id, "dom_", "id must start with dom_")?;
    state
        .domains
        .iter()
        .find(|domain| domain.id == id && domain.organization_id == organization)
        .ok_or(ApiErrorResponse::not_found("domain not found"))
}

/// `domainsDomain`
fn details(domain: &Domain) -> Value {
    json!({
        "id": domain.id,
        "domain": domain.domain,
        "domain_type": domain.domain_type,
        "organization_id": domain.organization_id,
        "environment_id": ENVIRONMENT_ID,
        "verification_method": match domain.domain_type {
            ORGANIZATION_DOMAIN => "DNS",
            _ => "NOT_APPLICABLE",
        },
        "verification_status": domain.status,
        "create_time": timestamp(domain.made_at),
        "update_time": timestamp(domain.changed_at),
    })
}
