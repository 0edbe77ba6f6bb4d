use axum::{Router, routing::get};
use tower_scalekit::session::LoginHookError;
use tower_scalekit::{
    ConfigError, IdpInitiatedRedirect, RequireSession, Scalekit, Session, SessionSecret, Sessions,
};

pub(crate) fn sso<S>(scalekit: Scalekit, secret: SessionSecret) -> Result<Router<S>, ConfigError>
where
    S: Clone + Send + Sync + 'static,
{
    let sessions = Sessions::builder(scalekit)
        .secret(secret)
        .redirect_uri("https://app.example.com/auth/callback")
        .on_login(|login| async move {
            // Match users by organization *and* address: an identity provider can assert any address.
            let organization = login.identity().organization_id().ok_or(LoginHookError::Denied)?;
            println!("a user of {organization}");
            Ok(login.identity().session().roles(["member"]).into())
        })
        .build()?;
    Ok(Router::new()
        .route("/dashboard", get(|session: Session| async move { session.user().email.clone() }))
        .route_layer(RequireSession::new(&sessions))
        .merge(sessions.routes().route_layer(IdpInitiatedRedirect::new(&sessions))))
}
