//! The data of an environment, and the rules that keep its parts consistent.

pub(crate) mod api_keys;
pub(crate) mod authorization;
pub(crate) mod clients;
pub(crate) mod connected_accounts;
pub(crate) mod connections;
pub(crate) mod connectors;
pub(crate) mod consents;
pub(crate) mod digest;
pub(crate) mod directories;
pub(crate) mod directory_records;
pub(crate) mod domains;
pub(crate) mod ec_key;
pub(crate) mod faults;
pub(crate) mod grants;
pub(crate) mod history;
pub(crate) mod ids;
pub(crate) mod invitations;
pub(crate) mod keys;
pub(crate) mod machines;
pub(crate) mod mail;
pub(crate) mod mcp_configs;
pub(crate) mod memberships;
pub(crate) mod own_logins;
pub(crate) mod portal;
pub(crate) mod resources;
pub(crate) mod roles;
pub(crate) mod sessions;
pub(crate) mod token_faults;
pub(crate) mod users;
pub(crate) mod webhook_endpoint;
pub(crate) mod webhook_envelope;
pub(crate) mod webhooks;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use time::OffsetDateTime;

use crate::sandbox::state::api_keys::ApiKey;
use crate::sandbox::state::authorization::{AuthorizationRequest, SignedIn};
use crate::sandbox::state::connected_accounts::SandboxConnectedAccounts;
use crate::sandbox::state::connections::{Connections, SandboxConnection};
use crate::sandbox::state::consents::Consents;
use crate::sandbox::state::directories::Directories;
use crate::sandbox::state::domains::Domain;
use crate::sandbox::state::faults::EndpointFaults;
use crate::sandbox::state::grants::{Grant, Grants};
use crate::sandbox::state::history::excess;
use crate::sandbox::state::ids::{new_id, random_token};
use crate::sandbox::state::keys::{KeyRing, SigningKey};
use crate::sandbox::state::machines::MachineClient;
use crate::sandbox::state::mail::Passwordless;
use crate::sandbox::state::mcp_configs::McpConfig;
use crate::sandbox::state::own_logins::PendingOwnLogins;
use crate::sandbox::state::portal::AdminPortal;
use crate::sandbox::state::resources::Resources;
use crate::sandbox::state::roles::Roles;
use crate::sandbox::state::sessions::{Session, SessionEnd, Sessions};
use crate::sandbox::state::token_faults::TokenEdit;
use crate::sandbox::state::users::{NewUser, SandboxOrganization, SandboxUser, Users, capitalized};
use crate::sandbox::state::webhooks::Webhooks;

/// How long a page may stay open.
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct State {
    /// The time at which the state was locked, the same for all that happens under one lock.
    pub(crate) now: OffsetDateTime,
    pub(crate) environment_url: String,
    pub(crate) redirect_uris: BTreeSet<String>,
    pub(crate) post_logout_redirect_uris: BTreeSet<String>,
    pub(crate) initiate_login_url: Option<String>,
    pub(crate) admin_portal: AdminPortal,
    pub(crate) users: Users,
    pub(crate) api_keys: Vec<ApiKey>,
    pub(crate) connections: Connections,
    pub(crate) domains: Vec<Domain>,
    pub(crate) directories: Directories,
    pub(crate) webhooks: Webhooks,
    pub(crate) mail: Passwordless,
    pub(crate) machines: Vec<MachineClient>,
    pub(crate) mcp_configs: Vec<McpConfig>,
    pub(crate) resources: Resources,
    pub(crate) roles: Roles,
    pub(crate) consents: Consents,
    pub(crate) connected_accounts: SandboxConnectedAccounts,
    pub(crate) keys: KeyRing,
    pub(crate) grants: Grants,
    /// Proofs of possession, with the second until which they are known.
    pub(crate) used_proofs: HashMap<String, i64>,
    pub(crate) endpoint_faults: EndpointFaults,
    /// Oldest first.
    pub(crate) token_edits: Vec<TokenEdit>,
    pub(crate) sessions: Sessions,
    pub(crate) own_logins: PendingOwnLogins,
    transactions: HashMap<String, Transaction>,
}

