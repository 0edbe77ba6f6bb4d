//! `POST /oauth/token`, of the environment and of resources: the three grants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::sandbox::environment::Environment;
use crate::sandbox::oauth::{client_auth, dpop};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::{self, without_nulls};
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
    let indicates_resource = client
        .indicates_resource(&form)
        .map_err(|reason| TokenEndpointError::new("invalid_target", reason))?;
    let key = dpop::proven_key(environment, request)
        .map_err(|reason| TokenEndpointError::new("invalid_dpop_proof", reason))?;
    let registered = client.at.as_ref().map(|at| &at.client);
    if key.is_none() && registered.is_some_and(|registered| registered.metadata.is_bound) {
        return Err(TokenEndpointError::new(
            "invalid_dpop_proof",
            "the client registered for tokens that are bound to a key; DPoP is missing",
        ));
    }
    let token_request = TokenRequest {
        environment,
        form: &form,
        client: &client,
        indicates_resource,
        proven: ProvenKey {
            key: key.as_deref(),
            binds_grant: registered.is_some_and(|registered| registered.secret.is_none()),
        },
    };
    match form.get("grant_type") {
        Some("client_credentials") => token_request.client_credentials(),
        Some("authorization_code" | "refresh_token") if client.machine.is_some() => {
            Err(TokenEndpointError::new("unauthorized_client", "a machine client has no users"))
        }
        Some("authorization_code" | "refresh_token")
            if client.at.is_some() && resource_id.is_none() =>
        {
            Err(TokenEndpointError::new(
                "unauthorized_client",
                "the client has a token endpoint at its resource",
            ))
        }
        Some("authorization_code") => token_request.authorization_code(),
        Some("refresh_token") => token_request.refresh_token(),
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
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (form.get("client_id"), in_body),
    };
    id.and_then(|id| client(environment, resource_id, id, secret))
        .ok_or(TokenEndpointError::invalid_client(basic.is_some()))
}

/// The client with this ID, if the secret is one of its own, or if it is public and sends none.
fn client(
    environment: &Environment,
    resource_id: Option<&str>,
    id: &str,
    secret: Option<&str>,
) -> Option<OAuthClient> {
    let state = environment.lock();
    // Machines of a resource may also use the environment's own endpoint.
    let resource_id = resource_id.or_else(|| state.resources.clients.resource_of(id));
    let client =
        match state.machines.iter().find(|machine| machine.id == id && resource_id.is_none()) {
            Some(machine) => {
                OAuthClient { client_id: id.to_owned(), at: None, machine: Some(machine.clone()) }
            }
            None => client_auth::find(environment, &state, resource_id, id).ok()?,
        };
    let expected: Vec<_> = match (&client.at, &client.machine) {
        (Some(at), _) => at.client.secret.iter().collect(),
        (None, Some(machine)) => machine.secrets.iter().map(|secret| &secret.text).collect(),
        (None, None) => vec![&environment.client_secret],
    };
    let is_authenticated = match secret.map(SecretString::from) {
        // A public client.
        None => client.machine.is_none() && expected.is_empty(),
        Some(secret) => expected.contains(&&secret),
    };
    is_authenticated.then_some(client)
}

/// RFC 6749, section 2.3.1: both parts are form-encoded before they are joined.
fn basic_credentials(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned())
}

/// A token request of an authenticated client.
struct TokenRequest<'r> {
    environment: &'r Environment,
    form: &'r Parameters,
    client: &'r OAuthClient,
    /// Whether the request names the resource (RFC 8707).
    indicates_resource: bool,
    proven: ProvenKey<'r>,
}

impl<'r> TokenRequest<'r> {
    fn authorization_code(&self) -> Result<Value, TokenEndpointError> {
        let code = self.required("code", "code is missing")?;
        let redirect_uri = self.required("redirect_uri", "redirect_uri is missing")?;
        let issue = {
            let state = &mut *self.environment.lock();
            let redeemed = state.grants.redeem(
                code,
                &self.client.holder(),
                redirect_uri,
                self.form.get("code_verifier"),
                &self.proven,
                state.now,
            )?;
            self.issue(state, redeemed)?
        };
        Ok(issue.response(Some(code), self.proven.key))
    }

    fn refresh_token(&self) -> Result<Value, TokenEndpointError> {
        let token = self.required("refresh_token", "refresh_token is missing")?;
        let issue = {
            let state = &mut *self.environment.lock();
            let redeemed = state.grants.refresh(
                token,
                &self.client.holder(),
                self.form.get("scope"),
                &self.proven,
                self.environment.settings.refresh_grace,
                state.now,
            )?;
            state.touch_session(&redeemed.grant.session_id);
            self.issue(state, redeemed)?
        };
        Ok(issue.response(None, self.proven.key))
    }

    fn required(&self, name: &str, missing: &'static str) -> Result<&'r str, TokenEndpointError> {
        self.form.get(name).ok_or(TokenEndpointError::invalid_request(missing))
    }

    fn issue(&self, state: &State, redeemed: Redeemed) -> Result<Issue<'r>, TokenEndpointError> {
        let grant = &redeemed.grant;
        let user = state
            .users
            .with_id(&grant.user_id)
            .ok_or(TokenEndpointError::invalid_grant("the user does not exist"))?
            .active_at(&grant.organization_id)
            .ok_or(TokenEndpointError::invalid_grant("the user is no member any more"))?;
        Ok(Issue {
            mint: Mint::new(self.environment, state),
            subject: Subject::new(state, user, grant.session_id.clone(), grant.scopes.clone()),
            binding: self.client.at.as_ref().map(|at| {
                state.binding(
                    &at.resource.id,
                    &at.client.id,
                    self.indicates_resource || grant.indicates_resource,
                )
            }),
            redeemed,
        })
    }

