use super::ScopeHierarchy;
use crate::challenge::ScopeToken;
use crate::error::{ConfigError, ConfigProblem};
use crate::token::Principal;

/// What a principal must have.
#[derive(Clone, Debug)]
pub(super) struct Requirement {
    kind: Kind,
    quantity: Quantity,
    names: Vec<ScopeToken>,
    pub(super) scope_hierarchy: ScopeHierarchy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Permission,
    Role,
    Scope,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Quantity {
    All,
    Any,
}

impl Requirement {
    pub(super) fn new<N: AsRef<str>>(
        kind: Kind,
        quantity: Quantity,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        // Scalekit's roles and permissions use the alphabet of scopes.
        let names = names
            .into_iter()
            .map(|name| ScopeToken::new(name.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Err(ConfigProblem::invalid("RequireScope", "names nothing to require").into());
        }
        Ok(Self { kind, quantity, names, scope_hierarchy: ScopeHierarchy::new() })
    }

    /// All scopes that any of these requirements names.
    pub(super) fn all_of<'a>(several: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut all: Option<Self> = None;
        for requirement in several {
            let all = all.get_or_insert_with(|| Self { names: Vec::new(), ..requirement.clone() });
            for name in &requirement.names {
                if !all.names.contains(name) {
                    all.names.push(name.clone());
                }
            }
        }
        all
    }

    /// What the principal lacks: nothing, or for `Any` all of the alternatives.
    pub(super) fn missing(&self, principal: &Principal) -> Vec<ScopeToken> {
        let granted = match self.kind {
            Kind::Permission => principal.permissions(),
            Kind::Role => principal.roles(),
            Kind::Scope => principal.scopes(),
        };
        let lacks = |name: &&ScopeToken| !self.scope_hierarchy.grant(granted, name);
        match self.quantity {
            Quantity::All => self.names.iter().filter(lacks).cloned().collect(),
            Quantity::Any if self.names.iter().all(|name| lacks(&name)) => self.names.clone(),
            Quantity::Any => Vec::new(),
        }
    }

    /// The scopes by which the principal meets it.
    pub(super) fn granted_scopes(&self, principal: &Principal) -> Vec<ScopeToken> {
        if self.kind != Kind::Scope {
            return Vec::new();
        }
        self.names
            .iter()
            .filter(|name| self.scope_hierarchy.grant(principal.scopes(), name))
            .cloned()
            .collect()
    }

    /// The scopes to request from the authorization server, of alternatives the first. Roles and
    /// permissions cannot be requested.
    pub(super) fn challenge_scopes(&self) -> &[ScopeToken] {
        match (self.kind, self.quantity) {
            (Kind::Scope, Quantity::All) => &self.names,
            (Kind::Scope, Quantity::Any) => self.names.get(..1).unwrap_or_default(),
            (Kind::Permission | Kind::Role, _) => &[],
        }
    }

    /// For messages: `permission a:b and c:d`.
    pub(super) fn describe(&self, missing: &[ScopeToken]) -> String {
        let kind = match self.kind {
            Kind::Permission => "permission",
            Kind::Role => "role",
            Kind::Scope => "scope",
        };
        let joint = match self.quantity {
            Quantity::All => " and ",
            Quantity::Any => " or ",
        };
        let names: Vec<&str> = missing.iter().map(ScopeToken::as_str).collect();
        format!("{kind} {}", names.join(joint))
    }
}
