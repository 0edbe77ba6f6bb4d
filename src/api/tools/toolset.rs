use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::iter;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::ToolsApi;
use super::execute::{ExecuteError, ToolCall, ToolResult, cut};
use super::tool::{ScopedTool, Tool, ToolFormat};
use crate::api::ApiError;
use crate::api::connected_accounts::AccountKey;

const MAX_ARGUMENT_BYTES: usize = 64 * 1024;
const MAX_RESULT_BYTES: usize = 16 * 1024;

/// The limit of OpenAI and Anthropic.
const MAX_NAME: usize = 64;

/// The tools of a user's accounts, for a model: their definitions, and the calls that the model
/// requests. Returned by [`ScopedTools::toolset`](super::ScopedTools::toolset). Cheap to clone.
///
/// The model selects a tool and its arguments, never the account.
///
/// ```
/// # #[cfg(feature = "sandbox")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use serde_json::json;
/// use tower_scalekit::api::tools::{Next, RequestedCall, ToolCallError, ToolFormat};
/// # use tower_scalekit::Sandbox;
///
/// # let sandbox = Sandbox::new();
/// # for connection in ["gmail", "slack"] {
/// #     sandbox.connected_accounts().add(connection, "user_123");
/// # }
/// # let api = sandbox.scalekit().api();
/// let toolset = api.tools().scoped("user_123").toolset().await?.hook(
///     async |call: RequestedCall, next: Next| match call.tool().is_read_only() {
///         true => next.run(call).await,
///         false => Err(ToolCallError::Denied("The user has denied this call.".to_owned())),
///     },
/// );
/// let request = json!({ "tools": toolset.definitions(ToolFormat::OpenAi) });
/// assert_eq!(request["tools"][0]["function"]["name"], "gmail_fetch_mails");
///
/// // Name and arguments as a model sends them; the text is for the model.
/// let text = toolset.call_for_text("gmail_fetch_mails", &json!(r#"{"max_results":1}"#)).await?;
/// assert!(text.contains("Launch checklist for Thursday"));
/// let arguments = json!({ "channel": "general", "text": "Hello" });
/// let text = toolset.call_for_text("slack_send_message", &arguments).await?;
/// assert_eq!(text, "The user has denied this call.");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sandbox"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Toolset {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    api: ToolsApi,
    entries: Vec<Arc<Entry>>,
    hooks: Vec<Hook>,
    agent_run_id: Option<String>,
    max_argument_bytes: usize,
    max_result_bytes: usize,
}

type CallResult = Result<ToolResult, ToolCallError>;
type Hook = Arc<dyn Fn(RequestedCall, Next) -> BoxFuture<'static, CallResult> + Send + Sync>;

/// A tool that can be called.
struct Entry {
    /// The name for the model.
    function_name: String,
    tool_name: String,
    description: Option<String>,
    account_id: String,
    tool: Tool,
}

impl Toolset {
    /// Creates a set of these tools. Those without a name or without an account are left out.
    ///
    /// Models accept names of at most 64 letters, digits, `_` and `-`, each once: other characters
    /// are replaced by `_`. Names of several accounts get a number, and their descriptions the ID of
    /// the account.
    pub fn new(api: &ToolsApi, tools: impl IntoIterator<Item = ScopedTool>) -> Self {
        Self {
            inner: Arc::new(Inner {
                api: api.clone(),
                entries: entries(tools),
                hooks: Vec::new(),
                agent_run_id: None,
                max_argument_bytes: MAX_ARGUMENT_BYTES,
                max_result_bytes: MAX_RESULT_BYTES,
            }),
        }
    }

    /// Adds a hook around each call: it runs the call by [`Next::run`], before which it can change
    /// the arguments, and after which it has the result; or it returns
    /// [`ToolCallError::Denied`] instead. Hooks added first are called first.
    ///
    /// Let a user approve calls that write: whoever can send the user an e-mail, or edit a page that
    /// the model reads, can put instructions to the model into it.
    #[must_use]
    pub fn hook<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(RequestedCall, Next) -> R + Send + Sync + 'static,
        R: Future<Output = Result<ToolResult, ToolCallError>> + Send + 'static,
    {
        Arc::make_mut(&mut self.inner)
            .hooks
            .push(Arc::new(move |call, next| Box::pin(hook(call, next))));
        self
    }

