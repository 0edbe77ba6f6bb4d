//! Controls of directories.

use std::sync::Arc;

use crate::sandbox::directories::events::Change;
use crate::sandbox::environment::Environment;
use crate::sandbox::state::State;
use crate::sandbox::state::directories::Directory;
use crate::sandbox::state::directory_records::{
    NewDirectoryGroup, NewDirectoryUser, SandboxDirectoryGroup, SandboxDirectoryUser,
};

/// Directories, their users and groups. Returned by
/// [`Sandbox::directories`](crate::sandbox::Sandbox::directories).
#[derive(Clone, Copy, Debug)]
pub struct Directories<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Directories<'_> {
    /// The ID (`dir_…`) of the first directory of an organization.
    #[must_use]
    pub fn first_id(&self, organization_id: &str) -> Option<String> {
        self.environment
            .lock()
            .directories
            .of(organization_id)
            .next()
            .map(|directory| directory.id.clone())
    }

    /// Adds an enabled, empty directory to an organization, and returns its ID.
    ///
    /// The first two organizations of a new sandbox have one each; all others have none.
    pub fn add(&self, organization_id: &str) -> Option<String> {
        let state = &mut *self.environment.lock();
        state.users.organization(organization_id)?;
        let id = state.directories.add(organization_id, state.now);
        state.directory_changed(Change::DirectoryEnabled, &id);
        Some(id)
    }

    /// Enables or disables a directory, and returns whether it exists.
    ///
    /// Changes in a disabled directory are not events.
    pub fn set_enabled(&self, directory_id: &str, enabled: bool) -> bool {
        self.environment.lock().set_directory_enabled(directory_id, enabled).is_some()
    }

    /// The users of a directory, oldest first.
    #[must_use]
    pub fn users(&self, directory_id: &str) -> Vec<SandboxDirectoryUser> {
        self.environment
            .lock()
            .directories
            .users_of(directory_id)
            .map(|(_, user)| user.clone())
            .collect()
    }

    /// The directory user with this id (`diruser_…`).
    #[must_use]
    pub fn user(&self, id: &str) -> Option<SandboxDirectoryUser> {
        self.environment.lock().directories.user(id).cloned()
    }

    /// Adds a user to a directory.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewDirectoryUser, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// let acme = &sandbox.organizations().list()[0].id;
    /// let directory = sandbox.directories().first_id(acme).unwrap();
    /// let ada = NewDirectoryUser::new("ada@acme.test").name("Ada", "Byron").department("Research");
    /// let ada = sandbox.directories().add_user(&directory, ada);
    /// assert!(sandbox.directories().update_user(&ada.id, |ada| ada.active = false));
    /// assert!(sandbox.directories().remove_user(&ada.id));
    /// ```
    ///
    /// # Panics
    ///
    /// When there is no such directory.
    pub fn add_user(
        &self,
        directory_id: &str,
        user: impl Into<NewDirectoryUser>,
    ) -> SandboxDirectoryUser {
        let user = user.into();
        let state = &mut *self.environment.lock();
        let directory = known(directory_id, state);
        let user = state.directories.add_user(&directory, user, state.now);
        state.directory_changed(Change::UserCreated, &user.id);
        user
    }

    /// Adds many users to a directory; one event each.
    ///
    /// # Panics
    ///
    /// When there is no such directory.
    pub fn add_users(
        &self,
        directory_id: &str,
        users: impl IntoIterator<Item = NewDirectoryUser>,
    ) -> Vec<SandboxDirectoryUser> {
        // The caller's iterator may use the sandbox itself, so the lock is taken for each user.
        users.into_iter().map(|user| self.add_user(directory_id, user)).collect()
    }

    /// Adds many users to a directory without events.
    ///
    /// # Panics
    ///
    /// When there is no such directory.
    pub fn seed_users(
        &self,
        directory_id: &str,
        users: impl IntoIterator<Item = NewDirectoryUser>,
    ) -> Vec<SandboxDirectoryUser> {
        users
            .into_iter()
            .map(|user| {
                let state = &mut *self.environment.lock();
                let directory = known(directory_id, state);
                state.directories.add_user(&directory, user, state.now)
            })
            .collect()
    }

    /// Changes a directory user, and returns whether the user exists. IDs do not change, and unknown
    /// groups are ignored.
    pub fn update_user(&self, id: &str, change: impl FnOnce(&mut SandboxDirectoryUser)) -> bool {
        // The caller's code runs on a copy: it may use the sandbox itself.
        let Some(mut user) = self.user(id) else { return false };
        change(&mut user);
        let state = &mut *self.environment.lock();
        let found = state.directories.replace_user(id, user, state.now);
        if found {
            state.directory_changed(Change::UserUpdated, id);
        }
        found
    }

    /// Removes a directory user, and returns whether the user existed.
    pub fn remove_user(&self, id: &str) -> bool {
        let mut state = self.environment.lock();
        let found = state.directories.user(id).is_some();
        state.directory_changed(Change::UserDeleted, id);
        state.directories.remove_user(id);
        found
    }

    /// The groups of a directory, oldest first, including those the directory does not track.
    #[must_use]
    pub fn groups(&self, directory_id: &str) -> Vec<SandboxDirectoryGroup> {
        self.environment
            .lock()
            .directories
            .groups_of(directory_id)
            .map(|(_, group)| group.clone())
            .collect()
    }

    /// The directory group with this id (`dirgroup_…`).
    #[must_use]
    pub fn group(&self, id: &str) -> Option<SandboxDirectoryGroup> {
        self.environment.lock().directories.group(id).cloned()
    }

    /// Adds a group to a directory.
    ///
    /// # Panics
    ///
    /// When there is no such directory.
    pub fn add_group(
        &self,
        directory_id: &str,
        group: impl Into<NewDirectoryGroup>,
    ) -> SandboxDirectoryGroup {
        let group = group.into();
        let state = &mut *self.environment.lock();
        let directory = known(directory_id, state);
        let group = state.directories.add_group(&directory, group, state.now);
        state.directory_changed(Change::GroupCreated, &group.id);
        group
    }

    /// Changes a directory group, and returns whether it exists. IDs do not change.
    pub fn update_group(&self, id: &str, change: impl FnOnce(&mut SandboxDirectoryGroup)) -> bool {
        let Some(mut group) = self.group(id) else { return false };
        change(&mut group);
        let state = &mut *self.environment.lock();
        let found = state.directories.replace_group(id, group, state.now);
        if found {
            state.directory_changed(Change::GroupUpdated, id);
        }
        found
    }

    /// Removes a directory group, and returns whether it existed. Its members leave it first, each
    /// with an event.
    pub fn remove_group(&self, id: &str) -> bool {
        let state = &mut *self.environment.lock();
        let found = state.directories.group(id).is_some();
        for user_id in state.directories.leave_group(id, state.now) {
            state.directory_changed(Change::UserUpdated, &user_id);
        }
        state.directory_changed(Change::GroupDeleted, id);
        state.directories.remove_group(id);
        found
    }

    /// Adds a directory user to a group of the same directory, which changes the user. Returns
    /// whether the user became a member.
    pub fn add_group_member(&self, user_id: &str, group_id: &str) -> bool {
        self.user(user_id).zip(self.group(group_id)).is_some_and(|(user, group)| {
            user.directory_id == group.directory_id && !user.is_in(group_id)
        }) && self.update_user(user_id, |user| user.group_ids.push(group_id.to_owned()))
    }

    /// Removes a directory user from a group, which changes the user. Returns whether the user was a
    /// member.
    pub fn remove_group_member(&self, user_id: &str, group_id: &str) -> bool {
        self.user(user_id).is_some_and(|user| user.is_in(group_id))
            && self.update_user(user_id, |user| user.group_ids.retain(|id| id != group_id))
    }
}

/// The directory, which must exist.
#[expect(clippy::panic, reason = "an unknown directory is a bug of the test")]
fn known(directory_id: &str, state: &State) -> Directory {
    state
        .directories
        .get(directory_id)
        .cloned()
        .unwrap_or_else(|| panic!("there is no directory {directory_id}"))
}
