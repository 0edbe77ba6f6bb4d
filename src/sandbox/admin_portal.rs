//! `/magicLink/{link}` and `/portal/{session}`: where an administrator of an organization switches
//! single sign-on and directory sync on and off.
//!
//! A link opens it once, within a minute; the session it starts lasts six hours. The session is in
//! the address and not in a cookie, which a browser would not send into a frame of another site.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use time::OffsetDateTime;

use super::environment::{Environment, new_id};
use super::keys::random_token;
use super::login::form_of_own_page;
use super::pages::{self, AdminPortalPage, Embeddable as _};
use super::respond::redirect;
use super::state::State;

const LINK_LIFETIME: Duration = Duration::from_secs(60);
const SESSION_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// All links that were not opened, and all sessions.
#[derive(Debug, Default)]
pub(super) struct AdminPortal {
    links: HashMap<String, Visit>,
    sessions: HashMap<String, Visit>,
}

/// Whose portal it is, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) organization_id: String,
    pub(super) features: Features,
    expires_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) sso: bool,
    pub(super) dir_sync: bool,
}

/// A link that was just made.
#[derive(Debug)]
pub(super) struct PortalLink {
    pub(super) id: String,
    pub(super) location: String,
    pub(super) expires_at: OffsetDateTime,
}

impl State {
    pub(super) fn portal_link(
        &mut self,
        organization_id: &str,
        features: Features,
        now: OffsetDateTime,
    ) -> PortalLink {
        let expires_at = now + LINK_LIFETIME;
        let links = &mut self.admin_portal.links;
        links.retain(|_, link| now < link.expires_at);
        let link = random_token();
        let location = format!("{}/magicLink/{link}", self.environment_url);
        let organization_id = organization_id.to_owned();
        links.insert(link, Visit { organization_id, features, expires_at });
        PortalLink { id: new_id("lnk"), location, expires_at }
    }

    fn portal_session(&self, session: &str, now: OffsetDateTime) -> Option<&Visit> {
        self.admin_portal.sessions.get(session).filter(|visit| now < visit.expires_at)
    }

    /// Switches a connection or a directory of the visited organization. Says whether it has such.
    fn switch(&mut self, visit: &Visit, id: &str, enabled: bool, now: OffsetDateTime) -> bool {
        let own = |organization_id: &str| organization_id == visit.organization_id;
        let connection = self.people.connection(id);
        if visit.features.sso && connection.is_some_and(|known| own(&known.organization_id)) {
            return self.set_connection_enabled(id, enabled, now).is_some();
        }
        let directory = self.directories.get(id);
        if visit.features.dir_sync && directory.is_some_and(|known| own(&known.organization_id)) {
            return self.set_directory_enabled(id, enabled, now).is_some();
        }
        false
    }
}

/// Whether it is a link to the portal that was not opened: other links have the same address.
pub(super) fn is_link(environment: &Environment, link: &str) -> bool {
    environment.lock().admin_portal.links.contains_key(link)
}

/// `GET /magicLink/{link}`: opens the portal, once.
pub(super) fn open(environment: &Environment, link: &str) -> Response<Bytes> {
    let now = environment.now();
    let mut state = environment.lock();
    let visit = state.admin_portal.links.remove(link).filter(|visit| now < visit.expires_at);
    let Some(visit) = visit else {
        return problem("This link is over", "It works once, within a minute. Ask for a new one.");
    };
    let session = random_token();
    let sessions = &mut state.admin_portal.sessions;
    sessions.retain(|_, visit| now < visit.expires_at);
    let expires_at = now + SESSION_LIFETIME;
    sessions.insert(session.clone(), Visit { expires_at, ..visit });
    redirect(StatusCode::FOUND, &format!("/portal/{session}"))
}

/// `GET /portal/{session}`: the page.
pub(super) fn show(environment: &Environment, session: &str) -> Response<Bytes> {
    let state = environment.lock();
    let Some(visit) = state.portal_session(session, environment.now()) else { return over() };
    let organization = state.people.organization(&visit.organization_id);
    let connections = state.people.connections_of(&visit.organization_id);
    let directories = state.directories.of(&visit.organization_id);
    pages::admin_portal(&AdminPortalPage {
        session,
        organization: organization.map_or("", |organization| &organization.display_name),
        connections: visit.features.sso.then(|| connections.collect()),
        directories: visit.features.dir_sync.then(|| directories.collect()),
    })
}

/// `POST /portal/{session}`: something is switched on or off.
pub(super) fn submit(
    environment: &Environment,
    request: &Request<Bytes>,
    session: &str,
) -> Response<Bytes> {
    const REFUSED: &str = "Nothing is changed";
    let form = match form_of_own_page(request) {
        Ok(form) => form,
        Err(refused) => return refused.page_with_title(REFUSED).embeddable(),
    };
    let now = environment.now();
    let mut state = environment.lock();
    let Some(visit) = state.portal_session(session, now).cloned() else { return over() };
    let enabled = form.get("action") == Some("enable");
    if !state.switch(&visit, form.get("id").unwrap_or_default(), enabled, now) {
        return problem(REFUSED, "The organization does not have that, or no longer.");
    }
    redirect(StatusCode::SEE_OTHER, &format!("/portal/{session}"))
}

fn over() -> Response<Bytes> {
    problem("This visit is over", "It lasts six hours. Ask for a new link.")
}

fn problem(title: &str, reason: &str) -> Response<Bytes> {
    pages::problem(StatusCode::NOT_FOUND, title, reason).embeddable()
}