    /// Sets your own ID of the run that the calls belong to, which the dashboard's logs contain.
    /// Default: none.
    #[must_use]
    pub fn agent_run_id(mut self, id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.inner).agent_run_id = Some(id.into());
        self
    }

    /// Sets the maximum size of a call's arguments, in bytes of JSON. Default: 64 KiB.
    #[must_use]
    pub fn max_argument_bytes(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.inner).max_argument_bytes = bytes;
        self
    }

    /// Sets the maximum size of the texts of [`call_for_text`](Self::call_for_text), in bytes.
    /// Default: 16 KiB.
    #[must_use]
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.inner).max_result_bytes = bytes;
        self
    }

    /// The definitions of the tools as a model expects them.
    #[must_use]
    pub fn definitions(&self, format: ToolFormat) -> Vec<Value> {
        self.inner
            .entries
            .iter()
            .map(|entry| {
                entry.tool.named(&entry.function_name, entry.description.as_deref(), format)
            })
            .collect()
    }

    /// Runs a call that a model requests: the name of a definition, and arguments as an object or as
    /// a string that contains one. Empty arguments are an empty object.
    ///
    /// # Errors
    /// See [`ToolCallError`].
    pub async fn call(&self, name: &str, arguments: &Value) -> Result<ToolResult, ToolCallError> {
        let entry = self.inner.entries.iter().find(|entry| entry.function_name == name);
        let call = RequestedCall {
            entry: Arc::clone(entry.ok_or(ToolCallError::UnknownTool)?),
            arguments: object(arguments, self.inner.max_argument_bytes)?,
        };
        Next { toolset: Arc::clone(&self.inner), position: 0 }.run(call).await
    }

    /// The same with a text for the model: the result, or an error about which the model can do
    /// something. A text that is too long is cut, and says so.
    ///
    /// # Errors
    /// [`ApiError`] for errors that the model cannot avoid, see [`ToolCallError::into_text`].
    pub async fn call_for_text(&self, name: &str, arguments: &Value) -> Result<String, ApiError> {
        let max_bytes = self.inner.max_result_bytes;
        match self.call(name, arguments).await {
            Ok(result) => Ok(result.to_text(max_bytes)),
            Err(error) => Ok(cut(error.into_text()?, max_bytes)),
        }
    }
}

impl fmt::Debug for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.inner.entries.iter().map(|entry| &entry.function_name)).finish()
    }
}

/// A call that a model requests, for [hooks](Toolset::hook).
pub struct RequestedCall {
    entry: Arc<Entry>,
    /// The arguments, which a hook can change.
    pub arguments: Map<String, Value>,
}

impl RequestedCall {
    /// The tool.
    #[must_use]
    pub fn tool(&self) -> &Tool {
        &self.entry.tool
    }

    /// The name of the tool at Scalekit.
    #[must_use]
    pub fn tool_name(&self) -> &str {
        &self.entry.tool_name
    }

    /// The account (`ca_…`) that the tool uses.
    #[must_use]
    pub fn connected_account_id(&self) -> &str {
        &self.entry.account_id
    }
}

impl fmt::Debug for RequestedCall {
    /// Omits the arguments, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestedCall")
            .field("tool_name", &self.entry.tool_name)
            .field("connected_account_id", &self.entry.account_id)
            .finish_non_exhaustive()
    }
}

/// What follows a [hook](Toolset::hook): the hooks after it, then the tool.
pub struct Next {
    toolset: Arc<Inner>,
    position: usize,
}

