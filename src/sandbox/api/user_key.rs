use super::{ApiErrorResponse, checked};
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxUser;

/// How a request names its user.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    External(&'a str),
    Id(&'a str),
}

impl Key<'_> {
    pub(super) fn find(self, state: &State) -> Result<&SandboxUser, ApiErrorResponse> {
        let unknown = ApiErrorResponse::not_found("user not found");
        match self {
            Self::External(id) => {
                let is_meant = |user: &&SandboxUser| user.external_id.as_deref() == Some(id);
                state.users.all.iter().find(is_meant).ok_or(unknown)
            }
            Self::Id(id) => {
                let id = checked(id, "usr_", "user_id must start with usr_")?;
                state.users.with_id(id).ok_or(unknown)
            }
        }
    }
}
