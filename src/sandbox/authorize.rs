//! `GET /oauth/authorize`, of the environment and of resources: who asks for whom, and what is wrong
//! with that.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::asker::Asker;
use super::consent;
use super::environment::Environment;
use super::grants::Grant;
use super::login::{self, Screen};
use super::pages;
use super::parameters::{Parameters, cookies, with_query};
use super::people::{People, User};
use super::redirects;
use super::respond::redirect;
use super::selection::Selection;
use super::state::State;

/// The cookie of a browser that is signed in here. Cookies ignore ports, so its name must differ
/// from those of the applications that are tried out on the same host.
pub(super) const SESSION_COOKIE: &str = "sandbox_session";

/// The scopes the environment knows; others are left out of what is granted.
pub(super) const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// Starts a sign-in at the environment, or at a resource.
pub(super) fn authorize(
    environment: &Environment,
    request: &Request<Bytes>,
    resource_id: Option<&str>,
) -> Response<Bytes> {
    let parameters = Parameters::of_query(request);
    let mut state = environment.lock();
    // Until client and redirect URI are known to be good, nobody is redirected anywhere.
    let (asker, reply) = match trusted(environment, &state, &parameters, resource_id) {
        Ok(trusted) => trusted,
        Err(reason) => {
            return pages::problem(StatusCode::BAD_REQUEST, "This sign-in cannot start", &reason);
        }
    };
    let back_with_error = |refused: Refused| redirect(StatusCode::FOUND, &reply.error(&refused));
    let prompt = match Prompt::parse(&parameters) {
        Ok(prompt) => prompt,
        Err(refused) => return back_with_error(refused),
    };
    let only_sso = environment.settings.modular_sso && asker.at.is_none();
    let parsed =
        AuthorizationRequest::parse(asker, reply.clone(), &parameters, &state.people, only_sso);
    let wanted = match parsed {
        Ok(wanted) => wanted,
        Err(refused) => return back_with_error(refused),
    };
    let now = environment.now();
    let signed_in = state
        .session_of(cookies(request, SESSION_COOKIE))
        .filter(|(_, user)| !prompt.wants_page() && wanted.admits(user));
    match signed_in {
        Some((_, user)) if prompt == Prompt::None && consent::is_needed(&state, &wanted, &user) => {
            back_with_error(Refused::new("consent_required", "the user has not allowed all this"))
        }
        Some((session_id, user)) => {
            let signed_in = SignedIn { user, session_id };
            let location = consent::next(&mut state, wanted, signed_in, now);
            redirect(StatusCode::FOUND, &location)
        }
        None if prompt == Prompt::None => {
            back_with_error(Refused::new("login_required", "nobody is signed in in this browser"))
        }
        None => {
            let screen = if prompt == Prompt::Create { Screen::SignUp } else { Screen::SignIn };
            let transaction = state.open_transaction(wanted.clone(), None, now);
            login::page(&state, &transaction, &wanted, screen, None)
        }
    }
}

/// An authorization request that is in order.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) asker: Asker,
    pub(super) reply: Reply,
    pub(super) code_challenge: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) login_hint: Option<String>,
    /// The organization whose users may answer it.
    pub(super) organization_id: Option<String>,
    /// The connection they answer it through.
    pub(super) connection_id: Option<String>,
    /// Whether it can only be answered through a connection.
    pub(super) only_sso: bool,
    pub(super) scopes: Vec<String>,
    /// Whether the user is asked even for what they allowed before.
    pub(super) asks_again: bool,
    /// Whether it names the resource (RFC 8707).
    pub(super) indicates_resource: bool,
}

