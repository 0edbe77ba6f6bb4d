//! Consents of users to clients of resources.

use std::collections::{BTreeSet, HashMap};

use crate::sandbox::state::authorization::Holder;

/// The scopes that each user has granted to each client.
#[derive(Debug, Default)]
pub(crate) struct Consents {
    granted: HashMap<(String, Holder), BTreeSet<String>>,
}

impl Consents {
    pub(crate) fn allows(&self, user_id: &str, client: Holder, scopes: &[String]) -> bool {
        self.granted
            .get(&(user_id.to_owned(), client))
            .is_some_and(|allowed| scopes.iter().all(|scope| allowed.contains(scope)))
    }

    pub(crate) fn add(&mut self, user_id: &str, client: Holder, scopes: &[String]) {
        self.granted
            .entry((user_id.to_owned(), client))
            .or_default()
            .extend(scopes.iter().cloned());
    }
}
