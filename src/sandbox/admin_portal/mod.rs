//! `/magicLink/{link}` and `/portal/{session}`: the admin portal, where an administrator of an
//! organization enables and disables single sign-on and directory sync.
//!
//! A link works once, within a minute; its session lasts six hours. The session is in the URL,
//! because browsers do not send cookies into a frame of another site.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use time::OffsetDateTime;

use crate::sandbox::environment::Environment;
use crate::sandbox::forms::own_form;
use crate::sandbox::pages::{self, AdminPortalPage, Embeddable as _};
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::portal::{Features, PortalLink, Visit};

impl State {
    pub(crate) fn portal_link(
        &mut self,
        organization_id: &str,
        features: Features,
        now: OffsetDateTime,
    ) -> PortalLink {
        let (link, expires_at) = self.admin_portal.add_link(organization_id, features, now);
        let location = format!("{}/magicLink/{link}", self.environment_url);
        PortalLink { id: new_id("lnk"), location, expires_at }
    }

    /// Enables or disables a connection or a directory of the organization, or verifies a domain.
    /// Returns whether it exists.
    fn switch(&mut self, visit: &Visit, id: &str, enabled: bool, now: OffsetDateTime) -> bool {
        let own = |organization_id: &str| organization_id == visit.organization_id;
        let connection = self.connections.get(id);
        if visit.features.sso && connection.is_some_and(|known| own(&known.organization_id)) {
            return self.set_connection_enabled(id, enabled, now).is_some();
        }
        let domain = self.domains_of(&visit.organization_id).any(|domain| domain.id == id);
        if visit.features.sso && domain {
            return enabled && self.verify_domain(id, now);
        }
        let directory = self.directories.get(id);
        if visit.features.dir_sync && directory.is_some_and(|known| own(&known.organization_id)) {
            return self.set_directory_enabled(id, enabled, now).is_some();
        }
        false
    }
}

/// Whether it is an unused link to the portal: other links have the same path.
pub(crate) fn is_link(environment: &Environment, link: &str) -> bool {
    environment.lock().admin_portal.has_link(link)
}

/// `GET /magicLink/{link}`: opens the portal, once.
pub(crate) fn open(environment: &Environment, link: &str) -> Response<Bytes> {
    let Some(session) = environment.lock().admin_portal.open(link, environment.now()) else {
        return problem(
            "This link has expired",
            "It works once, within a minute. Ask for a new one.",
        );
    };
    redirect(StatusCode::FOUND, &format!("/portal/{session}"))
}

/// `GET /portal/{session}`: the page.
pub(crate) fn show(environment: &Environment, session: &str) -> Response<Bytes> {
    let state = environment.lock();
    let Some(visit) = state.admin_portal.session(session, environment.now()) else { return over() };
    let organization = state.users.organization(&visit.organization_id);
    let connections = state.connections.of(&visit.organization_id);
    let directories = state.directories.of(&visit.organization_id);
    pages::admin_portal(&AdminPortalPage {
        session,
        organization: organization.map_or("", |organization| &organization.display_name),
        connections: visit.features.sso.then(|| connections.collect()),
        domains: match visit.features.sso {
            true => state.domains_of(&visit.organization_id).collect(),
            false => Vec::new(),
        },
        directories: visit.features.dir_sync.then(|| directories.collect()),
    })
}

/// `POST /portal/{session}`: enables or disables a feature.
pub(crate) fn submit(
    environment: &Environment,
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
    let now = environment.now();
    let mut state = environment.lock();
    let Some(visit) = state.admin_portal.session(session, now).cloned() else { return over() };
    let enabled = form.get("action") == Some("enable");
    if !state.switch(&visit, form.get("id").unwrap_or_default(), enabled, now) {
        return problem(REJECTED, "The organization does not have this feature.");
    }
    redirect(StatusCode::SEE_OTHER, &format!("/portal/{session}"))
}

fn over() -> Response<Bytes> {
    problem("This session has expired", "It lasts six hours. Ask for a new link.")
}

fn problem(title: &str, reason: &str) -> Response<Bytes> {
    pages::problem(StatusCode::NOT_FOUND, title, reason).embeddable()
}