    fn client_credentials(&self) -> Result<Value, TokenEndpointError> {
        match (&self.client.at, &self.client.machine) {
            (Some(at), _) => self.resource_machine(at),
            (None, Some(machine)) => Ok(self.organization_machine(machine)),
            (None, None) => Ok(self.application()),
        }
    }

    /// The application itself.
    fn application(&self) -> Value {
        let scopes: Vec<_> =
            self.form.get("scope").unwrap_or("openid").split_ascii_whitespace().collect();
        let mint = Mint::new(self.environment, &self.environment.lock());
        let draft = mint.m2m_token(&self.client.client_id, &scopes);
        self.machine_response(&mint, draft, M2M_TOKEN_LIFETIME, &scopes)
    }

    /// A machine of an organization gets the scopes that it has and requests.
    fn organization_machine(&self, machine: &MachineClient) -> Value {
        let scopes = granted_scopes(&machine.scopes, self.form.get("scope"));
        let mint = Mint::new(self.environment, &self.environment.lock());
        let mut draft = mint.m2m_token(&machine.id, &scopes);
        for (name, value) in &machine.claims {
            draft.claims.entry(name.clone()).or_insert_with(|| json!(value));
        }
        let lifetime = machine.lifetime.unwrap_or(M2M_TOKEN_LIFETIME);
        let issued_at = draft.claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
        draft.set_claims(json!({
            "exp": issued_at.saturating_add(lifetime),
            "oid": machine.organization_id,
            "aud": Some(&machine.audience).filter(|audience| !audience.is_empty()),
        }));
        self.machine_response(&mint, draft, lifetime, &scopes)
    }

    /// A machine of a resource: the token is for the resource, without a user.
    fn resource_machine(&self, at: &AtResource) -> Result<Value, TokenEndpointError> {
        let AtResource { client, resource } = at;
        if !client.may_use("client_credentials") {
            return Err(TokenEndpointError::new(
                "unauthorized_client",
                "the client did not register the grant type client_credentials",
            ));
        }
        let by_default = at.default_scope();
        let requested = self.form.get("scope").unwrap_or(&by_default);
        let scopes = granted_scopes(&resource.scopes, Some(requested));
        let (mint, binding) = {
            let state = self.environment.lock();
            (
                Mint::new(self.environment, &state),
                state.binding(&resource.id, &client.id, self.indicates_resource),
            )
        };
        let draft = mint.resource_machine_token(&scopes, &binding);
        Ok(self.machine_response(&mint, draft, mint.access_token_lifetime(), &scopes))
    }

    fn machine_response(
        &self,
        mint: &Mint<'_>,
        mut draft: TokenDraft,
        lifetime: i64,
        scopes: &[&str],
    ) -> Value {
        let token_type = bind(&mut draft, self.proven.key);
        json!({
            "access_token": mint.issue(TokenKind::AccessToken, draft),
            "token_type": token_type,
            "expires_in": lifetime,
            "scope": scopes.join(" "),
        })
    }
}

/// The scopes of a machine that are requested; all of them, if the request has no `scope`.
fn granted_scopes<'s>(own: &'s [String], requested: Option<&str>) -> Vec<&'s str> {
    own.iter()
        .map(String::as_str)
        .filter(|own| {
            requested.is_none_or(|scope| scope.split_ascii_whitespace().any(|one| one == *own))
        })
        .collect()
}

/// The authorized tokens, before they are issued.
struct Issue<'e> {
    mint: Mint<'e>,
    subject: Subject,
    /// For tokens of a resource.
    binding: Option<Binding>,
    redeemed: Redeemed,
}

impl Issue<'_> {
    /// The response to a code or a refresh token, with an access token that is bound to this key.
    fn response(&self, code: Option<&str>, key: Option<&str>) -> Value {
        let Self { mint, subject, binding, redeemed } = self;
        let mut draft = match binding {
            None => mint.access_token(subject),
            Some(binding) => mint.resource_token(subject, binding),
        };
        let token_type = bind(&mut draft, key);
        let access_token = mint.issue(TokenKind::AccessToken, draft);
        let id_token = (binding.is_none() && subject.has_scope("openid")).then(|| {
            let draft = mint.id_token(subject, &access_token, redeemed.nonce.as_deref(), code);
            mint.issue(TokenKind::IdToken, draft)
        });
        without_nulls(json!({
            "access_token": access_token,
            "expires_in": mint.access_token_lifetime(),
            "token_type": token_type,
            "id_token": id_token,
            "refresh_token": redeemed.refresh_token,
            "scope": binding.as_ref().map(|_| subject.scopes.join(" ")),
        }))
        .into()
    }
}

/// Binds a token to a key, if there is one. Returns the token's type.
fn bind(draft: &mut TokenDraft, key: Option<&str>) -> &'static str {
    let Some(key) = key else { return "Bearer" };
    draft.claims.insert("cnf".to_owned(), json!({ "jkt": key }));
    "DPoP"
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
        Self {
            error: "invalid_client",
            description: "client_id and client_secret do not match",
            challenge: by_header,
        }
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
        let response = respond::json(status, &body);
        match self.challenge {
            true => {
                respond::with_header(response, header::WWW_AUTHENTICATE, "Basic realm=\"sandbox\"")
            }
            false => response,
        }
    }
}
