//! `GET /oauth/authorize`: who asks for whom, and what is wrong with that.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::environment::Environment;
use super::grants::Grant;
use super::login::{self, Screen};
use super::pages;
use super::parameters::{Parameters, cookies, with_query};
use super::people::{People, User};
use super::redirects;
use super::respond::redirect;
use super::state::State;

/// The cookie of a browser that is signed in here. Cookies ignore ports, so its name must differ
/// from those of the applications that are tried out on the same host.
pub(super) const SESSION_COOKIE: &str = "sandbox_session";

/// The scopes the environment knows; others are left out of what is granted.
pub(super) const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

const PROVIDERS: [&str; 6] = ["google", "microsoft", "github", "gitlab", "linkedin", "salesforce"];

pub(super) fn authorize(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let parameters = Parameters::of_query(request);
    let mut state = environment.lock();
    // Until client and redirect URI are known to be good, nobody is redirected anywhere.
    let redirect_uri = match trusted_redirect_uri(environment, &state, &parameters) {
        Ok(uri) => uri,
        Err(reason) => {
            return pages::problem(StatusCode::BAD_REQUEST, "This sign-in cannot start", &reason);
        }
    };
    let back_with_error = |refused: Refused| {
        let state = (!parameters.repeats("state")).then(|| parameters.get("state")).flatten();
        redirect(StatusCode::FOUND, &refused.location(redirect_uri, state))
    };
    let prompt = match Prompt::parse(&parameters) {
        Ok(prompt) => prompt,
        Err(refused) => return back_with_error(refused),
    };
    let wanted = match AuthorizationRequest::parse(redirect_uri, &parameters, &state.people) {
        Ok(wanted) => wanted,
        Err(refused) => return back_with_error(refused),
    };
    let now = environment.now();
    let signed_in = state
        .session_of(cookies(request, SESSION_COOKIE))
        .filter(|(_, user)| !prompt.wants_page() && wanted.admits(user));
    match signed_in {
        Some((session_id, user)) => {
            let location = wanted.grant(&mut state, &user, session_id, now);
            redirect(StatusCode::FOUND, &location)
        }
        None if prompt == Prompt::None => {
            back_with_error(Refused::new("login_required", "nobody is signed in in this browser"))
        }
        None => {
            let screen = if prompt == Prompt::Create { Screen::SignUp } else { Screen::SignIn };
            let transaction = state.open_transaction(wanted.clone(), now);
            login::page(&state, &transaction, &wanted, screen, None)
        }
    }
}

/// An authorization request that is in order.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) redirect_uri: String,
    pub(super) code_challenge: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) login_hint: Option<String>,
    /// The organization whose users may answer it.
    pub(super) organization_id: Option<String>,
    scopes: Vec<String>,
    state: Option<String>,
}

impl AuthorizationRequest {
    fn parse(
        redirect_uri: &str,
        parameters: &Parameters,
        people: &People,
    ) -> Result<Self, Refused> {
        if let Some(name) = parameters.repeated() {
            return Err(Refused::invalid_request(format!("{name} is there more than once")));
        }
        match parameters.get("response_type") {
            Some("code") => {}
            Some(_) => {
                let reason = "the only response_type is code";
                return Err(Refused::new("unsupported_response_type", reason));
            }
            None => return Err(Refused::invalid_request("response_type is missing")),
        }
        let text = |name: &str| parameters.get(name).map(str::to_owned);
        Ok(Self {
            redirect_uri: redirect_uri.to_owned(),
            code_challenge: code_challenge(parameters)?,
            nonce: text("nonce"),
            login_hint: text("login_hint"),
            organization_id: selected_organization(parameters, people)?,
            scopes: granted_scopes(parameters.get("scope")),
            state: text("state"),
        })
    }

    /// Whether this user may answer the request.
    pub(super) fn admits(&self, user: &User) -> bool {
        self.organization_id.as_ref().is_none_or(|id| *id == user.organization_id)
    }

    /// Where the browser goes with a code.
    pub(super) fn grant(
        &self,
        state: &mut State,
        user: &User,
        session_id: String,
        now: time::OffsetDateTime,
    ) -> String {
        state.touch_session(&session_id, now);
        let grant = Grant::new(user.id.clone(), session_id, self.scopes.clone());
        let code = state.grants.issue_code(self.clone(), grant, now);
        let parameters = [("code", Some(code.as_str())), ("state", self.state.as_deref())];
        with_query(&self.redirect_uri, &parameters)
    }

    /// Where the browser goes without one.
    pub(super) fn refuse(&self, refused: &Refused) -> String {
        refused.location(&self.redirect_uri, self.state.as_deref())
    }
}

