//! Controls of tokens and signing keys.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::sandbox::environment::Environment;
use crate::sandbox::state::token_faults::{TokenDraft, TokenEdit, TokenFault, TokenKind};
use crate::sandbox::state::users::NewUser;
use crate::sandbox::tokens::dpop::DpopKey;
use crate::sandbox::tokens::signing::signed;
use crate::sandbox::tokens::{Binding, Mint, Subject};

/// What a token without a login is issued for.
const DEFAULT_SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// Tokens without a login, and faults of issued tokens. Returned by
/// [`Sandbox::tokens`](crate::sandbox::Sandbox::tokens).
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Tokens<'_> {
    /// An access token as after a login of this user; an unknown address signs up first.
    #[must_use]
    pub fn access_token(&self, email: &str) -> String {
        self.sign_draft(&self.access_token_draft(email))
    }

    /// The same token before it is signed, for [`sign_draft`](Self::sign_draft).
    #[must_use]
    pub fn access_token_draft(&self, email: &str) -> TokenDraft {
        let (mint, subject) = self.fresh_subject(email);
        mint.access_token(&subject)
    }

    /// An ID token as after a login of this user whose request had this `nonce`.
    #[must_use]
    pub fn id_token(&self, email: &str, nonce: Option<&str>) -> String {
        self.sign_draft(&self.id_token_draft(email, nonce))
    }

    /// The same token before it is signed, for [`sign_draft`](Self::sign_draft).
    #[must_use]
    pub fn id_token_draft(&self, email: &str, nonce: Option<&str>) -> TokenDraft {
        let (mint, subject) = self.fresh_subject(email);
        mint.fresh_id_token(&subject, nonce)
    }

    /// A token of a back-channel logout, for the user and the session with this ID (`ses_…`, the
    /// claim `sid` of its tokens). The sandbox sends none itself.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{Sandbox, TokenFault};
    ///
    /// let sandbox = Sandbox::new();
    /// let session = sandbox.tokens().access_token_draft("jane@acme.test").claims["sid"].clone();
    /// let mut draft = sandbox.tokens().logout_token_draft(session.as_str().unwrap());
    /// TokenFault::WithClaim("nonce".into(), "n".into()).apply(&mut draft);
    /// let invalid = format!("logout_token={}", sandbox.tokens().sign_draft(&draft));
    /// assert!(invalid.len() > 100);
    /// ```
    #[must_use]
    pub fn logout_token(&self, session_id: &str) -> String {
        self.sign_draft(&self.logout_token_draft(session_id))
    }

    /// The same token before it is signed, for [`sign_draft`](Self::sign_draft).
    #[must_use]
    pub fn logout_token_draft(&self, session_id: &str) -> TokenDraft {
        let state = self.environment.lock();
        let subject = state.sessions.get(session_id).map(|session| session.user_id.as_str());
        Mint::new(self.environment, &state).logout_token(session_id, subject)
    }

    /// A token for a machine of organization Acme (`m2morg_…`) with these scopes. It has no `aud`,
    /// like those of clients created without an audience.
    #[must_use]
    pub fn m2m_token(&self, scopes: &[&str]) -> String {
        let (mint, draft) = {
            let state = self.environment.lock();
            let mint = Mint::new(self.environment, &state);
            let mut draft = mint.m2m_token("m2morg_69038819013296423", scopes);
            if let Some(acme) = state.users.organizations.first() {
                draft.claims.insert("oid".to_owned(), acme.id.as_str().into());
            }
            (mint, draft)
        };
        mint.sign(&draft)
    }

    /// An access token as after a login of this user with a client of the resource (`res_…`) that
    /// was granted these scopes; an unknown address signs up first.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let todo_list = sandbox.mcp().resource_id();
    /// sandbox.mcp().set_resource_url(&todo_list, "https://mcp.example.test/mcp");
    /// let token = sandbox.tokens().resource_token("jane@acme.test", &todo_list, &["todo:read"]);
    /// assert_eq!(token.split('.').count(), 3);
    /// ```
    #[must_use]
    pub fn resource_token(&self, email: &str, resource_id: &str, scopes: &[&str]) -> String {
        self.sign_draft(&self.resource_token_draft(email, resource_id, scopes))
    }

    /// The same token before it is signed, for [`sign_draft`](Self::sign_draft).
    #[must_use]
    pub fn resource_token_draft(
        &self,
        email: &str,
        resource_id: &str,
        scopes: &[&str],
    ) -> TokenDraft {
        let (mint, mut subject) = self.fresh_subject(email);
        subject.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        mint.resource_token(&subject, &self.fresh_binding(resource_id))
    }

    /// An access token of the client-credentials grant of the resource: its subject is the client
    /// (`m2m_…`), its scopes are a list.
    #[must_use]
    pub fn resource_machine_token(&self, resource_id: &str, scopes: &[&str]) -> String {
        let mint = Mint::new(self.environment, &self.environment.lock());
        mint.sign(&mint.resource_machine_token(scopes, &self.fresh_binding(resource_id)))
    }

    /// A new key of a client that requests tokens which are bound to it.
    #[must_use]
    pub fn dpop_key(&self) -> DpopKey {
        DpopKey::generate(self.environment)
    }

    /// Adds a fault to every token of a kind that the token endpoint issues from now on, until
    /// [`clear_faults`](Self::clear_faults).
    ///
    /// ```
    /// use tower_scalekit::sandbox::{Sandbox, TokenFault, TokenKind};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.tokens().add_fault(TokenKind::IdToken, TokenFault::InvalidNonce);
    /// sandbox.tokens().edit(TokenKind::AccessToken, |draft| {
    ///     draft.claims.remove("roles");
    /// });
    /// ```
    pub fn add_fault(&self, kind: TokenKind, fault: TokenFault) {
        self.edit(kind, move |draft| fault.apply(draft));
    }

    /// Edits every token of a kind that the token endpoint issues from now on, until
    /// [`clear_faults`](Self::clear_faults).
    pub fn edit(&self, kind: TokenKind, change: impl Fn(&mut TokenDraft) + Send + Sync + 'static) {
        self.environment.lock().token_edits.push(TokenEdit { kind, change: Arc::new(change) });
    }

    /// Removes all faults and edits of tokens.
    pub fn clear_faults(&self) {
        self.environment.lock().token_edits.clear();
    }

    /// Signs a token without validating it.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{Sandbox, TokenFault};
    ///
    /// let sandbox = Sandbox::new();
    /// let mut draft = sandbox.tokens().access_token_draft("jane@acme.test");
    /// draft.claims.insert("scope".into(), "todo:read".into());
    /// TokenFault::Unsigned.apply(&mut draft);
    /// assert!(sandbox.tokens().sign_draft(&draft).ends_with('.'));
    /// ```
    #[must_use]
    pub fn sign_draft(&self, draft: &TokenDraft) -> String {
        let key = Arc::clone(self.environment.lock().keys.current());
        draft.sign(self.environment, &key)
    }

    /// Signs any claims with the current key.
    #[must_use]
    pub fn sign(&self, claims: Value) -> String {
        let key = Arc::clone(self.environment.lock().keys.current());
        signed(&json!({ "alg": "RS256", "kid": key.kid(), "typ": "JWT" }), &claims, &key)
    }

    /// Signs any claims under any header with the current key and RS256, even if the header names
    /// another algorithm.
    #[must_use]
    pub fn sign_with_header(&self, header: Value, claims: Value) -> String {
        let key = Arc::clone(self.environment.lock().keys.current());
        signed(&header, &claims, &key)
    }

    fn fresh_binding(&self, resource_id: &str) -> Binding {
        self.environment.lock().binding(resource_id, "m2m_69038819013296424", false)
    }

    fn fresh_subject(&self, email: &str) -> (Mint<'_>, Subject) {
        let mut state = self.environment.lock();
        let user = state.find_or_add_user(NewUser::new(email));
        let (session_id, _) = state.start_session(&user, None);
        let scopes = DEFAULT_SCOPES.map(str::to_owned).to_vec();
        (Mint::new(self.environment, &state), Subject::new(&state, user, session_id, scopes))
    }
}
