//! All directories of an environment with their users and groups.

use std::collections::{BTreeMap, HashMap};

use time::OffsetDateTime;

use crate::sandbox::state::directory_records::{
    NewDirectoryGroup, NewDirectoryUser, SandboxDirectoryGroup, SandboxDirectoryUser,
};
use crate::sandbox::state::ids::{new_id, random_digits};
use crate::sandbox::state::users::{SandboxOrganization, capitalized};

/// A directory of an organization.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) enabled: bool,
    pub(crate) updated_at: OffsetDateTime,
}

impl Directory {
    fn new(organization_id: &str, now: OffsetDateTime) -> Self {
        Self {
            id: new_id("dir"),
            organization_id: organization_id.to_owned(),
            enabled: true,
            updated_at: now,
        }
    }
}

/// Users and groups are numbered in the order of creation; numbers are never reused.
#[derive(Debug)]
pub(crate) struct Directories {
    /// When the environment was created.
    pub(crate) since: OffsetDateTime,
    directories: Vec<Directory>,
    users: BTreeMap<u64, SandboxDirectoryUser>,
    groups: BTreeMap<u64, SandboxDirectoryGroup>,
    numbers: HashMap<String, u64>,
    next_number: u64,
}

impl Directories {
    pub(crate) fn new(now: OffsetDateTime) -> Self {
        Self {
            since: now,
            directories: Vec::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
        }
    }

    /// Adds a directory to each of the first organizations.
    pub(crate) fn seed(&mut self, organizations: &[SandboxOrganization], now: OffsetDateTime) {
        for (organization, seed) in organizations.iter().zip(&SEED) {
            let directory = Directory {
                id: seed.directory_id.to_owned(),
                ..Directory::new(&organization.id, now)
            };
            self.directories.push(directory.clone());
            for (id, name) in seed.groups {
                let mut group = NewDirectoryGroup::new(name);
                group.external = *name == NOT_TRACKED;
                self.add_group_with_id((*id).to_owned(), &directory, group, now);
            }
            for (id, email, (given, family), department, groups) in seed.users {
                let user = NewDirectoryUser::new(email)
                    .name(given, family)
                    .department(department)
                    .groups(groups.iter().copied());
                self.add_user_with_id((*id).to_owned(), &directory, user, now);
            }
        }
    }

