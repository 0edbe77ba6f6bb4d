//! Codes and refresh tokens, which are used once, and detection of their reuse.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use crate::sandbox::state::authorization::{AuthorizationRequest, Holder, SignedIn};
use crate::sandbox::state::digest::sha256;
use crate::sandbox::state::history::{MAX_KNOWN, excess};
use crate::sandbox::state::ids::{new_id, random_token};

/// Lifetime of a code.
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// How many refresh tokens are known, most of which were replaced.
const MAX_TOKENS: usize = 10 * MAX_KNOWN;

/// The grants that are still known.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    codes: HashMap<String, Code>,
    grants: HashMap<String, Grant>,
    refresh_tokens: HashMap<String, RefreshToken>,
}

impl Grants {
    /// A code for what the user has authorized.
    pub(crate) fn issue_code(
        &mut self,
        request: AuthorizationRequest,
        grant: Grant,
        now: OffsetDateTime,
    ) -> String {
        // Used codes are remembered longer than their lifetime, so that late reuse is detected.
        self.codes.retain(|_, code| now < code.expires_at + CODE_LIFETIME);
        let code = random_token();
        self.codes.insert(
            code.clone(),
            Code { request, grant, expires_at: now + CODE_LIFETIME, grant_id: None },
        );
        code
    }

    /// Exchanges a code. A second use is rejected and revokes the tokens of the first one. For
    /// other clients the code does not exist.
    pub(crate) fn redeem(
        &mut self,
        code: &str,
        holder: &Holder,
        redirect_uri: &str,
        code_verifier: Option<&str>,
        proven: &ProvenKey<'_>,
        now: OffsetDateTime,
    ) -> Result<Redeemed, GrantError> {
        let known = self
            .codes
            .get_mut(code)
            .filter(|code| code.grant.holder == *holder)
            .ok_or(GrantError::InvalidGrant("the code is unknown or was revoked"))?;
        if let Some(grant_id) = &known.grant_id {
            if let Some(grant) = self.grants.get_mut(grant_id) {
                grant.revoked = true;
            }
            return Err(GrantError::InvalidGrant(
                "the code was used before; its tokens are revoked",
            ));
        }
        if now >= known.expires_at {
            return Err(GrantError::InvalidGrant("the code has expired"));
        }
        if known.request.reply.redirect_uri != redirect_uri {
            return Err(GrantError::InvalidGrant(
                "redirect_uri differs from the one of the authorization request",
            ));
        }
        check_verifier(known.request.code_challenge.as_deref(), code_verifier)?;
        if let Some(expected) = &known.request.dpop_key
            && proven.key != Some(expected)
        {
            return Err(GrantError::KeyNotProven("the proof is not of the key in dpop_jkt"));
        }
        let grant_id = new_id("grant");
        known.grant_id = Some(grant_id.clone());
        let nonce = known.request.nonce.clone();
        let mut grant = known.grant.clone();
        grant.bound_to = proven.key.filter(|_| proven.binds_grant).map(str::to_owned);
        grant.used_at = now;
        self.remove_excess();
        self.grants.insert(grant_id.clone(), grant.clone());
        let refresh_token = grant.may_refresh.then(|| self.add_refresh_token(&grant_id));
        Ok(Redeemed { grant, nonce, refresh_token })
    }

    /// Exchanges a refresh token for its successor. For `grace` after that, the old one returns the
    /// newest; later use revokes the whole family. For other clients the token does not exist.
    /// `scope` may request less than was granted, for this exchange only.
    pub(crate) fn refresh(
        &mut self,
        token: &str,
        holder: &Holder,
        scope: Option<&str>,
        proven: &ProvenKey<'_>,
        grace: Duration,
        now: OffsetDateTime,
    ) -> Result<Redeemed, GrantError> {
        const UNKNOWN: GrantError = GrantError::InvalidGrant("the refresh token is unknown");
        let known = self.refresh_tokens.get_mut(token).ok_or(UNKNOWN)?;
        let grant_id = known.grant_id.clone();
        let grant = self
            .grants
            .get_mut(&grant_id)
            .filter(|grant| grant.holder == *holder)
            .ok_or(UNKNOWN)?;
        if grant.revoked {
            return Err(GrantError::InvalidGrant("the refresh token was revoked"));
        }
        if let Some(key) = &grant.bound_to
            && proven.key != Some(key)
        {
            return Err(GrantError::KeyNotProven(
                "the refresh token is bound to the key of another proof",
            ));
        }
        grant.used_at = now;
        let mut redeemed = grant.clone();
        if let Some(scope) = scope {
            redeemed.scopes = scope.split_ascii_whitespace().map(str::to_owned).collect();
            if !redeemed.scopes.iter().all(|scope| grant.scopes.contains(scope)) {
                return Err(GrantError::InvalidScope("scope is more than was granted"));
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
                return Err(GrantError::InvalidGrant(
                    "the refresh token was used before; its successors are revoked",
                ));
            }
        };
        Ok(Redeemed { grant: redeemed, nonce: None, refresh_token: Some(refresh_token) })
    }

