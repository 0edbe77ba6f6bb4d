//! `POST /oauth/token`, of the environment and of resources: the three grants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::sandbox::environment::Environment;
use crate::sandbox::oauth::{client_auth, dpop};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{AtResource, OAuthClient};
use crate::sandbox::state::grants::{GrantError, ProvenKey, Redeemed};
use crate::sandbox::state::machines::MachineClient;
use crate::sandbox::state::token_faults::{TokenDraft, TokenKind};
use crate::sandbox::tokens::{Binding, M2M_TOKEN_LIFETIME, Mint, Subject};
use crate::secret::SecretString;

pub(crate) fn token(
    environment: &Environment,
    request: &Request<Bytes>,
    resource_id: Option<&str>,
) -> Response<Bytes> {
    match response(environment, request, resource_id) {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejected) => rejected.response(),
    }
}

fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource_id: Option<&str>,
) -> Result<Value, TokenEndpointError> {
    let form = Parameters::from_form(request).ok_or(TokenEndpointError::invalid_request(
        "the body is not application/x-www-form-urlencoded",
    ))?;
    if form.repeated().is_some() {
        return Err(TokenEndpointError::invalid_request("a parameter is repeated"));
    }
    let client = authenticate_client(environment, request, &form, resource_id)?;
    let indicated = client
        .indicates_resource(&form)
        .map_err(|reason| TokenEndpointError::new("invalid_target", reason))?;
    let key = dpop::proven_key(environment, request)
        .map_err(|reason| TokenEndpointError::new("invalid_dpop_proof", reason))?;
    let registered = client.at.as_ref().map(|at| &at.client);
    if key.is_none() && registered.is_some_and(|registered| registered.metadata.is_bound) {
        let reason = "the client registered for tokens that are bound to a key; DPoP is missing";
        return Err(TokenEndpointError::new("invalid_dpop_proof", reason));
    }
    let is_public = registered.is_some_and(|registered| registered.secret.is_none());
    let proven = ProvenKey { key: key.as_deref(), binds_grant: is_public };
    match form.get("grant_type") {
        Some("client_credentials") => {
            let (mint, draft, lifetime, scopes) = match (&client.at, &client.machine) {
                (Some(at), _) => machine_token(environment, &form, at, indicated)?,
                (None, Some(machine)) => organization_machine_token(environment, &form, machine),
                (None, None) => client_credentials(environment, &form),
            };
            Ok(machine_response(&mint, draft, lifetime, &scopes, proven.key))
        }
        Some("authorization_code" | "refresh_token") if client.machine.is_some() => {
            let reason = "a machine client has no users";
            Err(TokenEndpointError::new("unauthorized_client", reason))
        }
        Some("authorization_code" | "refresh_token")
            if client.at.is_some() && resource_id.is_none() =>
        {
            let reason = "the client has a token endpoint at its resource";
            Err(TokenEndpointError::new("unauthorized_client", reason))
        }
        Some("authorization_code") => {
            authorization_code(environment, &form, &client, indicated, &proven)
        }
        Some("refresh_token") => refresh_token(environment, &form, &client, indicated, &proven),
        Some(_) => Err(TokenEndpointError::new("unsupported_grant_type", "grant_type is unknown")),
        None => Err(TokenEndpointError::invalid_request("grant_type is missing")),
    }
}

/// `client_secret_post`, which Scalekit's SDKs use, or `client_secret_basic`: both are accepted,
/// whichever a client registered. A public client only sends its ID.
fn authenticate_client(
    environment: &Environment,
    request: &Request<Bytes>,
    form: &Parameters,
    resource_id: Option<&str>,
) -> Result<OAuthClient, TokenEndpointError> {
    // A bearer token is ignored: Scalekit's Python SDK sends one.
    let basic = request.headers().get(header::AUTHORIZATION).and_then(basic_credentials);
    let in_body = form.get("client_secret");
    if basic.is_some() && in_body.is_some() {
        return Err(TokenEndpointError::invalid_request(
            "the client authenticates in two ways at once",
        ));
    }
    let rejected = || TokenEndpointError::invalid_client(basic.is_some());
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (form.get("client_id"), in_body),
    };
    let id = id.ok_or_else(rejected)?;
    let client = {
        let state = environment.lock();
        // Machines of a resource may also use the environment's own endpoint.
        let resource_id = resource_id.or_else(|| state.resources.clients.resource_of(id));
        match state.machines.iter().find(|machine| machine.id == id && resource_id.is_none()) {
            Some(machine) => {
                OAuthClient { client_id: id.to_owned(), at: None, machine: Some(machine.clone()) }
            }
            None => {
                client_auth::find(environment, &state, resource_id, id).map_err(|_| rejected())?
            }
        }
    };
    let expected: Vec<_> = match (&client.at, &client.machine) {
        (Some(at), _) => at.client.secret.iter().collect(),
        (None, Some(machine)) => machine.secrets.iter().map(|secret| &secret.text).collect(),
        (None, None) => vec![&environment.client_secret],
    };
    let is_public = client.machine.is_none() && expected.is_empty();
    let secret_fits = match secret.map(SecretString::from) {
        None => is_public,
        Some(secret) => expected.contains(&&secret),
    };
    if secret_fits { Ok(client) } else { Err(rejected()) }
}

