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

/// Layer that requires the scopes of the tool or method that a request asks for. See the
/// [module docs](crate::require_scope::mcp).
///
/// A name that cannot be a scope is a mistake that no one could satisfy: such a layer responds with 500
/// and logs what is wrong; [`check`](Self::check) tells at start-up.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireMcpScope {
    rules: Result<Arc<Rules>, Arc<ConfigError>>,
    pub(super) limits: BodyLimits,
    pub(super) renderer: Renderer<ScopeRejection>,
}

/// What each operation requires; `None` is nothing.
#[derive(Clone, Debug, Default)]
struct Rules {
    tools: BTreeMap<String, Option<Requirement>>,
    methods: BTreeMap<String, Option<Requirement>>,
    default_tool_scopes: Option<Option<Requirement>>,
    default_method_scopes: Option<Requirement>,
    scope_hierarchy: ScopeHierarchy,
    /// What whoever may do everything has.
    everything: Option<Requirement>,
    /// What whoever may use all tools that were named has.
    every_tool: Option<Requirement>,
}

impl RequireMcpScope {
    /// Requires nothing yet.
    pub fn new() -> Self {
        Self { rules: Ok(Arc::default()), limits: BodyLimits::new(), renderer: Renderer::default() }
    }

    /// Requires all of these scopes for calls of a tool; none lets everybody call it.
    pub fn tool<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.rule(scopes, |rules, requirement| {
            rules.tools.insert(name.into(), requirement);
        })
    }

    /// Requires all of these scopes for tools that are not named.
    pub fn default_tool_scopes<N: AsRef<str>>(self, scopes: impl IntoIterator<Item = N>) -> Self {
        self.rule(scopes, |rules, requirement| rules.default_tool_scopes = Some(requirement))
    }

    /// Requires all of these scopes for a method, such as `resources/read` or `prompts/get`.
    /// `tools/call` is a method too: its requirement adds to those of the tools.
    pub fn method<N: AsRef<str>>(
        self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.rule(scopes, |rules, requirement| {
            rules.methods.insert(name.into(), requirement);
        })
    }

    /// Requires all of these scopes for methods that are not named, `initialize` and `ping` among
    /// them, but not `tools/call`.
    pub fn default_method_scopes<N: AsRef<str>>(self, scopes: impl IntoIterator<Item = N>) -> Self {
        self.rule(scopes, |rules, requirement| rules.default_method_scopes = requirement)
    }

    /// Lets broader scopes stand for narrower ones in all that is required here.
    pub fn scope_hierarchy(mut self, scope_hierarchy: &ScopeHierarchy) -> Self {
        if let Ok(rules) = &mut self.rules {
            let rules = Arc::make_mut(rules);
            rules.scope_hierarchy = scope_hierarchy.clone();
            rules.imply();
        }
        self
    }

    /// Sets size and time limits of bodies, and how much memory unfinished ones may hold. Default:
    /// those of [`BodyLimits`]. Larger bodies are for those who may do everything; after
    /// [`max_bytes`](BodyLimits::max_bytes) the rest of such a body is not limited here.
    pub fn body_limits(mut self, limits: BodyLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells whether the requirements can be met at all.
    ///
    /// # Errors
    /// When a name cannot be a scope.
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

    /// What an operation requires.
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
        // Headers may leave the name out, for the body to say.
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

    /// The same implications for all, and the sums of all.
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