    /// Removes all grants of these sessions.
    pub(crate) fn remove_sessions(&mut self, ids: &BTreeSet<String>) {
        self.codes.retain(|_, code| !ids.contains(&code.grant.session_id));
        self.retain(|_, grant| !ids.contains(&grant.session_id));
    }

    /// Revoked ones first, then those that were not used for the longest time.
    fn remove_excess(&mut self) {
        let known = self.grants.iter();
        let old = excess(known.map(|(id, grant)| ((!grant.revoked, grant.used_at), id)));
        if !old.is_empty() {
            self.retain(|id, _| !old.contains(id));
        }
    }

    /// Removes the refresh tokens that were replaced first. Their reuse is not detected any more.
    fn remove_excess_tokens(&mut self) {
        if self.refresh_tokens.len() < MAX_TOKENS {
            return;
        }
        let mut replaced: Vec<_> = self
            .refresh_tokens
            .iter()
            .filter_map(|(token, known)| Some((known.replaced_at?, token.clone())))
            .collect();
        replaced.sort_unstable();
        for (_, token) in replaced.iter().take(MAX_TOKENS / 10) {
            self.refresh_tokens.remove(token);
        }
    }

    /// Keeps these grants, and their refresh tokens.
    fn retain(&mut self, keeps: impl Fn(&String, &Grant) -> bool) {
        self.grants.retain(|id, grant| keeps(id, grant));
        self.refresh_tokens.retain(|_, token| self.grants.contains_key(&token.grant_id));
    }

    /// Revokes all grants of a session.
    pub(crate) fn revoke_session(&mut self, session_id: &str) {
        self.revoke(|grant| grant.session_id == session_id);
    }

    /// Revokes all grants of a user in an organization.
    pub(crate) fn revoke_member(&mut self, user_id: &str, organization_id: &str) {
        self.revoke(|grant| grant.user_id == user_id && grant.organization_id == organization_id);
    }

    fn revoke(&mut self, matches: impl Fn(&Grant) -> bool) {
        self.codes.retain(|_, code| !matches(&code.grant));
        for grant in self.grants.values_mut().filter(|grant| matches(grant)) {
            grant.revoked = true;
        }
    }

    fn add_refresh_token(&mut self, grant_id: &str) -> String {
        let token = random_token();
        if let Some(grant) = self.grants.get_mut(grant_id) {
            grant.newest_refresh_token.clone_from(&token);
        }
        self.remove_excess_tokens();
        self.refresh_tokens.insert(
            token.clone(),
            RefreshToken { grant_id: grant_id.to_owned(), replaced_at: None },
        );
        token
    }
}

/// PKCE with S256 (RFC 7636, section 4.6).
fn check_verifier(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), GrantError> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(GrantError::InvalidGrant("code_verifier without a code_challenge")),
        (Some(_), None) => Err(GrantError::InvalidGrant("code_verifier is missing")),
        (Some(challenge), Some(verifier))
            if (43..=128).contains(&verifier.len())
                && URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())) == challenge =>
        {
            Ok(())
        }
        (Some(_), Some(_)) => {
            Err(GrantError::InvalidGrant("code_verifier does not match code_challenge"))
        }
    }
}

/// A grant of a user to a client: the family of its refresh tokens.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) user_id: String,
    /// Of which the tokens are.
    pub(crate) organization_id: String,
    pub(crate) session_id: String,
    pub(crate) scopes: Vec<String>,
    /// Whether the client named the resource.
    pub(crate) indicates_resource: bool,
    holder: Holder,
    may_refresh: bool,
    newest_refresh_token: String,
    used_at: OffsetDateTime,
    revoked: bool,
    /// The key of a public client that each refresh must prove (RFC 9449, section 5).
    bound_to: Option<String>,
}

