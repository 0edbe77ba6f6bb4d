//! `GET /oauth/authorize`, of the environment and of resources: validates and starts an
//! authorization request.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::hosted_login::connection_selection::ConnectionSelection;
use crate::sandbox::hosted_login::{consent, login, own_login};
use crate::sandbox::oauth::client_auth;
use crate::sandbox::pages::Screen;
use crate::sandbox::parameters::{Parameters, session_cookies};
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{
    AuthorizationError, AuthorizationRequest, Invited, OAuthClient, Reply, SCOPES, SignedIn,
};
use crate::sandbox::{pages, redirect_uri};

/// Starts a sign-in at the environment, or at a resource.
pub(crate) fn authorize(
    environment: &Environment,
    request: &Request<Bytes>,
    resource_id: Option<&str>,
) -> Response<Bytes> {
    let parameters = Parameters::from_query(request);
    let mut state = environment.lock();
    // Until client and redirect URI are valid, there is no redirect.
    let (client, reply) = match trusted(environment, &state, &parameters, resource_id) {
        Ok(trusted) => trusted,
        Err(reason) => {
            return pages::problem(
                StatusCode::BAD_REQUEST,
                "The sign-in request is invalid",
                &reason,
            );
        }
    };
    let only_sso = environment.settings.modular_sso && client.at.is_none();
    Prompt::parse(&parameters)
        .and_then(|prompt| {
            let authorization = parse(client, reply.clone(), &parameters, &state, only_sso)?;
            sign_in(&mut state, request, authorization, prompt)
        })
        .unwrap_or_else(|rejected| redirect(StatusCode::FOUND, &reply.error(&rejected)))
}

/// Continues with the user who is signed in in the browser, or with a login page.
fn sign_in(
    state: &mut State,
    request: &Request<Bytes>,
    authorization: AuthorizationRequest,
    prompt: Prompt,
) -> Result<Response<Bytes>, AuthorizationError> {
    let own_page = authorization.client.at.as_ref().and_then(|at| at.resource.own_login.clone());
    let signed_in = state
        .session_of(session_cookies(request))
        .filter(|_| own_page.is_none())
        .filter(|_| !prompt.wants_page(&authorization))
        .and_then(|(id, user)| Some((id, authorization.member(&user)?)))
        .filter(|(id, user)| {
            let may_switch = authorization.connection_id.is_none()
                || state.has_authenticated(id, &user.organization_id);
            may_switch && user.membership.is_active()
        });
    match (signed_in, own_page) {
        (Some((_, user)), _)
            if prompt == Prompt::None && consent::is_needed(state, &authorization, &user) =>
        {
            Err(AuthorizationError::new(
                "consent_required",
                "the user has not consented to all scopes",
            ))
        }
        (Some((session_id, user)), _) => {
            let signed_in = SignedIn { user, session_id };
            let location = consent::next(state, authorization, signed_in);
            Ok(redirect(StatusCode::FOUND, &location))
        }
        (None, _) if prompt == Prompt::None => {
            Err(AuthorizationError::new("login_required", "no user is signed in in this browser"))
        }
        (None, Some(own)) => Ok(own_login::begin(state, &own, authorization)),
        (None, None) => {
            let screen = if prompt == Prompt::Create { Screen::SignUp } else { Screen::SignIn };
            let transaction = state.open_transaction(authorization.clone(), None);
            Ok(login::page(state, &transaction, &authorization, screen, None))
        }
    }
}

/// Validates the parameters of an authorization request.
fn parse(
    client: OAuthClient,
    reply: Reply,
    parameters: &Parameters,
    state: &State,
    only_sso: bool,
) -> Result<AuthorizationRequest, AuthorizationError> {
    if let Some(name) = parameters.repeated() {
        return Err(AuthorizationError::invalid_request(format!("{name} is repeated")));
    }
    match parameters.get("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(AuthorizationError::new(
                "unsupported_response_type",
                "the only response_type is code",
            ));
        }
        None => return Err(AuthorizationError::invalid_request("response_type is missing")),
    }
    if client.at.as_ref().is_some_and(|at| !at.client.may_use("authorization_code")) {
        return Err(AuthorizationError::new(
            "unauthorized_client",
            "the client did not register the grant type authorization_code",
        ));
    }
    let code_challenge = code_challenge(parameters)?;
    if client.at.is_some() && code_challenge.is_none() {
        return Err(AuthorizationError::invalid_request(
            "code_challenge is missing; PKCE is required",
        ));
    }
    let indicates_resource = client
        .indicates_resource(parameters)
        .map_err(|reason| AuthorizationError::new("invalid_target", reason))?;
    let mut login_hint = parameters.get("login_hint").map(str::to_owned);
    let mut invitation = None;
    let selection = match parameters.get("invitation_token") {
        Some(token) if client.at.is_none() && !only_sso => {
            let user = state.invited(token).ok_or_else(|| {
                AuthorizationError::new("access_denied", "the invitation is unknown or has expired")
            })?;
            let selection = ConnectionSelection::of_invited(&user, state);
            login_hint = Some(user.email);
            invitation = Some(Invited { token: token.to_owned(), user_id: user.id });
            selection
        }
        _ => ConnectionSelection::parse(parameters, state, only_sso)?,
    };
    Ok(AuthorizationRequest {
        reply,
        code_challenge,
        dpop_key: parameters.get("dpop_jkt").map(str::to_owned),
        nonce: parameters.get("nonce").map(str::to_owned),
        login_hint,
        organization_id: selection.organization_id,
        connection_id: selection.connection_id,
        only_sso,
        scopes: granted_scopes(&client, parameters.get("scope")),
        forces_consent: prompts(parameters).any(|word| word == "consent"),
        indicates_resource,
        invitation,
        client,
    })
}

