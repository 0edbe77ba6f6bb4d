//! Everything about the environment that changes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use time::OffsetDateTime;

use super::admin_portal::AdminPortal;
use super::authorize::{AuthorizationRequest, SignedIn};
use super::connected_accounts::ConnectedAccounts;
use super::consent::Consents;
use super::directories::Directories;
use super::faults::EndpointFaults;
use super::grants::Grants;
use super::keys::{KeyRing, SigningKey, random_token};
use super::passwordless::Passwordless;
use super::people::People;
use super::resources::Resources;
use super::sessions::Sessions;
use super::tampering::Tampering;
use super::webhooks::Webhooks;

/// How long a page may be left open.
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct State {
    pub(super) environment_url: String,
    pub(super) redirect_uris: BTreeSet<String>,
    pub(super) post_logout_redirect_uris: BTreeSet<String>,
    pub(super) initiate_login_url: Option<String>,
    pub(super) admin_portal: AdminPortal,
    pub(super) people: People,
    pub(super) directories: Directories,
    pub(super) webhooks: Webhooks,
    pub(super) passwordless: Passwordless,
    pub(super) resources: Resources,
    pub(super) consents: Consents,
    pub(super) connected_accounts: ConnectedAccounts,
    pub(super) keys: KeyRing,
    pub(super) grants: Grants,
    pub(super) endpoint_faults: EndpointFaults,
    pub(super) tampering: Tampering,
    pub(super) sessions: Sessions,
    transactions: HashMap<String, Transaction>,
}

impl State {
    pub(super) fn seeded(environment_url: String, now: OffsetDateTime) -> Self {
        let people = People::seeded();
        Self {
            environment_url,
            redirect_uris: BTreeSet::new(),
            post_logout_redirect_uris: BTreeSet::new(),
            initiate_login_url: None,
            admin_portal: AdminPortal::default(),
            directories: Directories::seeded(&people.organizations, now),
            people,
            webhooks: Webhooks::default(),
            passwordless: Passwordless::default(),
            resources: Resources::seeded(),
            consents: Consents::default(),
            connected_accounts: ConnectedAccounts::seeded(now),
            keys: KeyRing::new(SigningKey::first()),
            grants: Grants::default(),
            endpoint_faults: EndpointFaults::default(),
            tampering: Tampering::default(),
            sessions: Sessions::default(),
            transactions: HashMap::new(),
        }
    }

    /// Keeps an authorization request while its user looks at a page: at the login page, or, once
    /// they are signed in, at the one that asks for consent.
    pub(super) fn open_transaction(
        &mut self,
        request: AuthorizationRequest,
        signed_in: Option<SignedIn>,
        now: OffsetDateTime,
    ) -> String {
        self.transactions.retain(|_, transaction| now < transaction.expires_at);
        let id = random_token();
        let expires_at = now + TRANSACTION_LIFETIME;
        self.transactions.insert(id.clone(), Transaction { request, signed_in, expires_at });
        id
    }

    pub(super) fn transaction(
        &self,
        id: &str,
        now: OffsetDateTime,
    ) -> Option<(&AuthorizationRequest, Option<&SignedIn>)> {
        let transaction = self.transactions.get(id)?;
        (now < transaction.expires_at)
            .then_some((&transaction.request, transaction.signed_in.as_ref()))
    }

    pub(super) fn close_transaction(&mut self, id: &str) {
        self.transactions.remove(id);
    }
}

#[derive(Debug)]
struct Transaction {
    request: AuthorizationRequest,
    signed_in: Option<SignedIn>,
    expires_at: OffsetDateTime,
}
