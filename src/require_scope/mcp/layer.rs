use std::sync::Arc;

use tower_layer::Layer;

use super::rules::{Rule, Rules};
use super::{McpRejection, RequireMcpScopeService};
use crate::error::ConfigError;
use crate::middleware::body_limits::BodyLimits;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::require_scope::ScopeHierarchy;
use crate::require_scope::requirement::{Kind, Quantity, Requirement};
use crate::token::Principal;

/// Middleware that requires scopes for the tool or method of an MCP request. See the [module
/// docs](crate::require_scope::mcp).
///
/// A name that is not a valid scope cannot be granted: such a layer responds with 500 and logs the
/// mistake. [`validate`](Self::validate) returns it at startup.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireMcpScope {
    rules: Result<Arc<Rules>, Arc<ConfigError>>,
    pub(super) filters_lists: bool,
    pub(super) limits: BodyLimits,
    pub(super) renderer: Renderer<McpRejection>,
}

impl RequireMcpScope {
    /// Creates a layer without requirements.
    pub fn new() -> Self {
        Self {
            rules: Ok(Arc::default()),
            filters_lists: false,
            limits: BodyLimits::new(),
            renderer: Renderer::default(),
        }
    }

    /// Requires all of these scopes for calls of a tool. An empty list allows every principal.
    pub fn tool<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.require(Kind::Scope, scopes, |rules, scopes| {
            rules.tools.entry(name.into()).or_default().scopes = scopes;
        })
    }

    /// Requires all of these permissions (`resource:action`) for calls of a tool, in addition to its
    /// scopes. A tool that is configured with permissions alone requires no scopes.
    ///
    /// A client cannot request permissions: the rejection has no challenge.
    pub fn tool_permissions<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        permissions: impl IntoIterator<Item = N>,
    ) -> Self {
        self.require(Kind::Permission, permissions, |rules, permissions| {
            rules.tools.entry(name.into()).or_default().permissions = permissions;
        })
    }

    /// Requires all of these roles for calls of a tool. See
    /// [`tool_permissions`](Self::tool_permissions).
    pub fn tool_roles<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        roles: impl IntoIterator<Item = N>,
    ) -> Self {
        self.require(Kind::Role, roles, |rules, roles| {
            rules.tools.entry(name.into()).or_default().roles = roles;
        })
    }

    /// Requires a condition on the claims for calls of a tool. Several conditions add up. See
    /// [`tool_permissions`](Self::tool_permissions).
    ///
    /// ```
    /// use tower_scalekit::Principal;
    /// use tower_scalekit::require_scope::mcp::RequireMcpScope;
    ///
    /// let layer = RequireMcpScope::new()
    ///     .tool("export", ["todo:read"])
    ///     .tool_condition("export", |principal: &Principal| {
    ///         principal.raw_claims().get("plan").is_some_and(|plan| plan == "enterprise")
    ///     });
    /// # assert!(layer.validate().is_ok());
    /// ```
    pub fn tool_condition<F>(self, name: impl Into<String>, condition: F) -> Self
    where
        F: Fn(&Principal) -> bool + Send + Sync + 'static,
    {
        self.configure(|rules| {
            let rule: &mut Rule = rules.tools.entry(name.into()).or_default();
            rule.conditions.push(Arc::new(condition));
        })
    }

    /// Requires all of these scopes for tools that are not configured.
    pub fn default_tool_scopes<N: AsRef<str>>(self, scopes: impl IntoIterator<Item = N>) -> Self {
        self.require(Kind::Scope, scopes, |rules, scopes| {
            rules.default_tool.get_or_insert_default().scopes = scopes;
        })
    }

    /// Requires all of these scopes for a method, such as `resources/read` or `prompts/get`.
    /// `tools/call` is a method too: its scopes are required in addition to those of the tools.
    pub fn method<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.require(Kind::Scope, scopes, |rules, scopes| {
            rules.methods.entry(name.into()).or_default().scopes = scopes;
        })
    }

    /// Requires all of these scopes for methods that are not configured, `initialize` and `ping`
    /// among them, but not `tools/call`.
    pub fn default_method_scopes<N: AsRef<str>>(self, scopes: impl IntoIterator<Item = N>) -> Self {
        self.require(Kind::Scope, scopes, |rules, scopes| rules.default_method.scopes = scopes)
    }

    /// Sets the names that include others, for all requirements of this layer. Default: none.
    pub fn scope_hierarchy(self, scope_hierarchy: &ScopeHierarchy) -> Self {
        self.configure(|rules| rules.scope_hierarchy = scope_hierarchy.clone())
    }

    /// Removes from lists what the principal may not use: tools whose requirements it does not meet,
    /// and prompts, resources and resource templates if it does not meet those of `prompts/get` or
    /// `resources/read`. Sets `cacheScope` of these lists to `private`. Default: lists are not
    /// changed.
    ///
    /// A client does not request scopes for a tool that it does not see. Leave lists complete if
    /// users should be able to add scopes later.
    ///
    /// Responses are filtered as JSON and as event streams, also those that a client resumes with
    /// `GET`, and those of all other methods: some servers send a result to the latest request with
    /// its ID. JSON is therefore buffered. A result larger than 4 MiB passes if that is due to its
    /// `content`, `structuredContent`, `contents` or `messages`, and no list precedes them.
    ///
    /// A response that cannot be filtered is replaced by error `-32603`, and the log says why: it has a
    /// `Content-Encoding`, is malformed, or is any other message larger than 4 MiB. The server gets
    /// `Accept-Encoding: identity`, so that layers inside of this one do not compress. Put them outside.
    pub fn filter_lists(mut self) -> Self {
        self.filters_lists = true;
        self
    }

    /// Sets size and time limits of request bodies, and how much memory unfinished ones may hold.
    /// Default: those of [`BodyLimits`].
    pub fn body_limits(mut self, limits: BodyLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Validates the requirements.
    ///
    /// # Errors
    /// When a name is not a valid scope.
    pub fn validate(&self) -> Result<(), &ConfigError> {
        self.rules.as_ref().map(|_| ()).map_err(|error| &**error)
    }

    fn require<N: AsRef<str>>(
        mut self,
        kind: Kind,
        names: impl IntoIterator<Item = N>,
        set: impl FnOnce(&mut Rules, Option<Requirement>),
    ) -> Self {
        let mut names = names.into_iter().peekable();
        let requirement = match names.peek() {
            None => Ok(None),
            Some(_) => Requirement::new(kind, Quantity::All, names).map(Some),
        };
        match (&self.rules, requirement) {
            (Ok(_), Ok(requirement)) => return self.configure(|rules| set(rules, requirement)),
            (Ok(_), Err(error)) => self.rules = Err(Arc::new(error)),
            (Err(_), _) => {}
        }
        self
    }

    fn configure(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        if let Ok(rules) = &mut self.rules {
            let rules = Arc::make_mut(rules);
            change(rules);
            rules.complete();
        }
        self
    }

    pub(super) fn rules(&self) -> Result<&Arc<Rules>, &ConfigError> {
        self.rules.as_ref().map_err(|error| &**error)
    }
}

on_rejection!(RequireMcpScope, McpRejection, renderer);

impl Default for RequireMcpScope {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequireMcpScope {
    type Service = RequireMcpScopeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireMcpScopeService { inner, layer: self.clone() }
    }
}
