//! Everything about the environment that changes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use time::OffsetDateTime;

use super::authorize::AuthorizationRequest;
use super::faults::EndpointFaults;
use super::grants::Grants;
use super::keys::{KeyRing, SigningKey, random_token};
use super::people::People;
use super::sessions::Sessions;
use super::tampering::Tampering;

/// How long a login page may be left open.
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct State {
    pub(super) environment_url: String,
    pub(super) redirect_uris: BTreeSet<String>,
    pub(super) post_logout_redirect_uris: BTreeSet<String>,
    pub(super) people: People,
    pub(super) keys: KeyRing,
    pub(super) grants: Grants,
    pub(super) endpoint_faults: EndpointFaults,
    pub(super) tampering: Tampering,
    pub(super) sessions: Sessions,
    transactions: HashMap<String, Transaction>,
}

impl State {
    pub(super) fn seeded(environment_url: String) -> Self {
        Self {
            environment_url,
            redirect_uris: BTreeSet::new(),
            post_logout_redirect_uris: BTreeSet::new(),
            people: People::seeded(),
            keys: KeyRing::new(SigningKey::first()),
            grants: Grants::default(),
            endpoint_faults: EndpointFaults::default(),
            tampering: Tampering::default(),
            sessions: Sessions::default(),
            transactions: HashMap::new(),
        }
    }

    /// Keeps an authorization request while its user looks at the login page.
    pub(super) fn open_transaction(
        &mut self,
        request: AuthorizationRequest,
        now: OffsetDateTime,
    ) -> String {
        self.transactions.retain(|_, transaction| now < transaction.expires_at);
        let id = random_token();
        let expires_at = now + TRANSACTION_LIFETIME;
        self.transactions.insert(id.clone(), Transaction { request, expires_at });
        id
    }

    pub(super) fn transaction(
        &self,
        id: &str,
        now: OffsetDateTime,
    ) -> Option<&AuthorizationRequest> {
        let transaction = self.transactions.get(id)?;
        (now < transaction.expires_at).then_some(&transaction.request)
    }

    pub(super) fn close_transaction(&mut self, id: &str) {
        self.transactions.remove(id);
    }
}

#[derive(Debug)]
struct Transaction {
    request: AuthorizationRequest,
    expires_at: OffsetDateTime,
}
