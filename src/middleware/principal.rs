//! The [`Principal`] of a request, in its extensions, which carries the session on cookie routes; or why
//! there is none.

use std::any::Any;
use std::sync::Arc;

use http::Extensions;

use super::LoginRequired;
use crate::challenge::Challenge;
use crate::token::Principal;

/// Why a request has no principal.
#[derive(Debug)]
pub(crate) enum NoPrincipal<'a> {
    /// An optional layer has forwarded it without a credential.
    Anonymous(&'a Anonymous),
    /// No layer has authenticated it.
    MissingLayer,
}

/// Inserted into a request that an optional layer forwards without a [`Principal`]: the login or the
/// challenge with which a layer that is not optional would have rejected it.
#[derive(Clone, Debug)]
pub(crate) enum Anonymous {
    Login(LoginRequired),
    Token(Arc<Challenge>),
}

/// Removes a principal that layers further out, or the app, have inserted: the layer that authenticates
/// the request decides alone.
pub(crate) fn strip_principal(extensions: &mut Extensions) {
    extensions.remove::<Principal>();
    extensions.remove::<Anonymous>();
}

/// The principal that an authentication layer has inserted.
pub(crate) fn find(extensions: &Extensions) -> Result<&Principal, NoPrincipal<'_>> {
    extensions.get::<Principal>().ok_or_else(|| match extensions.get::<Anonymous>() {
        Some(anonymous) => NoPrincipal::Anonymous(anonymous),
        None => NoPrincipal::MissingLayer,
    })
}

/// The principal of a request with a session, and that session's content. `T` is
/// `session::extension::Content`, which this module must not depend on.
pub(crate) fn find_with_session<T: Any + Send + Sync>(
    extensions: &Extensions,
) -> Result<(&Principal, Arc<T>), NoPrincipal<'_>> {
    let principal = find(extensions)?;
    Ok((principal, principal.session().ok_or(NoPrincipal::MissingLayer)?))
}
