//! What each operation requires of the principal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::Request;

use super::operation::Operation;
use crate::require_scope::authorize::{evaluate, principal};
use crate::require_scope::requirement::Requirement;
use crate::require_scope::{ScopeHierarchy, ScopeRejection};
use crate::token::Principal;

/// A condition on the principal's claims.
type Condition = Arc<dyn Fn(&Principal) -> bool + Send + Sync>;

/// The requirements of one operation, which add up. The default requires nothing.
#[derive(Clone, Default)]
pub(super) struct Rule {
    pub(super) permissions: Option<Requirement>,
    pub(super) roles: Option<Requirement>,
    pub(super) scopes: Option<Requirement>,
    pub(super) conditions: Vec<Condition>,
}

/// The rules of all operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) tools: BTreeMap<String, Rule>,
    pub(super) methods: BTreeMap<String, Rule>,
    pub(super) default_tool: Option<Rule>,
    pub(super) default_method: Rule,
    pub(super) scope_hierarchy: ScopeHierarchy,
    /// What allows all operations.
    everything: Rule,
    /// What allows all configured tools.
    every_tool: Rule,
}

impl Rules {
    /// The rule of an operation. `None` requires nothing.
    pub(super) fn rule(&self, operation: &Operation) -> Option<Cow<'_, Rule>> {
        let (method, name) = match operation {
            Operation::Nothing => return None,
            Operation::Any => return Some(Cow::Borrowed(&self.everything)),
            Operation::Call { method, name } => (method.as_str(), name.as_deref()),
        };
        let of_method = self.methods.get(method);
        match name.filter(|_| method == "tools/call") {
            None => Some(Cow::Borrowed(of_method.unwrap_or(&self.default_method))),
            Some(name) => Some(match (of_method, self.tool(name)) {
                (Some(method), tool) => Cow::Owned(Rule::all_of([method, tool])),
                (None, tool) => Cow::Borrowed(tool),
            }),
        }
    }

    fn tool(&self, name: &str) -> &Rule {
        self.tools.get(name).or(self.default_tool.as_ref()).unwrap_or(&self.every_tool)
    }

    /// Applies the hierarchy to all rules, and computes their sums.
    pub(super) fn complete(&mut self) {
        for rule in self
            .tools
            .values_mut()
            .chain(self.methods.values_mut())
            .chain(&mut self.default_tool)
            .chain([&mut self.default_method])
        {
            for requirement in
                [&mut rule.permissions, &mut rule.roles, &mut rule.scopes].into_iter().flatten()
            {
                requirement.scope_hierarchy = self.scope_hierarchy.clone();
            }
        }
        self.every_tool = Rule::all_of(self.tools.values());
        self.everything = Rule::all_of(
            self.tools
                .values()
                .chain(self.methods.values())
                .chain(&self.default_tool)
                .chain([&self.default_method]),
        );
    }
}

impl Rule {
    fn all_of<'a>(rules: impl IntoIterator<Item = &'a Self>) -> Self {
        let rules: Vec<&Self> = rules.into_iter().collect();
        Self {
            permissions: Requirement::all_of(rules.iter().flat_map(|rule| &rule.permissions)),
            roles: Requirement::all_of(rules.iter().flat_map(|rule| &rule.roles)),
            scopes: Requirement::all_of(rules.iter().flat_map(|rule| &rule.scopes)),
            conditions: rules.iter().flat_map(|rule| &rule.conditions).cloned().collect(),
        }
    }

    /// Whether the principal meets the rule.
    pub(super) fn permits(&self, principal: &Principal) -> bool {
        [&self.permissions, &self.roles, &self.scopes]
            .into_iter()
            .flatten()
            .all(|requirement| requirement.missing(principal).is_empty())
            && self.conditions.iter().all(|condition| condition(principal))
    }

    /// Whether the request's principal meets the rule. Scopes are last: a challenge for scopes
    /// would make a client request a token that lacks the rest as well.
    pub(super) fn evaluate<B>(&self, request: &mut Request<B>) -> Result<(), ScopeRejection> {
        for requirement in [&self.permissions, &self.roles].into_iter().flatten() {
            evaluate(requirement, request).map_err(without_challenge)?;
        }
        let principal = principal(request)?;
        if !self.conditions.iter().all(|condition| condition(principal)) {
            return Err(ScopeRejection::Insufficient {
                missing: Vec::new(),
                description: "claims that meet the condition of this tool".to_owned(),
                challenge: None,
            });
        }
        match &self.scopes {
            Some(scopes) => evaluate(scopes, request),
            None => Ok(()),
        }
    }
}

/// Roles and permissions cannot be requested: no other token of the user helps.
fn without_challenge(rejection: ScopeRejection) -> ScopeRejection {
    match rejection {
        ScopeRejection::Insufficient { missing, description, .. } => {
            ScopeRejection::Insufficient { missing, description, challenge: None }
        }
        other => other,
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("permissions", &self.permissions)
            .field("roles", &self.roles)
            .field("scopes", &self.scopes)
            .field("conditions", &self.conditions.len())
            .finish()
    }
}