/// RFC 6749, section 2.3.1: both parts are form-encoded before they are joined.
fn basic_credentials(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let form_decoded = |text: &str| {
        form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned())
    };
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn authorization_code(
    environment: &Environment,
    form: &Parameters,
    client: &OAuthClient,
    indicated: bool,
    proven: &ProvenKey<'_>,
) -> Result<Value, TokenEndpointError> {
    let code = form.get("code").ok_or(TokenEndpointError::invalid_request("code is missing"))?;
    let redirect_uri = form
        .get("redirect_uri")
        .ok_or(TokenEndpointError::invalid_request("redirect_uri is missing"))?;
    let verifier = form.get("code_verifier");
    let now = environment.now();
    let issue = {
        let mut state = environment.lock();
        let holder = client.holder();
        let redeemed = state.grants.redeem(code, &holder, redirect_uri, verifier, proven, now)?;
        Issue::new(environment, &state, client, redeemed, indicated)?
    };
    Ok(issue.response(Some(code), proven.key))
}

fn refresh_token(
    environment: &Environment,
    form: &Parameters,
    client: &OAuthClient,
    indicated: bool,
    proven: &ProvenKey<'_>,
) -> Result<Value, TokenEndpointError> {
    let token = form
        .get("refresh_token")
        .ok_or(TokenEndpointError::invalid_request("refresh_token is missing"))?;
    let (grace, now) = (environment.settings.refresh_grace, environment.now());
    let issue = {
        let mut state = environment.lock();
        let holder = client.holder();
        let scope = form.get("scope");
        let redeemed = state.grants.refresh(token, &holder, scope, proven, grace, now)?;
        state.touch_session(&redeemed.grant.session_id, now);
        Issue::new(environment, &state, client, redeemed, indicated)?
    };
    Ok(issue.response(None, proven.key))
}

/// The authorized tokens, before they are issued.
struct Issue<'e> {
    mint: Mint<'e>,
    subject: Subject,
    /// For tokens of a resource.
    binding: Option<Binding>,
    redeemed: Redeemed,
}

impl<'e> Issue<'e> {
    fn new(
        environment: &'e Environment,
        state: &State,
        client: &OAuthClient,
        redeemed: Redeemed,
        indicated: bool,
    ) -> Result<Self, TokenEndpointError> {
        let grant = &redeemed.grant;
        let user = state
            .users
            .with_id(&grant.user_id)
            .ok_or(TokenEndpointError::invalid_grant("the user does not exist"))?
            .active_at(&grant.organization_id)
            .ok_or(TokenEndpointError::invalid_grant("the user is no member any more"))?;
        let indicated = indicated || grant.indicates_resource;
        let (session_id, scopes) = (grant.session_id.clone(), grant.scopes.clone());
        Ok(Self {
            mint: Mint::new(environment, state),
            subject: Subject::new(state, user, session_id, scopes),
            binding: client
                .at
                .as_ref()
                .map(|at| state.binding(&at.resource.id, &at.client.id, indicated)),
            redeemed,
        })
    }

    /// The response to a code or a refresh token, with an access token that is bound to this key.
    fn response(&self, code: Option<&str>, key: Option<&str>) -> Value {
        let Self { mint, subject, binding, redeemed } = self;
        let mut draft = match binding {
            None => mint.access_token(subject),
            Some(binding) => mint.resource_token(subject, binding),
        };
        let token_type = bind(&mut draft, key);
        let access_token = mint.issue(TokenKind::AccessToken, draft);
        let mut body = Map::new();
        body.insert("access_token".to_owned(), access_token.as_str().into());
        body.insert("expires_in".to_owned(), mint.access_token_lifetime().into());
        body.insert("token_type".to_owned(), token_type.into());
        if binding.is_some() {
            body.insert("scope".to_owned(), subject.scopes.join(" ").into());
        } else if subject.has_scope("openid") {
            let draft = mint.id_token(subject, &access_token, redeemed.nonce.as_deref(), code);
            body.insert("id_token".to_owned(), mint.issue(TokenKind::IdToken, draft).into());
        }
        if let Some(refresh_token) = &redeemed.refresh_token {
            body.insert("refresh_token".to_owned(), refresh_token.as_str().into());
        }
        body.into()
    }
}

/// Binds a token to a key, if there is one. Returns the token's type.
fn bind(draft: &mut TokenDraft, key: Option<&str>) -> &'static str {
    let Some(key) = key else { return "Bearer" };
    draft.claims.insert("cnf".to_owned(), json!({ "jkt": key }));
    "DPoP"
}

