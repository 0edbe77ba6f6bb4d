//! Credentials of every kind and strength.

use super::*;

pub(super) struct Credential {
    pub(super) strength: Strength,
    pub(super) headers: HeaderMap,
    /// The body of a signed request. Other credentials are valid for any.
    pub(super) body: Option<Payload>,
}

impl Credential {
    pub(super) fn is_bearer(&self) -> bool {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        values.any(|value| value.as_bytes().starts_with(b"Bearer"))
    }
}

pub(super) fn credential(strength: Strength, headers: &[(&'static str, &str)]) -> Credential {
    let headers = headers.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(*name, value.parse().unwrap());
        headers
    });
    Credential { strength, headers, body: None }
}

/// Credentials of all kinds, for any layer.
pub(super) struct Credentials {
    pub(super) cookies: Vec<Credential>,
    pub(super) tokens: Vec<Credential>,
    /// At most one of which is valid.
    pub(super) both: Vec<Credential>,
    pub(super) webhooks: Vec<Credential>,
    pub(super) interceptors: Vec<Credential>,
}

impl Credentials {
    pub(super) async fn new(world: &World) -> Self {
        use Strength::{Insufficient, None, Sufficient, Wrong};
        let jane = world.logged_in(JANE).await.cookie_header();
        let with_scope = TokenFault::WithClaim("scope".to_owned(), "openid todo:write".into());
        world.sandbox.tokens().add_fault(TokenKind::AccessToken, with_scope);
        let scoped = world.logged_in(JANE).await.cookie_header();
        let john = world.logged_in(JOHN).await;
        let mut ended = john.clone();
        ended.open("/logout").await;
        let ended = john.cookie_header();
        let name = world.sessions.cookie_name();
        let forged = format!("{name}={}", "A".repeat(400));
        let twice = format!("{scoped}; {scoped}");
        let access = |scope: &str| {
            let mut draft = world.sandbox.tokens().access_token_draft(JANE);
            draft.claims.insert("scope".into(), scope.into());
            format!("Bearer {}", world.sandbox.tokens().sign_draft(&draft))
        };
        let sufficient = access("openid todo:write");
        let mut damaged = sufficient.clone();
        let place = damaged.len() - 20..damaged.len() - 19;
        let other = if &damaged[place.clone()] == "_" { "-" } else { "_" };
        damaged.replace_range(place, other);
        let id_token = format!("Bearer {}", world.sandbox.tokens().id_token(JANE, Some("nonce")));
        let signature = |strength, prefix: &str, at: i64, key: u8, body: Payload| Credential {
            strength,
            headers: signed(prefix, "msg_1", at, body.text(), key).headers().clone(),
            body: Some(body),
        };
        let signatures = |prefix: &str, other: &str| {
            vec![
                credential(None, &[]),
                signature(Wrong, prefix, NOW, 2, Payload::Empty),
                signature(Insufficient, prefix, NOW - 3600, 1, Payload::Empty),
                signature(Insufficient, other, NOW, 1, Payload::Empty),
                signature(Sufficient, prefix, NOW, 1, Payload::Empty),
                signature(Sufficient, prefix, NOW, 1, Payload::McpCall),
                signature(Sufficient, prefix, NOW, 1, Payload::Interceptor),
            ]
        };
        Self {
            cookies: vec![
                credential(None, &[]),
                credential(None, &[("authorization", &sufficient)]),
                credential(Wrong, &[("cookie", &forged)]),
                credential(Sufficient, &[("cookie", &twice)]),
                credential(Wrong, &[("cookie", &ended)]),
                credential(Insufficient, &[("cookie", &jane)]),
                credential(Sufficient, &[("cookie", &scoped)]),
            ],
            tokens: vec![
                credential(None, &[]),
                credential(None, &[("cookie", &jane)]),
                credential(Wrong, &[("authorization", "Bearer garbage")]),
                credential(None, &[("authorization", "Basic YTpi")]),
                credential(Wrong, &[("authorization", &damaged)]),
                credential(Wrong, &[("authorization", &id_token)]),
                credential(
                    Wrong,
                    &[("authorization", &sufficient), ("authorization", &sufficient)],
                ),
                credential(Insufficient, &[("authorization", &access("openid"))]),
                credential(Sufficient, &[("authorization", &sufficient)]),
            ],
            both: vec![
                credential(None, &[]),
                credential(None, &[("authorization", "Basic YTpi")]),
                credential(Wrong, &[("cookie", &forged)]),
                credential(Wrong, &[("cookie", &ended)]),
                credential(Wrong, &[("authorization", "Basic YTpi"), ("cookie", &forged)]),
                credential(Wrong, &[("authorization", "Bearer"), ("cookie", &jane)]),
                credential(Wrong, &[("authorization", &damaged), ("cookie", &jane)]),
                credential(Wrong, &[("authorization", &id_token), ("cookie", &jane)]),
                credential(
                    Wrong,
                    &[
                        ("authorization", &sufficient),
                        ("authorization", "Basic YTpi"),
                        ("cookie", &jane),
                    ],
                ),
                credential(Insufficient, &[("authorization", &access("openid"))]),
                credential(Sufficient, &[("cookie", &jane)]),
                credential(Sufficient, &[("authorization", "Basic YTpi"), ("cookie", &jane)]),
                credential(Sufficient, &[("authorization", &sufficient)]),
                credential(Sufficient, &[("authorization", &sufficient), ("cookie", &forged)]),
            ],
            webhooks: signatures("webhook", "interceptor"),
            interceptors: signatures("interceptor", "webhook"),
        }
    }

    pub(super) fn of(&self, guard: Guard) -> &[Credential] {
        match guard {
            Guard::Token
            | Guard::OptionalToken
            | Guard::ScopeOfToken
            | Guard::ScopeOfOptionalToken
            | Guard::McpOfToken => &self.tokens,
            Guard::Auth
            | Guard::AuthOfOptionalSession
            | Guard::AuthOfOptionalToken
            | Guard::OptionalAuth
            | Guard::ScopeOfOptionalAuth => &self.both,
            Guard::Webhook => &self.webhooks,
            Guard::Interceptor => &self.interceptors,
            Guard::Session
            | Guard::OptionalSession
            | Guard::ScopeOfOptionalSession
            | Guard::McpOfOptionalSession => &self.cookies,
        }
    }
}
