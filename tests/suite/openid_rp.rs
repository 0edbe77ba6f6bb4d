//! The modules of the OpenID Foundation's conformance suite for relying parties, with the sandbox in
//! the role of the suite. Each test has the name of its module; `table` compares them with the page
//! that lists the results.

mod id_tokens;
mod logouts;
mod refreshes;
mod table;

use http::StatusCode;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::{TokenFault, TokenKind};
use tower_scalekit::token::TokenError;

use crate::support::{JANE, Reading as _, World};

/// An environment whose ID tokens have this fault.
fn with_id_tokens(fault: TokenFault) -> World {
    let world = World::new();
    world.sandbox.tokens().add_fault(TokenKind::IdToken, fault);
    world
}

/// A login at this environment succeeds.
async fn accepts(world: &World) {
    let mut browser = world.logged_in(JANE).await;
    let me = browser.fetch("/me").await;
    assert_eq!((me.status(), &me.json()["email"]), (StatusCode::OK, &JANE.into()));
}

/// A login at this environment is rejected for this reason, and no session begins.
async fn rejects(world: &World, expected: TokenError) {
    let mut browser = world.browser();
    let rejected = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{}", rejected.text());
    let rejection = rejected.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::InvalidToken { error: expected });
    assert_eq!(browser.names(), [""; 0]);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}
