//! `GET /oauth/authorize`, of the environment and of resources: validates and starts an
//! authorization request.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use time::OffsetDateTime;

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
    let back_with_error =
        |rejected: AuthorizationError| redirect(StatusCode::FOUND, &reply.error(&rejected));
    let prompt = match Prompt::parse(&parameters) {
        Ok(prompt) => prompt,
        Err(rejected) => return back_with_error(rejected),
    };
    let only_sso = environment.settings.modular_sso && client.at.is_none();
    let now = environment.now();
    let authorization = match parse(client, reply.clone(), &parameters, &state, only_sso, now) {
        Ok(authorization) => authorization,
        Err(rejected) => return back_with_error(rejected),
    };
    let at_resource = authorization.client.at.as_ref();
    let own_page = at_resource.and_then(|at| at.resource.own_login.clone());
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
    match signed_in {
        Some((_, user))
            if prompt == Prompt::None && consent::is_needed(&state, &authorization, &user) =>
        {
            back_with_error(AuthorizationError::new(
                "consent_required",
                "the user has not consented to all scopes",
            ))
        }
        Some((session_id, user)) => {
            let signed_in = SignedIn { user, session_id };
            redirect(StatusCode::FOUND, &consent::next(&mut state, authorization, signed_in, now))
        }
        None if prompt == Prompt::None => back_with_error(AuthorizationError::new(
            "login_required",
            "no user is signed in in this browser",
        )),
        None => {
            if let Some(own) = &own_page {
                return own_login::begin(&mut state, own, authorization, now);
            }
            let screen = if prompt == Prompt::Create { Screen::SignUp } else { Screen::SignIn };
            let transaction = state.open_transaction(authorization.clone(), None, now);
            login::page(&state, &transaction, &authorization, screen, None)
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
    now: OffsetDateTime,
) -> Result<AuthorizationRequest, AuthorizationError> {
    if let Some(name) = parameters.repeated() {
        return Err(AuthorizationError::invalid_request(format!("{name} is repeated")));
    }
    match parameters.get("response_type") {
        Some("code") => {}
        Some(_) => {
            let reason = "the only response_type is code";
            return Err(AuthorizationError::new("unsupported_response_type", reason));
        }
        None => return Err(AuthorizationError::invalid_request("response_type is missing")),
    }
    if client.at.as_ref().is_some_and(|at| !at.client.may_use("authorization_code")) {
        let reason = "the client did not register the grant type authorization_code";
        return Err(AuthorizationError::new("unauthorized_client", reason));
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
    let token = parameters.get("invitation_token").filter(|_| client.at.is_none() && !only_sso);
    let invited =
        token.map(|token| state.invited(token, now).ok_or_else(expired_invitation)).transpose()?;
    let selection = match &invited {
        Some(user) => ConnectionSelection::of_invited(user, state),
        None => ConnectionSelection::parse(parameters, state, only_sso)?,
    };
    let text = |name: &str| parameters.get(name).map(str::to_owned);
    let mut prompts = parameters.get("prompt").unwrap_or_default().split_ascii_whitespace();
    Ok(AuthorizationRequest {
        reply,
        code_challenge,
        dpop_key: text("dpop_jkt"),
        nonce: text("nonce"),
        login_hint: invited.as_ref().map(|user| user.email.clone()).or_else(|| text("login_hint")),
        organization_id: selection.organization_id,
        connection_id: selection.connection_id,
        only_sso,
        scopes: granted_scopes(&client, parameters.get("scope")),
        asks_again: prompts.any(|word| word == "consent"),
        indicates_resource,
        invitation: token
            .zip(invited)
            .map(|(token, user)| Invited { token: token.to_owned(), user_id: user.id }),
        client,
    })
}

fn expired_invitation() -> AuthorizationError {
    AuthorizationError::new("access_denied", "the invitation is unknown or has expired")
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
        let words = parameters.get("prompt").unwrap_or_default().split_ascii_whitespace();
        let mut prompt = Self::Absent;
        for (index, word) in words.enumerate() {
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
    let sent_state = parameters.get("state").filter(|_| !parameters.repeats("state"));
    let reply = Reply {
        redirect_uri: uri.to_owned(),
        state: sent_state.map(str::to_owned),
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
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(base64url) {
        return Err(AuthorizationError::invalid_request(
            "code_challenge is not a SHA-256 in base64url",
        ));
    }
    Ok(Some(challenge.to_owned()))
}

fn granted_scopes(client: &OAuthClient, asked: Option<&str>) -> Vec<String> {
    let of_resource = client.at.as_ref().map_or(&[][..], |at| &at.resource.scopes);
    let by_default = match &client.at {
        None => "openid profile email".to_owned(),
        Some(at) => at.default_scope(),
    };
    let mut granted = Vec::new();
    for scope in asked.unwrap_or(&by_default).split_ascii_whitespace() {
        let known = SCOPES.contains(&scope) || of_resource.iter().any(|own| own == scope);
        if known && !granted.iter().any(|known| known == scope) {
            granted.push(scope.to_owned());
        }
    }
    granted
}
