use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tower_layer::Layer;

use super::RequireMcpScopeService;
use super::operation::Operation;
use crate::error::ConfigError;
use crate::middleware::body_limits::BodyLimits;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::require_scope::requirement::{Kind, Quantity, Requirement};
use crate::require_scope::{ScopeHierarchy, ScopeRejection};

/// Middleware that requires scopes for the tool or method of an MCP request. See the [module
/// docs](crate::require_scope::mcp).
///
/// A name that is not a valid scope cannot be granted: such a layer responds with 500 and logs the
/// mistake. [`validate`](Self::validate) returns it at startup.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireMcpScope {
    rules: Result<Arc<Rules>, Arc<ConfigError>>,
    pub(super) limits: BodyLimits,
    pub(super) renderer: Renderer<ScopeRejection>,
}

/// Requirements of each operation. `None` requires nothing.
#[derive(Clone, Debug, Default)]
struct Rules {
    tools: BTreeMap<String, Option<Requirement>>,
    methods: BTreeMap<String, Option<Requirement>>,
    default_tool_scopes: Option<Option<Requirement>>,
    default_method_scopes: Option<Requirement>,
    scope_hierarchy: ScopeHierarchy,
    /// Scopes that allow all operations.
    everything: Option<Requirement>,
    /// Scopes that allow all configured tools.
    every_tool: Option<Requirement>,
}

impl RequireMcpScope {
    /// Creates a layer without requirements.
    pub fn new() -> Self {
        Self { rules: Ok(Arc::default()), limits: BodyLimits::new(), renderer: Renderer::default() }
    }

    /// Requires all of these scopes for calls of a tool. An empty list allows every principal.
    pub fn tool<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.rule(scopes, |rules, requirement| {
            rules.tools.insert(name.into(), requirement);
        })
    }

    /// Requires all of these scopes for tools that are not configured.
    pub fn default_tool_scopes<N: AsRef<str>>(self, scopes: impl IntoIterator<Item = N>) -> Self {
        self.rule(scopes, |rules, requirement| rules.default_tool_scopes = Some(requirement))
    }

    /// Requires all of these scopes for a method, such as `resources/read` or `prompts/get`.
    /// `tools/call` is a method too: its scopes are required in addition to those of the tools.
    pub fn method<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.rule(scopes, |rules, requirement| {
            rules.methods.insert(name.into(), requirement);
        })
    }

    /// Requires all of these scopes for methods that are not configured, `initialize` and `ping`
    /// among them, but not `tools/call`.
    pub fn default_method_scopes<N: AsRef<str>>(self, scopes: impl IntoIterator<Item = N>) -> Self {
        self.rule(scopes, |rules, requirement| rules.default_method_scopes = requirement)
    }

    /// Sets the scopes that include others, for all requirements of this layer. Default: none.
    pub fn scope_hierarchy(mut self, scope_hierarchy: &ScopeHierarchy) -> Self {
        if let Ok(rules) = &mut self.rules {
            let rules = Arc::make_mut(rules);
            rules.scope_hierarchy = scope_hierarchy.clone();
            rules.imply();
        }
        self
    }

    /// Sets size and time limits of bodies, and how much memory unfinished ones may hold. Default:
    /// those of [`BodyLimits`]. Larger bodies are allowed only if the principal may use all
    /// operations; the rest of such a body, after [`max_bytes`](BodyLimits::max_bytes), is not
    /// limited by this layer.
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

    fn rule<N: AsRef<str>>(
        mut self,
        scopes: impl IntoIterator<Item = N>,
        set: impl FnOnce(&mut Rules, Option<Requirement>),
    ) -> Self {
        let mut scopes = scopes.into_iter().peekable();
        let requirement = match scopes.peek() {
            None => Ok(None),
            Some(_) => Requirement::new(Kind::Scope, Quantity::All, scopes).map(Some),
        };
        match (&mut self.rules, requirement) {
            (Ok(rules), Ok(requirement)) => {
                let rules = Arc::make_mut(rules);
                set(rules, requirement);
                rules.imply();
            }
            (Ok(_), Err(error)) => self.rules = Err(Arc::new(error)),
            (Err(_), _) => {}
        }
        self
    }

    /// Requirement of an operation.
    pub(super) fn requirement(
        &self,
        operation: &Operation,
    ) -> Result<Option<Cow<'_, Requirement>>, &ConfigError> {
        let rules = self.rules.as_ref().map_err(|error| &**error)?;
        Ok(match rules.requirements(operation) {
            [Some(one), Some(two)] => Requirement::all_of([one, two]).map(Cow::Owned),
            [one, two] => one.or(two).map(Cow::Borrowed),
        })
    }
}

on_rejection!(RequireMcpScope, ScopeRejection, renderer);

impl Default for RequireMcpScope {
    fn default() -> Self {
        Self::new()
    }
}

impl Rules {
    fn requirements(&self, operation: &Operation) -> [Option<&Requirement>; 2] {
        let (method, name) = match operation {
            Operation::Nothing => return [None, None],
            Operation::Unclear => return [self.everything.as_ref(), None],
            Operation::Call { method, name } => (method.as_str(), name.as_deref()),
        };
        if method != "tools/call" {
            let of_method = self.methods.get(method).map(Option::as_ref);
            return [of_method.unwrap_or(self.default_method_scopes.as_ref()), None];
        }
        // Headers may omit the name, which the body then has.
        let of_tool = name.and_then(|name| self.of_tool(name));
        [self.methods.get(method).and_then(Option::as_ref), of_tool]
    }

    fn of_tool(&self, name: &str) -> Option<&Requirement> {
        match (self.tools.get(name), &self.default_tool_scopes) {
            (Some(named), _) => named.as_ref(),
            (None, Some(others)) => others.as_ref(),
            (None, None) => self.every_tool.as_ref(),
        }
    }

    /// Applies the hierarchy to all requirements, and computes their sums.
    fn imply(&mut self) {
        let named = self.tools.values_mut().chain(self.methods.values_mut()).flatten();
        let others =
            self.default_tool_scopes.iter_mut().flatten().chain(&mut self.default_method_scopes);
        for requirement in named.chain(others) {
            requirement.scope_hierarchy = self.scope_hierarchy.clone();
        }
        let tools = || self.tools.values().flatten();
        self.every_tool = Requirement::all_of(tools());
        let others = self.default_tool_scopes.iter().flatten().chain(&self.default_method_scopes);
        let methods = self.methods.values().flatten();
        self.everything = Requirement::all_of(tools().chain(methods).chain(others));
    }
}

impl<S> Layer<S> for RequireMcpScope {
    type Service = RequireMcpScopeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireMcpScopeService { inner, config: self.clone() }
    }
}
