use axum::Router;
use tower_scalekit::{ConfigError, PasswordlessLogin, Sessions};

pub(crate) fn passwordless<S: Clone + Send + Sync + 'static>(
    sessions: &Sessions,
) -> Result<Router<S>, ConfigError> {
    let login = PasswordlessLogin::builder(sessions)
        .code_page("/code") // your page with the form for the code; `login.pending(..)` has its content
        .build()?;
    Ok(login.routes()) // POST /passwordless/send, /resend, /verify; GET /passwordless/verify/{attempt}
}
