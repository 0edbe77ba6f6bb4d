//! The Scalekit environment: a sandbox that responds late, after it has spent a refresh token.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use tokio::net::TcpListener;
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::sandbox::{Endpoint, Fault, NewUser};

use crate::random::Random;

/// Long enough that a session is refreshed once in a round.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(60);

pub(crate) struct Environment {
    pub(crate) sandbox: Sandbox,
    url: String,
    delay: Arc<Mutex<Duration>>,
}

impl Environment {
    /// With zero, the second use of a refresh token revokes the session.
    pub(crate) async fn start(refresh_grace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sandbox = Sandbox::builder()
            .environment_url(&url)
            .access_token_lifetime(TOKEN_LIFETIME)
            .refresh_grace(refresh_grace)
            .build();
        let (client, delay) = (Arc::new(sandbox.client()), Arc::<Mutex<Duration>>::default());
        let (base, token_delay) = (url.clone(), Arc::clone(&delay));
        let respond = move |request: Request| {
            let (client, delay) = (Arc::clone(&client), *token_delay.lock().unwrap());
            let delay = if request.uri().path() == "/oauth/token" { delay } else { Duration::ZERO };
            let base = base.clone();
            // A client that disconnects cancels nothing.
            let response = tokio::spawn(async move {
                let (mut head, body) = request.into_parts();
                head.uri = format!("{base}{}", head.uri).parse().unwrap();
                let body = to_bytes(body, usize::MAX).await.unwrap();
                let response = client.send(Request::from_parts(head, body)).await.unwrap();
                tokio::time::sleep(delay).await;
                response.map(Body::from) as Response
            });
            async { response.await.unwrap() }
        };
        let app = Router::new().fallback(respond);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { sandbox, url, delay }
    }

    /// The settings that select it.
    pub(crate) fn settings(&self) -> [(&'static str, String); 3] {
        let secret = self.sandbox.client_secret().expose();
        [
            ("SCALEKIT_ENVIRONMENT_URL", self.url.clone()),
            ("SCALEKIT_CLIENT_ID", self.sandbox.client_id().to_owned()),
            ("SCALEKIT_CLIENT_SECRET", secret.to_owned()),
        ]
    }

    pub(crate) fn add_user(&self, email: &str) {
        self.sandbox.users().add(NewUser::new(email));
    }

    /// The number of refreshes, including those that failed.
    pub(crate) fn refreshes(&self) -> usize {
        self.sandbox.requests().refreshes()
    }

    /// Delays the responses of the token endpoint.
    pub(crate) fn delay_tokens(&self, by: Duration) {
        *self.delay.lock().unwrap() = by;
    }

    /// Fails about half of the requests for tokens, until it is cleared.
    pub(crate) fn fail_tokens(&self, random: &mut Random) {
        for _ in 0..1000 {
            let fault = match random.below(2) {
                0 => Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
                _ => Fault::Delay(Duration::ZERO),
            };
            self.sandbox.faults().add_times(Endpoint::Token, 1, fault);
        }
    }

    pub(crate) fn clear_faults(&self) {
        self.delay_tokens(Duration::ZERO);
        self.sandbox.faults().clear(Endpoint::Token);
    }
}