/// The key whose possession a token request proves.
pub(crate) struct ProvenKey<'k> {
    /// Its thumbprint.
    pub(crate) key: Option<&'k str>,
    /// Whether the client has no other credentials, so that its refresh tokens are bound to the key.
    pub(crate) binds_grant: bool,
}

impl Grant {
    pub(crate) fn new(
        request: &AuthorizationRequest,
        signed_in: SignedIn,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            user_id: signed_in.user.id,
            organization_id: signed_in.user.organization_id,
            session_id: signed_in.session_id,
            scopes: request.scopes.clone(),
            indicates_resource: request.indicates_resource,
            holder: request.client.holder(),
            may_refresh: request.may_refresh(),
            newest_refresh_token: String::new(),
            used_at: now,
            revoked: false,
            bound_to: None,
        }
    }
}

/// Why a code or refresh token is rejected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GrantError {
    KeyNotProven(&'static str),
    InvalidGrant(&'static str),
    InvalidScope(&'static str),
}

/// An accepted code or refresh token.
#[derive(Debug)]
pub(crate) struct Redeemed {
    pub(crate) grant: Grant,
    pub(crate) nonce: Option<String>,
    pub(crate) refresh_token: Option<String>,
}

#[derive(Debug)]
struct Code {
    request: AuthorizationRequest,
    grant: Grant,
    expires_at: OffsetDateTime,
    /// The grant that it belongs to.
    grant_id: Option<String>,
}

#[derive(Debug)]
struct RefreshToken {
    grant_id: String,
    replaced_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grant that was used in this second.
    fn grant(number: usize) -> Grant {
        Grant {
            user_id: String::new(),
            organization_id: String::new(),
            session_id: number.to_string(),
            scopes: Vec::new(),
            indicates_resource: false,
            holder: Holder { client_id: String::new(), resource_id: None },
            may_refresh: true,
            newest_refresh_token: String::new(),
            used_at: OffsetDateTime::UNIX_EPOCH + Duration::from_secs(number as u64),
            revoked: number % 2 == 1,
            bound_to: None,
        }
    }

    #[test]
    fn the_tokens_that_were_replaced_first_are_forgotten() {
        let mut grants = Grants::default();
        grants.grants.insert("0".to_owned(), grant(0));
        let holder = Holder { client_id: String::new(), resource_id: None };
        let proven = ProvenKey { key: None, binds_grant: false };
        let first = grants.add_refresh_token("0");
        let (mut token, mut second) = (first.clone(), None);
        for number in 1..MAX_TOKENS + 2 {
            let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            let redeemed = grants.refresh(&token, &holder, None, &proven, Duration::ZERO, now);
            token = redeemed.unwrap().refresh_token.unwrap();
            second.get_or_insert(token.clone());
            assert!(grants.refresh_tokens.len() <= MAX_TOKENS);
        }
        assert!(!grants.refresh_tokens.contains_key(&first));
        assert!(!grants.refresh_tokens.contains_key(&second.unwrap()));
        assert!(grants.refresh_tokens.len() > MAX_TOKENS / 2);
    }

    #[test]
    fn the_oldest_grants_are_forgotten_with_their_tokens_and_revoked_ones_first() {
        let mut grants = Grants::default();
        for number in 0..3 * MAX_KNOWN {
            grants.remove_excess();
            let id = number.to_string();
            grants.grants.insert(id.clone(), grant(number));
            grants.add_refresh_token(&id);
            assert!(grants.grants.len() <= MAX_KNOWN);
            assert_eq!(grants.grants.len(), grants.refresh_tokens.len());
        }
        let known = |number: usize| grants.grants.contains_key(&number.to_string());
        assert!(known(3 * MAX_KNOWN - 1) && known(3 * MAX_KNOWN - 2));
        assert!(known(2 * MAX_KNOWN) && !known(2 * MAX_KNOWN + 1), "a revoked one is older");
        assert!(!known(0) && !known(1));
        let (kept, gone) = (3 * MAX_KNOWN - 1, 3 * MAX_KNOWN - 2);
        grants.remove_sessions(&BTreeSet::from([gone.to_string()]));
        assert!(grants.grants.contains_key(&kept.to_string()));
        assert!(!grants.grants.contains_key(&gone.to_string()));
        assert_eq!(grants.grants.len(), grants.refresh_tokens.len());
    }
}
