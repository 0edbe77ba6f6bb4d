//! Users and groups of directories, and settings of new ones.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;

/// A user of a directory, as pushed by an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxDirectoryUser {
    /// `diruser_…`
    pub id: String,
    /// The user's directory.
    pub directory_id: String,
    /// The organization of the directory.
    pub organization_id: String,
    /// The identity provider's id for the user.
    pub dp_id: String,
    /// The address, in lower case.
    pub email: String,
    /// The user name at the identity provider.
    pub preferred_username: String,
    /// The given name.
    pub given_name: String,
    /// The family name.
    pub family_name: String,
    /// The department.
    pub department: Option<String>,
    /// Whether the user may sign in.
    pub active: bool,
    /// The user's groups (`dirgroup_…`).
    pub group_ids: Vec<String>,
    /// Names of roles that the directory assigns to the user.
    pub roles: Vec<String>,
    /// Additional members of the event's `data`, for instance `title` or `employee_id`.
    pub attributes: BTreeMap<String, Value>,
    /// The members of `custom_attributes`.
    pub custom_attributes: BTreeMap<String, Value>,
    /// Time of the last change. Set by the sandbox.
    pub updated_at: OffsetDateTime,
}

impl SandboxDirectoryUser {
    /// Given and family name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name).trim().to_owned()
    }

    /// Whether the user is in the group with this ID.
    #[must_use]
    pub fn is_in(&self, group_id: &str) -> bool {
        self.group_ids.iter().any(|id| id == group_id)
    }
}

/// A directory user to add. Defaults are derived from the address.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewDirectoryUser {
    pub(crate) email: String,
    pub(crate) dp_id: Option<String>,
    pub(crate) preferred_username: Option<String>,
    pub(crate) given_name: Option<String>,
    pub(crate) family_name: Option<String>,
    pub(crate) department: Option<String>,
    pub(crate) active: bool,
    pub(crate) group_ids: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) custom_attributes: BTreeMap<String, Value>,
}

impl NewDirectoryUser {
    /// Creates an active user without groups.
    pub fn new(email: &str) -> Self {
        Self {
            email: email.to_lowercase(),
            dp_id: None,
            preferred_username: None,
            given_name: None,
            family_name: None,
            department: None,
            active: true,
            group_ids: Vec::new(),
            roles: Vec::new(),
            attributes: BTreeMap::new(),
            custom_attributes: BTreeMap::new(),
        }
    }

    /// Sets whether the user may sign in. Default: true.
    pub fn active(mut self, active: bool) -> Self {
        self.active = active;
        self
    }

    /// Adds a member to the event's `data`, for instance `title` or `employee_id`.
    pub fn attribute(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a member to `custom_attributes`.
    pub fn custom_attribute(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.custom_attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the department. Default: none.
    pub fn department(mut self, name: &str) -> Self {
        self.department = Some(name.to_owned());
        self
    }

    /// Sets the identity provider's ID of the user. Default: a random one.
    pub fn dp_id(mut self, id: &str) -> Self {
        self.dp_id = Some(id.to_owned());
        self
    }

    /// Sets the user's groups (`dirgroup_…`); those of other directories are ignored.
    pub fn groups<S: Into<String>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.group_ids = ids.into_iter().map(Into::into).collect();
        self
    }

    /// Sets given and family name. Default: the first part of the address, capitalized.
    pub fn name(mut self, given: &str, family: &str) -> Self {
        self.given_name = Some(given.to_owned());
        self.family_name = Some(family.to_owned());
        self
    }

    /// Sets the user name at the identity provider. Default: the address.
    pub fn preferred_username(mut self, name: &str) -> Self {
        self.preferred_username = Some(name.to_owned());
        self
    }

    /// Sets the names of roles that the directory assigns to the user. Default: none.
    pub fn roles<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.roles = names.into_iter().map(Into::into).collect();
        self
    }
}

impl From<&str> for NewDirectoryUser {
    fn from(email: &str) -> Self {
        Self::new(email)
    }
}

/// A group of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxDirectoryGroup {
    /// `dirgroup_…`
    pub id: String,
    /// The group's directory.
    pub directory_id: String,
    /// The organization of the directory.
    pub organization_id: String,
    /// The identity provider's id for the group.
    pub dp_id: String,
    /// Its name.
    pub display_name: String,
    /// An optional ID from the identity provider.
    pub external_id: Option<String>,
    /// Whether the directory does not track the group: the API lists it on request only, and it
    /// causes no events.
    pub external: bool,
    /// Time of the last change. Set by the sandbox.
    pub updated_at: OffsetDateTime,
}

/// A directory group to add.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewDirectoryGroup {
    pub(crate) display_name: String,
    pub(crate) dp_id: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) external: bool,
}

impl NewDirectoryGroup {
    /// Creates a group that the directory tracks.
    pub fn new(display_name: &str) -> Self {
        Self {
            display_name: display_name.to_owned(),
            dp_id: None,
            external_id: None,
            external: false,
        }
    }

    /// Sets the identity provider's ID of the group. Default: a random one.
    pub fn dp_id(mut self, id: &str) -> Self {
        self.dp_id = Some(id.to_owned());
        self
    }

    /// Makes it a group that the directory does not track; see [`SandboxDirectoryGroup::external`].
    pub fn external(mut self) -> Self {
        self.external = true;
        self
    }

    /// Sets the `external_id`. Default: none.
    pub fn external_id(mut self, id: &str) -> Self {
        self.external_id = Some(id.to_owned());
        self
    }
}

impl From<&str> for NewDirectoryGroup {
    fn from(display_name: &str) -> Self {
        Self::new(display_name)
    }
}