    pub(crate) fn add(&mut self, organization_id: &str, now: OffsetDateTime) -> String {
        let directory = Directory::new(organization_id, now);
        let id = directory.id.clone();
        self.directories.push(directory);
        id
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.id == id)
    }

    pub(crate) fn of(&self, organization_id: &str) -> impl Iterator<Item = &Directory> {
        self.directories
            .iter()
            .filter(move |directory| directory.organization_id == organization_id)
    }

    pub(crate) fn remove_those_of(&mut self, organization_id: &str) {
        let gone: Vec<_> = self.of(organization_id).map(|directory| directory.id.clone()).collect();
        self.users.retain(|_, user| !gone.contains(&user.directory_id));
        self.groups.retain(|_, group| !gone.contains(&group.directory_id));
        self.directories.retain(|directory| directory.organization_id != organization_id);
    }

    /// Returns whether that was a change.
    pub(crate) fn set_enabled(
        &mut self,
        id: &str,
        enabled: bool,
        now: OffsetDateTime,
    ) -> Option<bool> {
        let directory = self.directories.iter_mut().find(|directory| directory.id == id)?;
        let is_changed = directory.enabled != enabled;
        if is_changed {
            directory.enabled = enabled;
            directory.updated_at = now;
        }
        Some(is_changed)
    }

    /// With their numbers.
    pub(crate) fn users_of(
        &self,
        directory_id: &str,
    ) -> impl Iterator<Item = (u64, &SandboxDirectoryUser)> {
        self.users
            .iter()
            .map(|(number, user)| (*number, user))
            .filter(move |(_, user)| user.directory_id == directory_id)
    }

    pub(crate) fn user(&self, id: &str) -> Option<&SandboxDirectoryUser> {
        self.users.get(self.numbers.get(id)?)
    }

    pub(crate) fn add_user(
        &mut self,
        directory: &Directory,
        new: NewDirectoryUser,
        now: OffsetDateTime,
    ) -> SandboxDirectoryUser {
        self.add_user_with_id(new_id("diruser"), directory, new, now)
    }

    fn add_user_with_id(
        &mut self,
        id: String,
        directory: &Directory,
        new: NewDirectoryUser,
        now: OffsetDateTime,
    ) -> SandboxDirectoryUser {
        let local = new.email.split('@').next().unwrap_or_default();
        let user = SandboxDirectoryUser {
            directory_id: directory.id.clone(),
            organization_id: directory.organization_id.clone(),
            dp_id: new.dp_id.unwrap_or_else(|| format!("00u{}", random_digits())),
            preferred_username: new.preferred_username.unwrap_or_else(|| new.email.clone()),
            given_name: new.given_name.unwrap_or_else(|| capitalized(local)),
            family_name: new.family_name.unwrap_or_default(),
            department: new.department,
            active: new.active,
            group_ids: self.known_groups(&directory.id, new.group_ids),
            roles: new.roles,
            attributes: new.attributes,
            custom_attributes: new.custom_attributes,
            updated_at: now,
            email: new.email,
            id,
        };
        let number = self.number(&user.id);
        self.users.insert(number, user.clone());
        user
    }

    /// Returns whether the user exists.
    pub(crate) fn replace_user(
        &mut self,
        id: &str,
        changed: SandboxDirectoryUser,
        now: OffsetDateTime,
    ) -> bool {
        let Some(known) = self.user(id) else { return false };
        let user = SandboxDirectoryUser {
            id: known.id.clone(),
            directory_id: known.directory_id.clone(),
            organization_id: known.organization_id.clone(),
            group_ids: self.known_groups(&known.directory_id, changed.group_ids),
            updated_at: now,
            ..changed
        };
        self.numbers
            .get(id)
            .and_then(|number| self.users.get_mut(number))
            .map(|known| *known = user)
            .is_some()
    }

    pub(crate) fn remove_user(&mut self, id: &str) {
        if let Some(number) = self.numbers.remove(id) {
            self.users.remove(&number);
        }
    }

    /// With their numbers.
    pub(crate) fn groups_of(
        &self,
        directory_id: &str,
    ) -> impl Iterator<Item = (u64, &SandboxDirectoryGroup)> {
        self.groups
            .iter()
            .map(|(number, group)| (*number, group))
            .filter(move |(_, group)| group.directory_id == directory_id)
    }

    pub(crate) fn group(&self, id: &str) -> Option<&SandboxDirectoryGroup> {
        self.groups.get(self.numbers.get(id)?)
    }

    /// The groups that a user is in and that the directory tracks.
    pub(crate) fn tracked_groups_of(
        &self,
        user: &SandboxDirectoryUser,
    ) -> impl Iterator<Item = &SandboxDirectoryGroup> {
        user.group_ids.iter().filter_map(|id| self.group(id)).filter(|group| !group.external)
    }

    /// Number of users of each group of a directory.
    pub(crate) fn sizes(&self, directory_id: &str) -> HashMap<&str, usize> {
        let mut sizes = HashMap::new();
        for id in self.users_of(directory_id).flat_map(|(_, user)| &user.group_ids) {
            *sizes.entry(id.as_str()).or_default() += 1;
        }
        sizes
    }

    pub(crate) fn add_group(
        &mut self,
        directory: &Directory,
        new: NewDirectoryGroup,
        now: OffsetDateTime,
    ) -> SandboxDirectoryGroup {
        self.add_group_with_id(new_id("dirgroup"), directory, new, now)
    }

    fn add_group_with_id(
        &mut self,
        id: String,
        directory: &Directory,
        new: NewDirectoryGroup,
        now: OffsetDateTime,
    ) -> SandboxDirectoryGroup {
        let group = SandboxDirectoryGroup {
            directory_id: directory.id.clone(),
            organization_id: directory.organization_id.clone(),
            dp_id: new.dp_id.unwrap_or_else(|| format!("00g{}", random_digits())),
            display_name: new.display_name,
            external_id: new.external_id,
            external: new.external,
            updated_at: now,
            id,
        };
        let number = self.number(&group.id);
        self.groups.insert(number, group.clone());
        group
    }

    /// Returns whether the group exists.
    pub(crate) fn replace_group(
        &mut self,
        id: &str,
        changed: SandboxDirectoryGroup,
        now: OffsetDateTime,
    ) -> bool {
        let Some(known) = self.numbers.get(id).and_then(|number| self.groups.get_mut(number))
        else {
            return false;
        };
        *known = SandboxDirectoryGroup {
            id: known.id.clone(),
            directory_id: known.directory_id.clone(),
            organization_id: known.organization_id.clone(),
            updated_at: now,
            ..changed
        };
        true
    }

    /// Removes all users from a group and returns them.
    pub(crate) fn leave_group(&mut self, id: &str, now: OffsetDateTime) -> Vec<String> {
        self.users
            .values_mut()
            .filter(|user| user.is_in(id))
            .map(|user| {
                user.group_ids.retain(|known| known != id);
                user.updated_at = now;
                user.id.clone()
            })
            .collect()
    }

    pub(crate) fn remove_group(&mut self, id: &str) {
        if let Some(number) = self.numbers.remove(id) {
            self.groups.remove(&number);
        }
    }

    fn known_groups(&self, directory_id: &str, mut ids: Vec<String>) -> Vec<String> {
        ids.retain(|id| self.group(id).is_some_and(|group| group.directory_id == directory_id));
        ids
    }

    fn number(&mut self, id: &str) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(id.to_owned(), number);
        number
    }
}

