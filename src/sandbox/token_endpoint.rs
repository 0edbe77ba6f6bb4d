//! `POST /oauth/token`: the three grants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::environment::Environment;
use super::grants::Redeemed;
use super::parameters::Parameters;
use super::respond;
use super::state::State;
use super::tampering::TokenKind;
use super::tokens::{M2M_TOKEN_LIFETIME, Mint, Subject};
use crate::secret::SecretString;

pub(super) fn token(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    match answer(environment, request) {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(refused) => refused.response(),
    }
}

fn answer(environment: &Environment, request: &Request<Bytes>) -> Result<Value, Refused> {
    let form = Parameters::of_form(request)
        .ok_or(Refused::invalid_request("the body is not application/x-www-form-urlencoded"))?;
    if form.repeated().is_some() {
        return Err(Refused::invalid_request("a parameter is there more than once"));
    }
    authenticate_client(environment, request, &form)?;
    match form.get("grant_type") {
        Some("authorization_code") => authorization_code(environment, &form),
        Some("refresh_token") => refresh_token(environment, &form),
        Some("client_credentials") => Ok(client_credentials(environment, &form)),
        Some(_) => Err(Refused::new("unsupported_grant_type", "grant_type is not known")),
        None => Err(Refused::invalid_request("grant_type is missing")),
    }
}

/// `client_secret_post`, which Scalekit's SDKs use, or `client_secret_basic`.
fn authenticate_client(
    environment: &Environment,
    request: &Request<Bytes>,
    form: &Parameters,
) -> Result<(), Refused> {
    // A bearer token here means nothing: Scalekit's Python SDK sends one along.
    let basic = request.headers().get(header::AUTHORIZATION).and_then(basic_credentials);
    let in_body = form.get("client_secret");
    if basic.is_some() && in_body.is_some() {
        return Err(Refused::invalid_request("the client authenticates in two ways at once"));
    }
    let by_header = basic.is_some();
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (form.get("client_id"), in_body),
    };
    let id_fits = id == Some(environment.client_id.as_str());
    let secret_fits =
        secret.is_some_and(|secret| SecretString::from(secret) == environment.client_secret);
    if id_fits && secret_fits { Ok(()) } else { Err(Refused::invalid_client(by_header)) }
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

fn authorization_code(environment: &Environment, form: &Parameters) -> Result<Value, Refused> {
    let code = form.get("code").ok_or(Refused::invalid_request("code is missing"))?;
    let redirect_uri =
        form.get("redirect_uri").ok_or(Refused::invalid_request("redirect_uri is missing"))?;
    let verifier = form.get("code_verifier");
    let now = environment.now();
    let (mint, redeemed, subject) = {
        let mut state = environment.lock();
        let redeemed = state
            .grants
            .redeem(code, redirect_uri, verifier, now)
            .map_err(Refused::invalid_grant)?;
        let subject = subject_of(&state, &redeemed)?;
        (Mint::new(environment, &state), redeemed, subject)
    };
    Ok(token_response(&mint, &subject, &redeemed, Some(code)))
}

fn refresh_token(environment: &Environment, form: &Parameters) -> Result<Value, Refused> {
    let token =
        form.get("refresh_token").ok_or(Refused::invalid_request("refresh_token is missing"))?;
    let (grace, now) = (environment.settings.refresh_grace, environment.now());
    let (mint, redeemed, subject) = {
        let mut state = environment.lock();
        let redeemed = state.grants.refresh(token, grace, now).map_err(Refused::invalid_grant)?;
        let subject = subject_of(&state, &redeemed)?;
        state.touch_session(&redeemed.grant.session_id, now);
        (Mint::new(environment, &state), redeemed, subject)
    };
    Ok(token_response(&mint, &subject, &redeemed, None))
}

fn subject_of(state: &State, redeemed: &Redeemed) -> Result<Subject, Refused> {
    let grant = &redeemed.grant;
    let user = state.people.users.iter().find(|user| user.id == grant.user_id);
    let user = user.ok_or(Refused::invalid_grant("the user is gone"))?;
    Ok(Subject::new(state, user.clone(), grant.session_id.clone(), grant.scopes.clone()))
}

fn token_response(
    mint: &Mint<'_>,
    subject: &Subject,
    redeemed: &Redeemed,
    code: Option<&str>,
) -> Value {
    let access_token = mint.issue(TokenKind::AccessToken, mint.access_token(subject));
    let mut body = Map::new();
    body.insert("access_token".to_owned(), access_token.as_str().into());
    body.insert("expires_in".to_owned(), mint.access_token_lifetime().into());
    body.insert("token_type".to_owned(), "Bearer".into());
    if subject.has_scope("openid") {
        let draft = mint.id_token(subject, &access_token, redeemed.nonce.as_deref(), code);
        body.insert("id_token".to_owned(), mint.issue(TokenKind::IdToken, draft).into());
    }
    if let Some(refresh_token) = &redeemed.refresh_token {
        body.insert("refresh_token".to_owned(), refresh_token.as_str().into());
    }
    body.into()
}

fn client_credentials(environment: &Environment, form: &Parameters) -> Value {
    let mint = Mint::new(environment, &environment.lock());
    let scope = form.get("scope").unwrap_or("openid");
    let scopes: Vec<_> = scope.split_ascii_whitespace().collect();
    let draft = mint.m2m_token(&environment.client_id, &scopes);
    json!({
        "access_token": mint.issue(TokenKind::AccessToken, draft),
        "token_type": "Bearer",
        "expires_in": M2M_TOKEN_LIFETIME,
        "scope": scopes.join(" "),
    })
}

/// An error of RFC 6749, section 5.2.
#[derive(Debug)]
struct Refused {
    error: &'static str,
    description: &'static str,
    /// The scheme to name in `WWW-Authenticate`.
    challenge: bool,
}

impl Refused {
    fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description, challenge: false }
    }

    fn invalid_client(by_header: bool) -> Self {
        let description = "client_id and client_secret do not fit";
        Self { error: "invalid_client", description, challenge: by_header }
    }

    fn invalid_grant(description: &'static str) -> Self {
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
