//! Codes and refresh tokens: what works once, and what happens when it is used twice.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use super::asker::Holder;
use super::authorize::{AuthorizationRequest, SignedIn};
use super::environment::new_id;
use super::keys::{random_token, sha256};
use super::token_endpoint::Refused;

/// How long a code may wait to be exchanged.
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// All authorizations given and not yet forgotten.
#[derive(Debug, Default)]
pub(super) struct Grants {
    codes: HashMap<String, Code>,
    grants: HashMap<String, Grant>,
    refresh_tokens: HashMap<String, RefreshToken>,
}

impl Grants {
    /// A code for what the user has allowed.
    pub(super) fn issue_code(
        &mut self,
        request: AuthorizationRequest,
        grant: Grant,
        now: OffsetDateTime,
    ) -> String {
        // Used codes are remembered longer than they live: a late second use is still noticed.
        self.codes.retain(|_, code| now < code.expires_at + CODE_LIFETIME);
        let code = random_token();
        let expires_at = now + CODE_LIFETIME;
        self.codes.insert(code.clone(), Code { request, grant, expires_at, grant_id: None });
        code
    }

    /// Exchanges a code. A second use is refused and revokes what the first one gave; for anybody
    /// but its holder there is no such code.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        holder: &Holder,
        redirect_uri: &str,
        code_verifier: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Redeemed, &'static str> {
        let known = self.codes.get_mut(code).filter(|code| code.grant.holder == *holder);
        let known = known.ok_or("the code is unknown or was revoked")?;
        if let Some(grant_id) = &known.grant_id {
            if let Some(grant) = self.grants.get_mut(grant_id) {
                grant.revoked = true;
            }
            return Err("the code was used before; what it gave is revoked");
        }
        if now >= known.expires_at {
            return Err("the code has expired");
        }
        if known.request.reply.redirect_uri != redirect_uri {
            return Err("redirect_uri differs from the one of the authorization request");
        }
        match (&known.request.code_challenge, code_verifier) {
            (None, None) => {}
            (Some(_), None) => return Err("code_verifier is missing"),
            (None, Some(_)) => return Err("code_verifier without a code_challenge"),
            (Some(challenge), Some(verifier)) => {
                if !(43..=128).contains(&verifier.len())
                    || URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())) != *challenge
                {
                    return Err("code_verifier does not match code_challenge");
                }
            }
        }
        let grant_id = new_id("grant");
        let grant = known.grant.clone();
        known.grant_id = Some(grant_id.clone());
        let nonce = known.request.nonce.clone();
        self.grants.insert(grant_id.clone(), grant.clone());
        let refresh_token = grant.may_refresh.then(|| self.add_refresh_token(&grant_id));
        Ok(Redeemed { grant, nonce, refresh_token })
    }

    /// Exchanges a refresh token for its successor. For `grace` after that the old one is answered
    /// with the newest; used later, it revokes the whole family. For anybody but its holder there
    /// is no such token. `scope` asks for less than was granted, this time.
    pub(super) fn refresh(
        &mut self,
        token: &str,
        holder: &Holder,
        scope: Option<&str>,
        grace: Duration,
        now: OffsetDateTime,
    ) -> Result<Redeemed, Refused> {
        let unknown = || Refused::invalid_grant("the refresh token is unknown");
        let known = self.refresh_tokens.get_mut(token).ok_or_else(unknown)?;
        let grant_id = known.grant_id.clone();
        let grant = self.grants.get_mut(&grant_id).filter(|grant| grant.holder == *holder);
        let grant = grant.ok_or_else(unknown)?;
        if grant.revoked {
            return Err(Refused::invalid_grant("the refresh token was revoked"));
        }
        let mut redeemed = grant.clone();
        if let Some(scope) = scope {
            redeemed.scopes = scope.split_ascii_whitespace().map(str::to_owned).collect();
            if !redeemed.scopes.iter().all(|scope| grant.scopes.contains(scope)) {
                return Err(Refused::new("invalid_scope", "scope is more than was granted"));
            }
        }
        let refresh_token = match known.replaced_at {
            None => {
                known.replaced_at = Some(now);
                self.add_refresh_token(&grant_id)
            }
            Some(replaced_at) if now < replaced_at + grace => grant.newest_refresh_token.clone(),
            Some(_) => {
                grant.revoked = true;
                let reason = "the refresh token was used before; its successors are revoked";
                return Err(Refused::invalid_grant(reason));
            }
        };
        Ok(Redeemed { grant: redeemed, nonce: None, refresh_token: Some(refresh_token) })
    }

    /// Makes everything that was given in a session worthless.
    pub(super) fn revoke_session(&mut self, session_id: &str) {
        self.codes.retain(|_, code| code.grant.session_id != session_id);
        for grant in self.grants.values_mut().filter(|grant| grant.session_id == session_id) {
            grant.revoked = true;
        }
    }

    fn add_refresh_token(&mut self, grant_id: &str) -> String {
        let token = random_token();
        if let Some(grant) = self.grants.get_mut(grant_id) {
            grant.newest_refresh_token.clone_from(&token);
        }
        let record = RefreshToken { grant_id: grant_id.to_owned(), replaced_at: None };
        self.refresh_tokens.insert(token.clone(), record);
        token
    }
}

/// What a user has allowed a client: the family all its refresh tokens belong to.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) user_id: String,
    pub(super) session_id: String,
    pub(super) scopes: Vec<String>,
    /// Whether the client named the resource it wants to use.
    pub(super) indicates_resource: bool,
    holder: Holder,
    may_refresh: bool,
    newest_refresh_token: String,
    revoked: bool,
}

impl Grant {
    pub(super) fn new(request: &AuthorizationRequest, signed_in: SignedIn) -> Self {
        Self {
            user_id: signed_in.user.id,
            session_id: signed_in.session_id,
            scopes: request.scopes.clone(),
            indicates_resource: request.indicates_resource,
            holder: request.asker.holder(),
            may_refresh: request.may_refresh(),
            newest_refresh_token: String::new(),
            revoked: false,
        }
    }
}

/// A code or refresh token that was accepted.
#[derive(Debug)]
pub(super) struct Redeemed {
    pub(super) grant: Grant,
    pub(super) nonce: Option<String>,
    pub(super) refresh_token: Option<String>,
}

#[derive(Debug)]
struct Code {
    request: AuthorizationRequest,
    grant: Grant,
    expires_at: OffsetDateTime,
    /// The grant it was exchanged for.
    grant_id: Option<String>,
}

#[derive(Debug)]
struct RefreshToken {
    grant_id: String,
    replaced_at: Option<OffsetDateTime>,
}