impl State {
    /// An environment with the initial organizations and users.
    pub(crate) fn seeded(environment_url: String, now: OffsetDateTime) -> Self {
        let mut state = Self {
            now,
            environment_url,
            redirect_uris: BTreeSet::new(),
            post_logout_redirect_uris: BTreeSet::new(),
            initiate_login_url: None,
            admin_portal: AdminPortal::default(),
            directories: Directories::new(now),
            users: Users::default(),
            api_keys: Vec::new(),
            connections: Connections::default(),
            domains: Vec::new(),
            webhooks: Webhooks::default(),
            mail: Passwordless::default(),
            machines: Vec::new(),
            mcp_configs: Vec::new(),
            resources: Resources::seeded(),
            roles: Roles::seeded(now),
            consents: Consents::default(),
            connected_accounts: SandboxConnectedAccounts::seeded(now),
            keys: KeyRing::new(SigningKey::first()),
            grants: Grants::default(),
            endpoint_faults: EndpointFaults::default(),
            token_edits: Vec::new(),
            used_proofs: HashMap::new(),
            sessions: Sessions::default(),
            own_logins: PendingOwnLogins::default(),
            transactions: HashMap::new(),
        };
        state.seed_users();
        state.directories.seed(&state.users.organizations, now);
        state
    }

    fn seed_users(&mut self) {
        self.add_organization(
            SandboxOrganization {
                id: "org_59615193906282635".to_owned(),
                external_id: Some("ext_org_123".to_owned()),
                connection_id: "conn_59615255777705100".to_owned(),
                ..SandboxOrganization::new("Acme", &["acme.test"])
            },
            ["OKTA", "SAML"],
        );
        self.add_organization(
            SandboxOrganization {
                id: "org_59615194007076620".to_owned(),
                connection_id: "conn_59615256201461900".to_owned(),
                ..SandboxOrganization::new("Globex", &["globex.test"])
            },
            ["MICROSOFT_AD", "OIDC"],
        );
        self.add_organization(
            SandboxOrganization {
                id: "org_70087756646187150".to_owned(),
                connection_id: "conn_70087756662964366".to_owned(),
                ..SandboxOrganization::new("Test Organization", &["example.com", "example.org"])
            },
            ["IDP_SIMULATOR", "OIDC"],
        );
        for (id, email, (given, family), is_admin) in [
            ("usr_63261014140912135", "jane@acme.test", ("Jane", "Roe"), true),
            ("usr_63261014241575432", "john@acme.test", ("John", "Doe"), false),
            ("usr_63261014325461513", "gita@globex.test", ("Gita", "Rao"), true),
            ("usr_63261014409347594", "john@example.com", ("John", "Doe"), false),
            ("usr_63261014493233675", "mina@example.org", ("Mina", "Berg"), false),
        ] {
            let mut user = NewUser::new(email).name(given, family);
            if is_admin {
                user = user
                    .roles(["admin"])
                    .permissions(["workspace_data:read", "workspace_data:write"]);
            }
            self.add_user(user);
            if let Some(user) = self.users.all.last_mut() {
                id.clone_into(&mut user.id);
            }
        }
    }

    /// Adds an organization with a connection of this provider and type.
    pub(crate) fn add_organization(
        &mut self,
        organization: SandboxOrganization,
        [provider, connection_type]: [&str; 2],
    ) -> SandboxOrganization {
        let since = organization.made_at.unwrap_or(self.directories.since);
        self.domains.extend(Domain::of(&organization, since));
        self.connections.all.push(SandboxConnection::new(&organization, provider, connection_type));
        self.users.add_organization(organization)
    }

    /// Adds a user, or replaces the one with the same address. Without a known organization, the
    /// domain of the address selects one; a domain without one gets a new organization.
    pub(crate) fn add_user(&mut self, new: NewUser) -> SandboxUser {
        let domain = new.email.rsplit_once('@').map_or("example.test", |(_, domain)| domain);
        let requested = new.organization_id.as_deref().and_then(|id| self.users.organization(id));
        let organization = match requested.or_else(|| self.users.with_domain(domain)) {
            Some(organization) => organization.clone(),
            None => {
                let name = capitalized(domain.split('.').next().unwrap_or(domain));
                let mut organization = SandboxOrganization::new(&name, &[domain]);
                // Unknown IDs are kept: a test may choose them.
                if let Some(id) = &new.organization_id {
                    organization.id.clone_from(id);
                }
                self.add_organization(organization, ["CUSTOM", "OIDC"])
            }
        };
        self.users.add(new, organization)
    }