/// A group that the directory does not track.
const NOT_TRACKED: &str = "Everyone";

#[derive(Debug)]
struct Seed {
    directory_id: &'static str,
    groups: &'static [(&'static str, &'static str)],
    users: &'static [SeedUser],
}

/// ID, address, given and family name, department, groups.
type SeedUser = (
    &'static str,
    &'static str,
    (&'static str, &'static str),
    &'static str,
    &'static [&'static str],
);

const ENGINEERING: &str = "dirgroup_60315514287261192";

const FINANCE: &str = "dirgroup_60315514354370056";

const EVERYONE: &str = "dirgroup_60315514421478920";

const OPERATIONS: &str = "dirgroup_60315688132911624";

const SEED: [Seed; 2] = [
    Seed {
        directory_id: "dir_60315513918228488",
        groups: &[(ENGINEERING, "Engineering"), (FINANCE, "Finance"), (EVERYONE, NOT_TRACKED)],
        users: &[
            (
                "diruser_60315620503552520",
                "jane@acme.test",
                ("Jane", "Roe"),
                "Engineering",
                &[ENGINEERING, EVERYONE],
            ),
            (
                "diruser_60315620570661384",
                "john@acme.test",
                ("John", "Doe"),
                "Engineering",
                &[ENGINEERING, EVERYONE],
            ),
            (
                "diruser_60315620637770248",
                "zoe@acme.test",
                ("Zoë", "Kraus"),
                "Finance",
                &[FINANCE, EVERYONE],
            ),
            (
                "diruser_60315620704879112",
                "ravi@acme.test",
                ("Ravi", "Menon"),
                "Legal",
                &[EVERYONE],
            ),
        ],
    },
    Seed {
        directory_id: "dir_60315687763878920",
        groups: &[(OPERATIONS, "Operations")],
        users: &[
            (
                "diruser_60315750325846536",
                "gita@globex.test",
                ("Gita", "Rao"),
                "Operations",
                &[OPERATIONS],
            ),
            ("diruser_60315750392955400", "hank@globex.test", ("Hank", "Scorpio"), "Research", &[]),
        ],
    },
];