impl Next {
    /// Runs the call.
    ///
    /// # Errors
    /// See [`ToolCallError`].
    pub async fn run(self, call: RequestedCall) -> Result<ToolResult, ToolCallError> {
        let Self { toolset, position } = self;
        if let Some(hook) = toolset.hooks.get(position).cloned() {
            return hook(call, Self { toolset, position: position + 1 }).await;
        }
        let account = AccountKey::id(&call.entry.account_id);
        let mut request = ToolCall::new(&call.entry.tool_name, &account).parameters(call.arguments);
        if let Some(id) = &toolset.agent_run_id {
            request = request.agent_run_id(id);
        }
        Ok(toolset.api.execute(&request).await?)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// Returned when a call that a model requests has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolCallError {
    /// A [hook](Toolset::hook) has denied the call, with a reason for the model.
    #[error("{0}")]
    Denied(String),
    /// The tool could not be executed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The arguments are not an object, or too large.
    #[error("the arguments are invalid: {0}")]
    InvalidArguments(&'static str),
    /// The set has no tool with this name.
    #[error("there is no tool with this name")]
    UnknownTool,
}

impl ToolCallError {
    /// A text for the model, which may call again with other arguments, call another tool, or give
    /// up.
    ///
    /// # Errors
    /// Errors of Scalekit, which are the app's: an account that is not active, an environment that
    /// is unavailable, and others. Those about invalid parameters are for the model.
    pub fn into_text(self) -> Result<String, ApiError> {
        match self {
            Self::Execute(ExecuteError::Api(ApiError::InvalidRequest(response)))
                if response.error_code.as_deref() != Some("FAILED_PRECONDITION") =>
            {
                Ok(format!("the call is invalid: {response}"))
            }
            Self::Execute(ExecuteError::Api(error)) => Err(error),
            error => Ok(error.to_string()),
        }
    }
}

/// The arguments as a model sends them: an object, or text that is one.
fn object(arguments: &Value, max_bytes: usize) -> Result<Map<String, Value>, ToolCallError> {
    let bytes = match arguments {
        Value::String(text) => text.len(),
        value => value.to_string().len(),
    };
    if bytes > max_bytes {
        return Err(ToolCallError::InvalidArguments("they are too large"));
    }
    let parsed = match arguments {
        Value::String(text) if text.trim().is_empty() => Value::Null,
        Value::String(text) => serde_json::from_str(text)
            .map_err(|_| ToolCallError::InvalidArguments("they are not JSON"))?,
        value => value.clone(),
    };
    match parsed {
        Value::Null => Ok(Map::new()),
        Value::Object(arguments) => Ok(arguments),
        _ => Err(ToolCallError::InvalidArguments("they are not an object")),
    }
}

fn entries(tools: impl IntoIterator<Item = ScopedTool>) -> Vec<Arc<Entry>> {
    let mut names = HashSet::new();
    let mut repeated = HashSet::new();
    let mut entries: Vec<Entry> = tools
        .into_iter()
        .filter_map(|ScopedTool { connected_account_id, tool, .. }| {
            let (tool_name, account_id) = (tool.name()?.to_owned(), connected_account_id?);
            let base = sanitized(&tool_name);
            let function_name = unique(&base, &names);
            if function_name != base {
                repeated.insert(base);
            }
            names.insert(function_name.clone());
            Some(Entry {
                function_name,
                tool_name,
                description: tool.description().map(str::to_owned),
                account_id,
                tool,
            })
        })
        .collect();
    for entry in &mut entries {
        if repeated.contains(&sanitized(&entry.tool_name)) {
            let account = format!("Connected account: {}.", entry.account_id);
            entry.description = Some(match entry.description.take() {
                Some(description) => format!("{} {account}", description.trim_start()),
                None => account,
            });
        }
    }
    entries.into_iter().map(Arc::new).collect()
}

fn sanitized(name: &str) -> String {
    name.chars()
        .take(MAX_NAME)
        .map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => letter,
            _ => '_',
        })
        .collect()
}

/// The name, with a number if it is taken.
fn unique(base: &str, taken: &HashSet<String>) -> String {
    iter::once(base.to_owned())
        .chain((2_usize..).map(|number| {
            let suffix = format!("_{number}");
            base.chars().take(MAX_NAME - suffix.len()).chain(suffix.chars()).collect()
        }))
        .find(|name| !taken.contains(name))
        .unwrap_or_default()
}
