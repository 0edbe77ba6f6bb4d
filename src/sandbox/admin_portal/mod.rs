//! `/magicLink/{link}` and `/portal/{session}`: the admin portal, where an administrator of an
//! organization enables and disables single sign-on and directory sync.
//!
//! A link works once, within a minute; its session lasts six hours. The session is in the URL,
//! because browsers do not send cookies into a frame of another site.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::forms::own_form;
use crate::sandbox::pages::{self, AdminPortalPage, Embeddable as _};
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::portal::{Features, PortalLink, Visit};

impl State {
    pub(crate) fn portal_link(&mut self, organization_id: &str, features: Features) -> PortalLink {
        let (link, expires_at) = self.admin_portal.add_link(organization_id, features, self.now);
        PortalLink {
            id: new_id("lnk"),
            location: format!("{}/magicLink/{link}", self.environment_url),
            expires_at,
        }
    }

    /// Enables or disables a connection or a directory of the organization, or verifies a domain.
    /// Returns whether it exists.
    fn switch(&mut self, visit: &Visit, id: &str, enabled: bool) -> bool {
        let Visit { organization_id, features: Features { sso, dir_sync }, .. } = visit;
        if *sso && self.connections.of(organization_id).any(|connection| connection.id == id) {
            return self.set_connection_enabled(id, enabled).is_some();
        }
        if *sso && self.domains_of(organization_id).any(|domain| domain.id == id) {
            return enabled && self.verify_domain(id);
        }
        if *dir_sync && self.directories.of(organization_id).any(|directory| directory.id == id) {
            return self.set_directory_enabled(id, enabled).is_some();
        }
        false
    }
}

/// Whether a link is an unused one to the portal: other links have the same path.
pub(crate) fn is_link(state: &State, link: &str) -> bool {
    state.admin_portal.has_link(link)
}

/// `GET /magicLink/{link}`: opens the portal, once.
pub(crate) fn open(state: &mut State, link: &str) -> Response<Bytes> {
    match state.admin_portal.open(link, state.now) {
        Some(session) => redirect(StatusCode::FOUND, &format!("/portal/{session}")),
        None => {
            problem("This link has expired", "It works once, within a minute. Ask for a new one.")
        }
    }
}

/// `GET /portal/{session}`: the page.
pub(crate) fn show(state: &State, session: &str) -> Response<Bytes> {
    let Some(visit) = state.admin_portal.session(session, state.now) else { return expired() };
    let Visit { organization_id, features: Features { sso, dir_sync }, .. } = visit;
    pages::admin_portal(&AdminPortalPage {
        session,
        organization: state.users.organization_name(organization_id),
        connections: sso.then(|| state.connections.of(organization_id).collect()),
        domains: match sso {
            true => state.domains_of(organization_id).collect(),
            false => Vec::new(),
        },
        directories: dir_sync.then(|| state.directories.of(organization_id).collect()),
    })
}

/// `POST /portal/{session}`: enables or disables a feature.
pub(crate) fn submit(
    state: &mut State,
    request: &Request<Bytes>,
    session: &str,
) -> Response<Bytes> {
    const REJECTED: &str = "Nothing was changed";
    let form = match own_form(request) {
        Ok(form) => form,
        Err(rejected) => {
            return pages::problem(rejected.status, REJECTED, rejected.message).embeddable();
        }
    };
    let Some(visit) = state.admin_portal.session(session, state.now).cloned() else {
        return expired();
    };
    let enabled = form.get("action") == Some("enable");
    if !state.switch(&visit, form.get("id").unwrap_or_default(), enabled) {
        return problem(REJECTED, "The organization does not have this feature.");
    }
    redirect(StatusCode::SEE_OTHER, &format!("/portal/{session}"))
}

fn expired() -> Response<Bytes> {
    problem("This session has expired", "It lasts six hours. Ask for a new link.")
}

fn problem(title: &str, reason: &str) -> Response<Bytes> {
    pages::problem(StatusCode::NOT_FOUND, title, reason).embeddable()
}
