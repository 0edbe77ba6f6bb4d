use std::collections::HashSet;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use url::form_urlencoded;

use super::ReturnTo;
use super::answer::{AuthFailure, redirect};
use super::attempt::Attempt;
use super::route::{Route, route_service};
use crate::oauth::{AuthorizationRequest, is_error_code};
use crate::telemetry;

/// Starts logins: `GET /login`. Made by [`Sessions::login`](crate::Sessions::login).
///
/// * `return_to` is where the person goes afterwards: a path of this app, else it is ignored.
/// * `error` is how the environment tells that a login it started has failed: 400.
/// * Any other parameter goes on to the environment's authorization endpoint: the documented ones
///   (`organization_id`, `connection_id`, `login_hint`, `domain_hint`, `provider`, `prompt`) and
///   those of its invitations, which are not; at most twenty of at most 2 KiB each. Never forwarded
///   are those that make the login secure.
#[derive(Clone, Debug)]
pub struct Login(Route);

/// What this service decides itself, or what means nothing at the authorization endpoint.
const NOT_FORWARDED: [&str; 26] = [
    "claims",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "domain",
    "dpop_jkt",
    "error",
    "error_description",
    "id_token_hint",
    "idp_initiated_login",
    "iss",
    "max_age",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_mode",
    "response_type",
    "return_to",
    "scope",
    "state",
    "target_link_uri",
];
const MAX_FORWARDED: usize = 20;
const MAX_FORWARDED_BYTES: usize = 2048;

impl Login {
    pub(super) async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        self.start(&request).unwrap_or_else(|failure| self.0.refuse(failure, &request, []))
    }

    fn start(&self, request: &Request<()>) -> Result<Response<Bytes>, AuthFailure> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(AuthFailure::MethodNotAllowed { allow: "GET, HEAD" });
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        if let Some(error) = query.error {
            let code = Some(error).filter(|error| is_error_code(error));
            telemetry::login_failed("login_refused", code.as_deref());
            return Err(AuthFailure::EnvironmentRefused { code });
        }
        let scalekit = self.0.sessions.scalekit();
        let misconfigured = |error: &(dyn std::error::Error + 'static)| {
            telemetry::internal_error("login", error);
            AuthFailure::Misconfigured
        };
        let return_to = self.own_page(query.return_to.as_deref());
        let attempt = Attempt::start(return_to, scalekit.clock().now())
            .map_err(|error| misconfigured(&error))?;
        let cookies = attempt.keep(&self.0.sessions, request.headers());
        let cookies = cookies.ok_or(AuthFailure::Misconfigured)?;

        let mut authorization = AuthorizationRequest::new(self.0.sessions.redirect_uri())
            .scopes(self.0.sessions.scopes());
        for (name, value) in query.forwarded {
            authorization = authorization.parameter(name, value);
        }
        let url = scalekit.authorization_url(&attempt.tie(authorization));
        Ok(redirect(StatusCode::FOUND, url.as_str(), cookies))
    }

    /// The page to return to, unless it is none of ours or would lead around in a circle.
    fn own_page(&self, wanted: Option<&str>) -> ReturnTo {
        let sessions = &self.0.sessions;
        let circle = [
            sessions.login_path(),
            sessions.logout_path(),
            sessions.refresh_path(),
            sessions.callback_path(),
        ];
        wanted
            .and_then(ReturnTo::parse)
            .filter(|page| !circle.iter().any(|path| page.is_path(path)))
            .unwrap_or_else(ReturnTo::root)
    }
}

route_service!(Login);

/// What the address of a login asks for.
#[derive(Debug, Default)]
struct Query {
    return_to: Option<String>,
    error: Option<String>,
    forwarded: Vec<(String, String)>,
}

impl Query {
    /// Of a parameter that stands there twice, the first counts.
    fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        let mut seen = HashSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() || !seen.insert(name.clone()) {
                continue;
            }
            match &*name {
                "return_to" => parsed.return_to = Some(value.into_owned()),
                "error" => parsed.error = Some(value.into_owned()),
                name if NOT_FORWARDED.contains(&name) => {}
                name => {
                    let fits = name.len() <= MAX_FORWARDED_BYTES
                        && value.len() <= MAX_FORWARDED_BYTES
                        && parsed.forwarded.len() < MAX_FORWARDED;
                    if fits {
                        parsed.forwarded.push((name.to_owned(), value.into_owned()));
                    }
                }
            }
        }
        parsed
    }
}