/// A token of the client-credentials grant before it is issued: with its lifetime and scopes.
type MachineToken<'e, 'f> = (Mint<'e>, TokenDraft, i64, Vec<&'f str>);

fn client_credentials<'e, 'f>(
    environment: &'e Environment,
    form: &'f Parameters,
) -> MachineToken<'e, 'f> {
    let mint = Mint::new(environment, &environment.lock());
    let scopes: Vec<_> = form.get("scope").unwrap_or("openid").split_ascii_whitespace().collect();
    let draft = mint.m2m_token(&environment.client_id, &scopes);
    (mint, draft, M2M_TOKEN_LIFETIME, scopes)
}

/// The client-credentials grant of a machine of an organization: the scopes that it has and asks for.
fn organization_machine_token<'e, 'f>(
    environment: &'e Environment,
    form: &'f Parameters,
    machine: &'f MachineClient,
) -> MachineToken<'e, 'f> {
    let asked: Option<Vec<_>> =
        form.get("scope").map(|scope| scope.split_ascii_whitespace().collect());
    let is_granted = |own: &&str| asked.as_ref().is_none_or(|asked| asked.contains(own));
    let scopes: Vec<_> = machine.scopes.iter().map(String::as_str).filter(is_granted).collect();
    let mint = Mint::new(environment, &environment.lock());
    let mut draft = mint.m2m_token(&machine.id, &scopes);
    for (name, value) in &machine.claims {
        draft.claims.entry(name.clone()).or_insert_with(|| json!(value));
    }
    let lifetime = machine.lifetime.unwrap_or(M2M_TOKEN_LIFETIME);
    let issued_at = draft.claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
    draft.claims.insert("exp".to_owned(), json!(issued_at.saturating_add(lifetime)));
    draft.claims.insert("oid".to_owned(), json!(machine.organization_id));
    if !machine.audience.is_empty() {
        draft.claims.insert("aud".to_owned(), json!(machine.audience));
    }
    (mint, draft, lifetime, scopes)
}

/// The client-credentials grant of a resource: tokens for a machine, without a user.
fn machine_token<'e, 'f>(
    environment: &'e Environment,
    form: &'f Parameters,
    at: &'f AtResource,
    indicated: bool,
) -> Result<MachineToken<'e, 'f>, TokenEndpointError> {
    if !at.client.may_use("client_credentials") {
        let reason = "the client did not register the grant type client_credentials";
        return Err(TokenEndpointError::new("unauthorized_client", reason));
    }
    let by_default = at.default_scope();
    let asked: Vec<_> = form.get("scope").unwrap_or(&by_default).split_ascii_whitespace().collect();
    let own = at.resource.scopes.iter().map(String::as_str);
    let scopes: Vec<_> = own.filter(|own| asked.contains(own)).collect();
    let (mint, binding) = {
        let state = environment.lock();
        (Mint::new(environment, &state), state.binding(&at.resource.id, &at.client.id, indicated))
    };
    let draft = mint.resource_machine_token(&scopes, &binding);
    let lifetime = mint.access_token_lifetime();
    Ok((mint, draft, lifetime, scopes))
}

fn machine_response(
    mint: &Mint<'_>,
    mut draft: TokenDraft,
    lifetime: i64,
    scopes: &[&str],
    key: Option<&str>,
) -> Value {
    let token_type = bind(&mut draft, key);
    json!({
        "access_token": mint.issue(TokenKind::AccessToken, draft),
        "token_type": token_type,
        "expires_in": lifetime,
        "scope": scopes.join(" "),
    })
}

impl From<GrantError> for TokenEndpointError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::KeyNotProven(description) => Self::new("invalid_dpop_proof", description),
            GrantError::InvalidGrant(description) => Self::invalid_grant(description),
            GrantError::InvalidScope(description) => Self::new("invalid_scope", description),
        }
    }
}

/// An error of RFC 6749, section 5.2.
#[derive(Debug)]
pub(crate) struct TokenEndpointError {
    error: &'static str,
    description: &'static str,
    /// The scheme to name in `WWW-Authenticate`.
    challenge: bool,
}

impl TokenEndpointError {
    pub(crate) fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description, challenge: false }
    }

    fn invalid_client(by_header: bool) -> Self {
        let description = "client_id and client_secret do not match";
        Self { error: "invalid_client", description, challenge: by_header }
    }

    pub(crate) fn invalid_grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }

    fn invalid_request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    fn response(&self) -> Response<Bytes> {
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = json!({ "error": self.error, "error_description": self.description });
        let mut response = respond::json(status, &body);
        if self.challenge {
            let basic = HeaderValue::from_static("Basic realm=\"sandbox\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
        }
        response
    }
}