impl AuthorizationRequest {
    fn parse(
        asker: Asker,
        reply: Reply,
        parameters: &Parameters,
        people: &People,
        only_sso: bool,
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
        if asker.at.as_ref().is_some_and(|at| !at.client.may_use("authorization_code")) {
            let reason = "the client did not register the grant type authorization_code";
            return Err(Refused::new("unauthorized_client", reason));
        }
        let code_challenge = code_challenge(parameters)?;
        if asker.at.is_some() && code_challenge.is_none() {
            return Err(Refused::invalid_request("code_challenge is missing; PKCE is a must here"));
        }
        let indicates_resource = asker
            .indicates_resource(parameters)
            .map_err(|reason| Refused::new("invalid_target", reason))?;
        let selection = Selection::parse(parameters, people, only_sso)?;
        let text = |name: &str| parameters.get(name).map(str::to_owned);
        let mut prompts = parameters.get("prompt").unwrap_or_default().split_ascii_whitespace();
        Ok(Self {
            reply,
            code_challenge,
            nonce: text("nonce"),
            login_hint: text("login_hint"),
            organization_id: selection.organization_id,
            connection_id: selection.connection_id,
            only_sso,
            scopes: granted_scopes(&asker, parameters.get("scope")),
            asks_again: prompts.any(|word| word == "consent"),
            indicates_resource,
            asker,
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
        signed_in: SignedIn,
        now: time::OffsetDateTime,
    ) -> String {
        state.touch_session(&signed_in.session_id, now);
        let grant = Grant::new(self, signed_in);
        let code = state.grants.issue_code(self.clone(), grant, now);
        self.reply.code(&code)
    }

    /// Whether refresh tokens come of it.
    pub(super) fn may_refresh(&self) -> bool {
        if self.only_sso {
            return false;
        }
        // Clients of resources say so when they register, and rarely ask for `offline_access`.
        let registered =
            self.asker.at.as_ref().is_some_and(|at| at.client.may_use("refresh_token"));
        registered || self.scopes.iter().any(|scope| scope == "offline_access")
    }
}

/// A person at their browser.
#[derive(Clone, Debug)]
pub(super) struct SignedIn {
    pub(super) user: User,
    pub(super) session_id: String,
}

/// Where an answer goes, and what every answer has in it.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) redirect_uri: String,
    state: Option<String>,
    /// `iss` (RFC 9207), which tells the authorization servers of resources apart.
    issuer: Option<String>,
}

impl Reply {
    fn code(&self, code: &str) -> String {
        self.with(&[("code", Some(code))])
    }

    pub(super) fn error(&self, refused: &Refused) -> String {
        let description = Some(refused.description.as_str());
        self.with(&[("error", Some(refused.error)), ("error_description", description)])
    }

    fn with(&self, answer: &[(&str, Option<&str>)]) -> String {
        let always = [("state", self.state.as_deref()), ("iss", self.issuer.as_deref())];
        with_query(&self.redirect_uri, &[answer, &always].concat())
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
}

/// What `prompt` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prompt {
    /// No `prompt`, or `consent`, which is not about signing in.
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

/// Who asks and where their answer goes, or why nobody is sent there.
fn trusted(
    environment: &Environment,
    state: &State,
    parameters: &Parameters,
    resource_id: Option<&str>,
) -> Result<(Asker, Reply), String> {
    for name in ["client_id", "redirect_uri"] {
        if parameters.repeats(name) {
            return Err(format!("The application sent {name} more than once."));
        }
    }
    let client_id = parameters.get("client_id").ok_or("The application sent no client_id.")?;
    let asker = Asker::find(environment, state, resource_id, client_id)?;
    let uri = parameters.get("redirect_uri").ok_or("The application sent no redirect_uri.")?;
    let refusal = match &asker.at {
        None => {
            let loopback = environment.settings.loopback_redirects;
            redirects::refusal(uri, &state.redirect_uris, loopback)
        }
        Some(at) if redirects::is_registered(uri, &at.client.metadata.redirect_uris) => None,
        Some(_) => Some("The client did not register it."),
    };
    if let Some(reason) = refusal {
        return Err(format!("The redirect_uri {uri} is not allowed. {reason}"));
    }
    let sent_state = parameters.get("state").filter(|_| !parameters.repeats("state"));
    let reply = Reply {
        redirect_uri: uri.to_owned(),
        state: sent_state.map(str::to_owned),
        issuer: asker.at.as_ref().map(|at| state.resource_issuer(&at.resource.id)),
    };
    Ok((asker, reply))
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

fn granted_scopes(asker: &Asker, asked: Option<&str>) -> Vec<String> {
    let of_resource = asker.at.as_ref().map_or(&[][..], |at| &at.resource.scopes);
    let by_default = match &asker.at {
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
