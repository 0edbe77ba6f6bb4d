use super::{ApiErrorResponse, ApiResult, parse};
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxUser;

/// How a request names its user.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    External(&'a str),
    Id(&'a str),
}

impl Key<'_> {
    pub(super) fn find(self, state: &State) -> ApiResult<&SandboxUser> {
        match self {
            Self::External(id) => state.users.with_external_id(id),
            Self::Id(id) => {
                state.users.with_id(parse::id(id, "usr_", "user_id must start with usr_")?)
            }
        }
        .ok_or(ApiErrorResponse::not_found("user not found"))
    }
}
