//! Links to the admin portal, and their sessions.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;

use crate::sandbox::state::ids::random_token;

const LINK_LIFETIME: Duration = Duration::from_secs(60);

const SESSION_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// All unused links and all sessions.
#[derive(Debug, Default)]
pub(crate) struct AdminPortal {
    links: HashMap<String, Visit>,
    sessions: HashMap<String, Visit>,
}

/// The organization of a portal, and its features.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) organization_id: String,
    pub(crate) features: Features,
    pub(crate) expires_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    pub(crate) sso: bool,
    pub(crate) dir_sync: bool,
}

/// A new link.
#[derive(Debug)]
pub(crate) struct PortalLink {
    pub(crate) id: String,
    pub(crate) location: String,
    pub(crate) expires_at: OffsetDateTime,
}

impl AdminPortal {
    /// Adds a link and returns it with its expiry.
    pub(crate) fn add_link(
        &mut self,
        organization_id: &str,
        features: Features,
        now: OffsetDateTime,
    ) -> (String, OffsetDateTime) {
        self.links.retain(|_, link| now < link.expires_at);
        let (link, expires_at) = (random_token(), now + LINK_LIFETIME);
        self.links.insert(
            link.clone(),
            Visit { organization_id: organization_id.to_owned(), features, expires_at },
        );
        (link, expires_at)
    }

    pub(crate) fn has_link(&self, link: &str) -> bool {
        self.links.contains_key(link)
    }

    /// Exchanges a link for a session, once.
    pub(crate) fn open(&mut self, link: &str, now: OffsetDateTime) -> Option<String> {
        let visit = self.links.remove(link).filter(|visit| now < visit.expires_at)?;
        self.sessions.retain(|_, visit| now < visit.expires_at);
        let session = random_token();
        self.sessions
            .insert(session.clone(), Visit { expires_at: now + SESSION_LIFETIME, ..visit });
        Some(session)
    }

    pub(crate) fn session(&self, session: &str, now: OffsetDateTime) -> Option<&Visit> {
        self.sessions.get(session).filter(|visit| now < visit.expires_at)
    }
}
