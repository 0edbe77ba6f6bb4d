//! `/api/v1/organizations/{organization_id}/domains`

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::organizations::known_organization;
use super::{ApiErrorResponse, ApiResult, checked, respond, timestamp};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::domains::{ALLOWED_EMAIL_DOMAIN, Domain, ORGANIZATION_DOMAIN};
use crate::sandbox::state::webhook_envelope::ENVIRONMENT_ID;

/// "Public and disposable domains are automatically blocked": some of them.
const PUBLIC_DOMAINS: [&str; 4] = ["gmail.com", "icloud.com", "outlook.com", "yahoo.com"];

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    Some(respond(match (request.method(), resource) {
        (&Method::GET, ["organizations", organization, "domains"]) => {
            list(environment, organization, request)
        }
        (&Method::POST, ["organizations", organization, "domains"]) => {
            let created = create(environment, organization, request);
            let rejected = |rejected: ApiErrorResponse| rejected.info_response();
            return Some(created.map_or_else(rejected, |body| respond(Ok(body))));
        }
        (&Method::GET, ["organizations", organization, "domains", id]) => {
            let state = environment.lock();
            known_domain(&state, organization, id)
                .map(|domain| json!({ "domain": details(domain) }))
        }
        (&Method::DELETE, ["organizations", organization, "domains", id]) => {
            let mut state = environment.lock();
            known_domain(&state, organization, id).map(|domain| domain.id.clone()).map(|id| {
                state.remove_domain(&id);
                json!({})
            })
        }
        _ => return None,
    }))
}

/// By pages with numbers.
fn list(environment: &Environment, organization: &str, request: &Request<Bytes>) -> ApiResult {
    let query = Parameters::from_query(request);
    let number = |name: &str| query.get(name).map_or(Ok(0), str::parse::<usize>);
    let (Ok(size), Ok(page)) = (number("page_size"), number("page_number")) else {
        return Err(ApiErrorResponse::invalid("page_size or page_number is not a number"));
    };
    let size = if size == 0 { 30 } else { size.min(100) };
    let domain_type = query.get("domain_type");
    let state = environment.lock();
    known_organization(&state, organization)?;
    let domains: Vec<_> = state
        .domains_of(organization)
        .filter(|domain| domain_type.is_none_or(|wanted| domain.domain_type == wanted))
        .skip(page.saturating_mul(size))
        .take(size)
        .map(details)
        .collect();
    Ok(json!({ "page_number": page, "page_size": domains.len(), "domains": domains }))
}

fn create(environment: &Environment, organization: &str, request: &Request<Bytes>) -> ApiResult {
    #[derive(Deserialize)]
    struct Body {
        domain: String,
        #[serde(default)]
        domain_type: Option<String>,
    }
    let body: Body = serde_json::from_slice(request.body())
        .map_err(|_| ApiErrorResponse::invalid("the body is not a domain"))?;
    let domain_type = match body.domain_type.as_deref() {
        None | Some(ORGANIZATION_DOMAIN) => ORGANIZATION_DOMAIN,
        Some(ALLOWED_EMAIL_DOMAIN) => ALLOWED_EMAIL_DOMAIN,
        Some(_) => return Err(ApiErrorResponse::invalid("domain_type is unknown")),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let name = body.domain.to_ascii_lowercase();
    if !name.contains('.') || !name.bytes().all(fits) || PUBLIC_DOMAINS.contains(&name.as_str()) {
        return Err(ApiErrorResponse::invalid("domain is not the domain of a company"));
    }
    let now = environment.now();
    let mut state = environment.lock();
    known_organization(&state, organization)?;
    if state.domains.iter().any(|known| known.domain == name) {
        return Err(ApiErrorResponse::invalid("the domain exists"));
    }
    let domain = Domain::new(organization, &name, domain_type, now);
    let response = json!({ "domain": details(&domain) });
    state.add_domain(domain);
    Ok(response)
}

fn known_domain<'s>(
    state: &'s State,
    organization: &str,
    id: &str,
) -> Result<&'s Domain, ApiErrorResponse> {
    known_organization(state, organization)?;
    let id = checked(id, "dom_", "id must start with dom_")?;
    let is_meant = |domain: &&Domain| domain.id == id && domain.organization_id == organization;
    let domain = state.domains.iter().find(is_meant);
    domain.ok_or(ApiErrorResponse::not_found("domain not found"))
}

/// `domainsDomain`
fn details(domain: &Domain) -> Value {
    let is_routed = domain.domain_type == ORGANIZATION_DOMAIN;
    json!({
        "id": domain.id,
        "domain": domain.domain,
        "domain_type": domain.domain_type,
        "organization_id": domain.organization_id,
        "environment_id": ENVIRONMENT_ID,
        "verification_method": if is_routed { "DNS" } else { "NOT_APPLICABLE" },
        "verification_status": domain.status,
        "create_time": timestamp(domain.made_at),
        "update_time": timestamp(domain.changed_at),
    })
}