    /// The user with this address, who signs up if there is none.
    pub(crate) fn find_or_add_user(&mut self, new: NewUser) -> SandboxUser {
        self.users.find(&new.email).cloned().unwrap_or_else(|| self.add_user(new))
    }

    /// The `issuer` of a resource's metadata.
    pub(crate) fn resource_issuer(&self, id: &str) -> String {
        format!("{}/resources/{id}", self.environment_url)
    }

    /// The URL that redirects the browser back with a code.
    pub(crate) fn grant(
        &mut self,
        authorization: AuthorizationRequest,
        signed_in: SignedIn,
    ) -> String {
        self.touch_session(&signed_in.session_id);
        self.switch_session(&signed_in.session_id, &signed_in.user.organization_id);
        if let Some(user) = self.users.with_id_mut(&signed_in.user.id) {
            user.last_login_at = Some(self.now);
        }
        let grant = Grant::new(&authorization, signed_in, self.now);
        authorization.reply.clone().code(&self.grants.issue_code(authorization, grant, self.now))
    }

    /// Stores an authorization request while its user is at a page: the login page, or afterwards
    /// the consent page.
    pub(crate) fn open_transaction(
        &mut self,
        request: AuthorizationRequest,
        signed_in: Option<SignedIn>,
    ) -> String {
        self.transactions.retain(|_, transaction| self.now < transaction.expires_at);
        let id = random_token();
        self.transactions.insert(
            id.clone(),
            Transaction { request, signed_in, expires_at: self.now + TRANSACTION_LIFETIME },
        );
        id
    }

    pub(crate) fn transaction(
        &self,
        id: &str,
    ) -> Option<(&AuthorizationRequest, Option<&SignedIn>)> {
        let transaction = self.transactions.get(id)?;
        (self.now < transaction.expires_at)
            .then_some((&transaction.request, transaction.signed_in.as_ref()))
    }

    pub(crate) fn close_transaction(&mut self, id: &str) {
        self.transactions.remove(id);
    }

    /// Creates a session of the user in a browser. Returns its ID (`sid`) and its cookie.
    pub(crate) fn start_session(
        &mut self,
        user: &SandboxUser,
        user_agent: Option<&str>,
    ) -> (String, String) {
        self.remove_excess_sessions();
        let (id, cookie) = (new_id("ses"), random_token());
        self.sessions.insert(
            id.clone(),
            Session {
                user_id: user.id.clone(),
                organization_id: user.organization_id.clone(),
                authenticated_organizations: vec![user.organization_id.clone()],
                user_agent: user_agent.map(str::to_owned),
                created_at: self.now,
                updated_at: self.now,
                last_active_at: self.now,
                end: None,
                cookie: cookie.clone(),
            },
        );
        (id, cookie)
    }

    /// Ended ones first, then those that were not used for the longest time.
    fn remove_excess_sessions(&mut self) {
        let known = self.sessions.iter();
        let old =
            excess(known.map(|(id, session)| ((session.is_active(), session.updated_at), id)));
        if !old.is_empty() {
            self.sessions.retain(|id, _| !old.contains(id));
            self.grants.remove_sessions(&old);
        }
    }