/// An error that the application is told by redirect.
#[derive(Debug)]
pub(super) struct Refused {
    error: &'static str,
    description: String,
}

impl Refused {
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, description: description.into() }
    }

    fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    fn location(&self, redirect_uri: &str, state: Option<&str>) -> String {
        let parameters = [
            ("error", Some(self.error)),
            ("error_description", Some(self.description.as_str())),
            ("state", state),
        ];
        with_query(redirect_uri, &parameters)
    }
}

/// What `prompt` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prompt {
    /// No `prompt`, or `consent`, which this environment never asks for.
    Absent,
    Create,
    Login,
    None,
    SelectAccount,
}

impl Prompt {
    fn parse(parameters: &Parameters) -> Result<Self, Refused> {
        let words = parameters.get("prompt").unwrap_or_default().split_ascii_whitespace();
        let mut prompt = Self::Absent;
        for (index, word) in words.enumerate() {
            if prompt == Self::None || (word == "none" && index > 0) {
                return Err(Refused::invalid_request("prompt=none stands alone"));
            }
            prompt = match word {
                "consent" => prompt,
                "create" => Self::Create,
                "login" => Self::Login,
                "none" => Self::None,
                "select_account" => Self::SelectAccount,
                _ => return Err(Refused::invalid_request("prompt is not known")),
            };
        }
        Ok(prompt)
    }

    /// Whether the user is asked even when the browser is signed in.
    fn wants_page(self) -> bool {
        matches!(self, Self::Create | Self::Login | Self::SelectAccount)
    }
}

fn trusted_redirect_uri<'p>(
    environment: &Environment,
    state: &State,
    parameters: &'p Parameters,
) -> Result<&'p str, String> {
    for name in ["client_id", "redirect_uri"] {
        if parameters.repeats(name) {
            return Err(format!("The application sent {name} more than once."));
        }
    }
    match parameters.get("client_id") {
        Some(id) if id == environment.client_id => {}
        Some(id) => return Err(format!("The client_id {id} is not known here.")),
        None => return Err("The application sent no client_id.".to_owned()),
    }
    let uri = parameters.get("redirect_uri").ok_or("The application sent no redirect_uri.")?;
    let loopback = environment.settings.loopback_redirects;
    match redirects::refusal(uri, &state.redirect_uris, loopback) {
        None => Ok(uri),
        Some(reason) => Err(format!("The redirect_uri {uri} is not allowed. {reason}")),
    }
}

fn code_challenge(parameters: &Parameters) -> Result<Option<String>, Refused> {
    let Some(challenge) = parameters.get("code_challenge") else {
        return match parameters.get("code_challenge_method") {
            None => Ok(None),
            Some(_) => Err(Refused::invalid_request("code_challenge is missing")),
        };
    };
    // Without a method RFC 7636 means `plain`, which gives the verifier away.
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(Refused::invalid_request("code_challenge_method must be S256"));
    }
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(base64url) {
        return Err(Refused::invalid_request("code_challenge is not a SHA-256 in base64url"));
    }
    Ok(Some(challenge.to_owned()))
}

fn granted_scopes(asked: Option<&str>) -> Vec<String> {
    let mut granted = Vec::new();
    for scope in asked.unwrap_or("openid profile email").split_ascii_whitespace() {
        if SCOPES.contains(&scope) && !granted.iter().any(|known| known == scope) {
            granted.push(scope.to_owned());
        }
    }
    granted
}

/// The organization a request is for, by Scalekit's precedence: provider, connection, organization,
/// domain. A provider is for everybody; a domain nobody owns falls back to everybody too.
fn selected_organization(
    parameters: &Parameters,
    people: &People,
) -> Result<Option<String>, Refused> {
    if let Some(provider) = parameters.get("provider") {
        return match PROVIDERS.contains(&provider) {
            true => Ok(None),
            false => Err(Refused::new("invalid_connection_selector", "provider is not known")),
        };
    }
    if let Some(id) = parameters.get("connection_id") {
        let owner = people.organizations.iter().find(|known| known.connection_id == id);
        let refused = || Refused::new("invalid_connection_id", "connection_id is not known");
        return owner.map(|organization| Some(organization.id.clone())).ok_or_else(refused);
    }
    if let Some(id) = parameters.get("organization_id") {
        let refused = || Refused::new("invalid_organization_id", "organization_id is not known");
        return people.organization(id).map(|known| Some(known.id.clone())).ok_or_else(refused);
    }
    let domain = parameters.get("domain").or_else(|| parameters.get("domain_hint"));
    let owner = domain.and_then(|domain| people.with_domain(domain));
    Ok(owner.map(|organization| organization.id.clone()))
}
