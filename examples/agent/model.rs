//! A model with OpenAI's Chat Completions API.

use std::time::Duration;

use axum::http::{Request, header};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tower_scalekit::http_client::{HttpClient as _, ReqwestClient, SendLimits};
use tower_scalekit::secret::SecretString;

use crate::{Failure, common, scripted_model};

/// Models think for a while.
const TIMEOUT: Duration = Duration::from_secs(120);

pub struct Model {
    client: ReqwestClient,
    url: String,
    key: SecretString,
    name: String,
}

impl Model {
    /// The model of the `OPENAI_` variables, or without any a scripted one.
    pub async fn from_env() -> Result<Self, Failure> {
        let [url, key, name] =
            ["OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"].map(common::setting);
        let (url, key) = match (url, key) {
            (None, None) => scripted_model::serve().await?,
            (url, key) => {
                let url = url.unwrap_or_else(|| "https://api.openai.com/v1".to_owned());
                (url, key.unwrap_or_default())
            }
        };
        Ok(Self {
            client: ReqwestClient::new()?,
            url: format!("{}/chat/completions", url.trim_end_matches('/')),
            key: key.into(),
            name: name.unwrap_or_else(|| "gpt-5-mini".to_owned()),
        })
    }

    /// The next message of the conversation: a text, or calls of tools.
    pub async fn complete(&self, messages: &[Value], tools: &[Value]) -> Result<Value, Failure> {
        let body = json!({ "model": self.name, "messages": messages, "tools": tools }).to_string();
        let mut limits = SendLimits::default();
        limits.timeout = TIMEOUT;
        let mut request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(limits);
        if !self.key.expose().is_empty() {
            request =
                request.header(header::AUTHORIZATION, format!("Bearer {}", self.key.expose()));
        }
        let progress = ProgressBar::new_spinner().with_message("the model is thinking");
        progress.enable_steady_tick(Duration::from_millis(120));
        let response = self.client.send(request.body(body.into())?).await;
        progress.finish_and_clear();
        let response = response?;
        let mut body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        if !response.status().is_success() {
            let message = body["error"]["message"].as_str().unwrap_or("no message");
            return Err(format!("the model responded with {}: {message}", response.status()).into());
        }
        match body.pointer_mut("/choices/0/message").map(Value::take) {
            Some(message @ Value::Object(_)) => Ok(message),
            _ => Err("the response of the model has no message".into()),
        }
    }
}
