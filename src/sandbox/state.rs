//! Everything about the environment that changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use time::OffsetDateTime;

use super::authorize::AuthorizationRequest;
use super::environment::new_id;
use super::faults::EndpointFaults;
use super::grants::Grants;
use super::keys::{KeyRing, SigningKey, random_token};
use super::people::{People, User};
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
    sessions: BTreeMap<String, Session>,
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
            sessions: BTreeMap::new(),
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

    /// A session of the user in a browser: its id (`sid`) and the cookie that stands for it.
    pub(super) fn start_session(&mut self, user_id: &str) -> (String, String) {
        let (id, cookie) = (new_id("ses"), random_token());
        let session = Session { user_id: user_id.to_owned(), cookie: cookie.clone(), ended: false };
        self.sessions.insert(id.clone(), session);
        (id, cookie)
    }

    /// The live session a browser's cookies stand for, and its user.
    pub(super) fn session_of<'a>(
        &self,
        mut cookies: impl Iterator<Item = &'a str>,
    ) -> Option<(String, User)> {
        cookies.find_map(|cookie| {
            let (id, session) =
                self.sessions.iter().find(|(_, known)| known.cookie == cookie && !known.ended)?;
            let user = self.people.users.iter().find(|user| user.id == session.user_id)?;
            Some((id.clone(), user.clone()))
        })
    }

    pub(super) fn end_session(&mut self, id: &str) -> bool {
        self.grants.revoke_session(id);
        let session = self.sessions.get_mut(id);
        session.is_some_and(|session| !std::mem::replace(&mut session.ended, true))
    }

    pub(super) fn end_sessions_of(&mut self, email: &str) -> usize {
        let Some(user_id) = self.people.find(email).map(|user| user.id.clone()) else { return 0 };
        let of_user = self.sessions.iter().filter(|(_, session)| session.user_id == user_id);
        let ids: Vec<_> = of_user.map(|(id, _)| id.clone()).collect();
        ids.iter().filter(|id| self.end_session(id)).count()
    }
}

#[derive(Debug)]
struct Session {
    user_id: String,
    cookie: String,
    ended: bool,
}

#[derive(Debug)]
struct Transaction {
    request: AuthorizationRequest,
    expires_at: OffsetDateTime,
}
