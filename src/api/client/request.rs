use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::retry::Retries;
use super::{response, transport};
use crate::api::error::ApiError;
use crate::http_client::SendLimits;
use crate::scalekit::Scalekit;
use crate::util::url_path::has_dot_segments;

/// All characters but the unreserved ones of RFC 3986. Includes `:`, after which gateways expect a
/// verb.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Builder of an API call. Returned by [`Api::request`](crate::api::Api::request).
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct ApiRequest {
    scalekit: Scalekit,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    limits: SendLimits,
    retries: Retries,
    problem: Option<&'static str>,
}

impl ApiRequest {
    pub(in crate::api) fn new(scalekit: Scalekit, method: Method, path: String) -> Self {
        Self {
            scalekit,
            retries: Retries::of(&method),
            method,
            path,
            query: Vec::new(),
            body: None,
            limits: SendLimits::default(),
            problem: None,
        }
    }

    /// Replaces `{name}` in the path with a value, percent-encoded. [`send`](Self::send) fails with
    /// [`ApiError::InvalidCall`] if the value is empty or has a dot segment, such as `../users`.
    pub fn path_parameter(mut self, name: &'static str, value: &str) -> Self {
        let place = format!("{{{name}}}");
        if value.is_empty() {
            self.problem = Some("a path parameter is empty");
        } else if !self.path.contains(&place) {
            self.problem = Some("the path has no such parameter");
        }
        // Encoded values contain no braces, so they cannot name another parameter.
        self.path = self.path.replace(&place, &utf8_percent_encode(value, ENCODED).to_string());
        self
    }

    /// Adds a pair to the query. Names may repeat.
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a pair to the query, if there is a value.
    pub(in crate::api) fn query_option(
        self,
        name: &'static str,
        value: Option<impl ToString>,
    ) -> Self {
        match value {
            Some(value) => self.query(name, value.to_string()),
            None => self,
        }
    }

    /// Replaces a pair of the query.
    pub(in crate::api) fn with_query(mut self, name: &'static str, value: String) -> Self {
        self.query.retain(|(known, _)| *known != name);
        self.query(name, value)
    }

    /// Adds a filter. The API ignores empty filters and would list everything.
    pub(in crate::api) fn filter(self, name: &'static str, value: &str) -> Self {
        match value {
            "" => self.problem("a filter is empty, which would match everything"),
            value => self.query(name, value),
        }
    }

    /// Adds a search text. Every item matches an empty one.
    pub(in crate::api) fn matching(self, name: &'static str, text: &str) -> Self {
        if text.is_empty() { self } else { self.query(name, text) }
    }

    /// Number of occurrences of a name in the query.
    pub(in crate::api) fn count(&self, name: &str) -> usize {
        self.query.iter().filter(|(known, _)| *known == name).count()
    }

    /// Adds a time to the query.
    pub(in crate::api) fn query_time(self, name: &'static str, time: OffsetDateTime) -> Self {
        match time.format(&Rfc3339) {
            Ok(time) => self.query(name, time),
            Err(_) => self.problem("a time cannot be formatted as RFC 3339"),
        }
    }

    /// Sets a JSON body.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = Some(body.into()),
            Err(_) => self.problem = Some("the body cannot be serialized as JSON"),
        }
        self
    }

    /// Sets the timeout of each attempt, from sending to the last byte of the response. Default: 20
    /// s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    pub(in crate::api) fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_body_bytes = bytes;
        self
    }

    pub(in crate::api) fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Fails the call with [`ApiError::InvalidCall`], if there is a problem.
    pub(in crate::api) fn problem(mut self, problem: impl Into<Option<&'static str>>) -> Self {
        self.problem = problem.into().or(self.problem);
        self
    }

    /// Sends the call and deserializes the response. An empty body is read as JSON's `null`.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn send<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        response::read(&self.response().await?, &self.scalekit)
    }

    /// Sends the call and returns a member of the response.
    pub(in crate::api) async fn send_member<T: DeserializeOwned>(
        self,
        member: &'static str,
    ) -> Result<T, ApiError> {
        response::read_members(&self.response().await?, &self.scalekit)?
            .get(member)?
            .ok_or(ApiError::unexpected("a response without the requested object"))
    }

    /// Sends the call and returns a list in the response.
    pub(in crate::api) async fn send_list<T: DeserializeOwned>(
        self,
        member: &'static str,
    ) -> Result<Vec<T>, ApiError> {
        Ok(self.send_page(member).await?.0)
    }

    /// The same, with the token of the next page, which is empty on the last page.
    pub(in crate::api) async fn send_page<T: DeserializeOwned>(
        self,
        member: &'static str,
    ) -> Result<(Vec<T>, String), ApiError> {
        let response = self.response().await?;
        let mut members = response::read_members(&response, &self.scalekit)?;
        Ok((
            members.get(member)?.unwrap_or_default(),
            members.get("next_page_token")?.unwrap_or_default(),
        ))
    }

    /// Sends the call, whose response has no content.
    pub(in crate::api) async fn send_empty(self) -> Result<(), ApiError> {
        self.send::<serde::de::IgnoredAny>().await.map(drop)
    }

    /// Sends the call and returns the raw response, whatever its status.
    ///
    /// # Errors
    /// When there is no response, or no access token.
    pub async fn send_raw(self) -> Result<Response<Bytes>, ApiError> {
        self.response().await
    }

    async fn response(&self) -> Result<Response<Bytes>, ApiError> {
        transport::send(&self.scalekit, self.build()?, self.retries).await
    }

    /// The URL of the call.
    pub(in crate::api) fn url(&self) -> Result<Url, ApiError> {
        if let Some(problem) = self.problem {
            return Err(ApiError::InvalidCall(problem));
        }
        let mut url = api_url(&self.scalekit, "", &self.path)?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }

    /// The request without the access token.
    fn build(&self) -> Result<Request<Bytes>, ApiError> {
        let json = HeaderValue::from_static("application/json");
        let mut request = Request::builder()
            .method(&self.method)
            .uri(self.url()?.as_str())
            .header(header::ACCEPT, &json)
            .extension(self.limits)
            .body(self.body.clone().unwrap_or_default())
            .map_err(|_| ApiError::InvalidCall("its URL is not valid"))?;
        if self.body.is_some() {
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        Ok(request)
    }
}

/// The URL of a path below `prefix`, exactly as written.
///
/// A URL parser resolves dot segments, and encodes or drops characters that paths do not have, such
/// as the braces of a missing parameter. Other servers resolve dot segments in more spellings.
pub(in crate::api) fn api_url(
    scalekit: &Scalekit,
    prefix: &str,
    path: &str,
) -> Result<Url, ApiError> {
    let url = scalekit.endpoint(&format!("{prefix}{path}"));
    let sent = url.path().strip_prefix(scalekit.endpoint(prefix).path().trim_end_matches('/'));
    if !path.starts_with('/') || sent != Some(path) || has_dot_segments(path) {
        return Err(ApiError::InvalidCall(
            "the path has dot segments (also encoded ones), characters that paths do not have, or a \
             parameter without a value",
        ));
    }
    Ok(url)
}

// Manual impl: query and body may be confidential.
impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
