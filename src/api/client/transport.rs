//! Sends one call with an access token and retries.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};

use super::retry::{MAX_RETRIES, Retries};
use crate::api::error::ApiError;
use crate::oauth::OAuthError;
use crate::scalekit::{ApplicationToken, MissingToken, Scalekit};
use crate::secret::SecretString;

/// Lifetime of a token without `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Sends a request with the application's access token, with retries.
pub(in crate::api) async fn send(
    scalekit: &Scalekit,
    request: Request<Bytes>,
    retries: Retries,
) -> Result<Response<Bytes>, ApiError> {
    let mut token = scalekit.application_token(None, fetch_token).await?;
    let (mut refreshed, mut retried) = (false, 0);
    loop {
        let outcome = scalekit.send(authorized(&request, &token.access_token)?).await;
        if let Ok(response) = &outcome
            && !refreshed
            && retries.token_was_rejected(response)
        {
            if !retries.may_follow_token_rejection(request.method(), response) {
                scalekit.forget_application_token(&token);
                return outcome.map_err(ApiError::from);
            }
            refreshed = true;
            token = scalekit.application_token(Some(&token.access_token), fetch_token).await?;
            continue;
        }
        match retries.retry_delay(&outcome, retried, scalekit.clock().now()) {
            Some(wait) if retried < MAX_RETRIES => {
                retried += 1;
                tokio::time::sleep(wait).await;
            }
            _ => return outcome.map_err(ApiError::from),
        }
    }
}

/// The request with the access token.
fn authorized(request: &Request<Bytes>, token: &SecretString) -> Result<Request<Bytes>, ApiError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| ApiError::unexpected("an access token that is not a valid header value"))?;
    value.set_sensitive(true);
    let mut request = request.clone();
    request.headers_mut().insert(header::AUTHORIZATION, value);
    Ok(request)
}

async fn fetch_token(scalekit: Scalekit) -> Result<ApplicationToken, MissingToken> {
    let sent_at = scalekit.clock().monotonic();
    let response = scalekit.client_credentials(&[]).await.map_err(|error| match error {
        OAuthError::Rejected { code } => MissingToken::Rejected { code },
        OAuthError::InvalidGrant => MissingToken::Rejected { code: "invalid_grant".to_owned() },
        OAuthError::UnexpectedResponse(what) => MissingToken::UnexpectedResponse(what),
        OAuthError::Unavailable(reason) => MissingToken::Unavailable(Arc::new(reason)),
    })?;
    let expires_at = sent_at.saturating_add(response.expires_in.unwrap_or(DEFAULT_LIFETIME));
    Ok(ApplicationToken { access_token: response.access_token, expires_at })
}