fn prompts(parameters: &Parameters) -> impl Iterator<Item = &str> {
    parameters.get("prompt").unwrap_or_default().split_ascii_whitespace()
}

/// The value of `prompt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prompt {
    /// No `prompt`, or `consent`, which does not concern the sign-in.
    Absent,
    Create,
    Login,
    None,
    SelectAccount,
}

impl Prompt {
    fn parse(parameters: &Parameters) -> Result<Self, AuthorizationError> {
        let mut prompt = Self::Absent;
        for (index, word) in prompts(parameters).enumerate() {
            if prompt == Self::None || (word == "none" && index > 0) {
                return Err(AuthorizationError::invalid_request("prompt=none cannot be combined"));
            }
            prompt = match word {
                "consent" => prompt,
                "create" => Self::Create,
                "login" => Self::Login,
                "none" => Self::None,
                "select_account" => Self::SelectAccount,
                _ => return Err(AuthorizationError::invalid_request("prompt is unknown")),
            };
        }
        Ok(prompt)
    }

    /// Whether the user has to sign in even if the browser is signed in. With an organization,
    /// `select_account` switches to it.
    fn wants_page(self, authorization: &AuthorizationRequest) -> bool {
        match self {
            Self::Create | Self::Login => true,
            Self::SelectAccount => authorization.organization_id.is_none(),
            Self::Absent | Self::None => false,
        }
    }
}

/// The client and its redirect URI, or the reason why there is no redirect.
fn trusted(
    environment: &Environment,
    state: &State,
    parameters: &Parameters,
    resource_id: Option<&str>,
) -> Result<(OAuthClient, Reply), String> {
    for name in ["client_id", "redirect_uri"] {
        if parameters.repeats(name) {
            return Err(format!("The application sent {name} more than once."));
        }
    }
    let client_id = parameters.get("client_id").ok_or("The application sent no client_id.")?;
    let client = client_auth::find(environment, state, resource_id, client_id)?;
    let uri = parameters.get("redirect_uri").ok_or("The application sent no redirect_uri.")?;
    let rejection = match &client.at {
        None => redirect_uri::reason_to_reject(
            uri,
            &state.redirect_uris,
            environment.settings.loopback_redirects,
        ),
        Some(at) if redirect_uri::is_registered(uri, &at.client.metadata.redirect_uris) => None,
        Some(_) => Some("The client did not register it."),
    };
    if let Some(reason) = rejection {
        return Err(format!("The redirect_uri {uri} is not allowed. {reason}"));
    }
    let reply = Reply {
        redirect_uri: uri.to_owned(),
        state: parameters.get("state").filter(|_| !parameters.repeats("state")).map(str::to_owned),
        issuer: client.at.as_ref().map(|at| state.resource_issuer(&at.resource.id)),
    };
    Ok((client, reply))
}

fn code_challenge(parameters: &Parameters) -> Result<Option<String>, AuthorizationError> {
    let Some(challenge) = parameters.get("code_challenge") else {
        return match parameters.get("code_challenge_method") {
            None => Ok(None),
            Some(_) => Err(AuthorizationError::invalid_request("code_challenge is missing")),
        };
    };
    // Without a method RFC 7636 means `plain`, which discloses the verifier.
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(AuthorizationError::invalid_request("code_challenge_method must be S256"));
    }
    if challenge.len() != 43
        || !challenge.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    {
        return Err(AuthorizationError::invalid_request(
            "code_challenge is not a SHA-256 in base64url",
        ));
    }
    Ok(Some(challenge.to_owned()))
}

fn granted_scopes(client: &OAuthClient, requested: Option<&str>) -> Vec<String> {
    let (of_resource, by_default) = match &client.at {
        None => (&[][..], "openid profile email".to_owned()),
        Some(at) => (&at.resource.scopes[..], at.default_scope()),
    };
    let mut granted = Vec::new();
    for scope in requested.unwrap_or(&by_default).split_ascii_whitespace().map(str::to_owned) {
        let is_known = SCOPES.contains(&scope.as_str()) || of_resource.contains(&scope);
        if is_known && !granted.contains(&scope) {
            granted.push(scope);
        }
    }
    granted
}