    /// The active session of a browser's cookies, and its user as a member of the session's
    /// organization.
    pub(crate) fn session_of<'a>(
        &self,
        mut cookies: impl Iterator<Item = &'a str>,
    ) -> Option<(String, SandboxUser)> {
        cookies.find_map(|cookie| {
            let (id, session) = self
                .sessions
                .iter()
                .find(|(_, session)| session.cookie == cookie && session.is_active())?;
            let user = self.users.with_id(&session.user_id)?.active_at(&session.organization_id)?;
            Some((id.clone(), user))
        })
    }

    /// Whether the user of a session has signed in to the organization.
    pub(crate) fn has_authenticated(&self, id: &str, organization_id: &str) -> bool {
        self.sessions.get(id).is_some_and(|session| {
            session.authenticated_organizations.iter().any(|known| known == organization_id)
        })
    }

    /// Continues a session in another organization of its user.
    pub(crate) fn switch_session(&mut self, id: &str, organization_id: &str) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        organization_id.clone_into(&mut session.organization_id);
        if !session.authenticated_organizations.iter().any(|known| known == organization_id) {
            session.authenticated_organizations.push(organization_id.to_owned());
        }
    }

    /// Records an activity of the user.
    pub(crate) fn touch_session(&mut self, id: &str) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.last_active_at = self.now;
            session.updated_at = self.now;
        }
    }

    /// Returns whether it was active.
    pub(crate) fn end_session(&mut self, id: &str, how: SessionEnd) -> bool {
        self.grants.revoke_session(id);
        self.sessions.get_mut(id).filter(|session| session.is_active()).is_some_and(|session| {
            session.updated_at = self.now;
            session.end.replace((how, self.now)).is_none()
        })
    }

    /// Revokes the sessions of the user with this address. Returns how many were active.
    pub(crate) fn end_sessions_of(&mut self, email: &str) -> usize {
        self.users
            .find(email)
            .map(|user| user.id.clone())
            .map_or(0, |user_id| self.revoke_sessions_of(&user_id).len())
    }

    /// Revokes the sessions of the user with this ID. Returns those that were active.
    pub(crate) fn revoke_sessions_of(&mut self, user_id: &str) -> Vec<String> {
        self.revoke_sessions(|session| session.user_id == user_id)
    }

    /// Revokes the sessions in which the user is active in this organization, and the tokens of the
    /// user's other sessions for it.
    pub(crate) fn revoke_sessions_at(&mut self, user_id: &str, organization_id: &str) {
        self.grants.revoke_member(user_id, organization_id);
        self.revoke_sessions(|session| {
            session.user_id == user_id && session.organization_id == organization_id
        });
        for session in self.sessions.values_mut().filter(|session| session.user_id == user_id) {
            session.authenticated_organizations.retain(|known| known != organization_id);
        }
    }

    fn revoke_sessions(&mut self, matches: impl Fn(&Session) -> bool) -> Vec<String> {
        let mut ids: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| matches(session))
            .map(|(id, _)| id.clone())
            .collect();
        ids.retain(|id| self.end_session(id, SessionEnd::Revoked));
        ids
    }
}

#[derive(Debug)]
struct Transaction {
    request: AuthorizationRequest,
    signed_in: Option<SignedIn>,
    expires_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::history::MAX_KNOWN;
    use super::*;

    #[test]
    fn a_new_user_joins_the_organization_of_the_domain_or_creates_one() {
        let mut state = State::seeded(String::new(), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(state.add_user("ADA@ACME.test".into()).organization_name, "Acme");
        let peter = state.add_user("peter@initech.test".into());
        assert_eq!((peter.name.as_str(), peter.organization_name.as_str()), ("Peter", "Initech"));
        let milton = state.add_user("milton@initech.test".into());
        assert_eq!(milton.organization_id, peter.organization_id);
    }

    #[test]
    fn the_oldest_sessions_are_forgotten_and_ended_ones_first() {
        let mut state = State::seeded(String::new(), OffsetDateTime::UNIX_EPOCH);
        let jane = state.users.find("jane@acme.test").unwrap().clone();
        let mut ids = Vec::new();
        for number in 0..3 * MAX_KNOWN {
            state.now += Duration::from_secs(1);
            ids.push(state.start_session(&jane, None).0);
            if number % 2 == 1 {
                state.end_session(&ids[number], SessionEnd::LoggedOut);
            }
            assert!(state.sessions.len() <= MAX_KNOWN);
        }
        let known = |number: usize| state.sessions.contains_key(&ids[number]);
        assert!(known(3 * MAX_KNOWN - 1) && known(3 * MAX_KNOWN - 2));
        assert!(known(2 * MAX_KNOWN) && !known(2 * MAX_KNOWN + 1), "an ended one is older");
        assert!(!known(0) && !known(1));
    }

    #[test]
    fn adding_the_same_address_again_keeps_the_id() {
        let mut state = State::seeded(String::new(), OffsetDateTime::UNIX_EPOCH);
        let count = state.users.all.len();
        let id = state.users.find("jane@acme.test").unwrap().id.clone();
        assert_eq!(state.add_user(NewUser::new("Jane@acme.test").roles(["x"])).id, id);
        assert_eq!(state.users.all.len(), count);
    }
}
