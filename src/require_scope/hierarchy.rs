use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::challenge::ScopeToken;
use crate::error::ConfigError;

/// Scopes, permissions or roles that include others: a principal with the broader one also has the
/// narrower ones (MCP authorization, scope hierarchies). Cheap to clone.
///
/// ```
/// use tower_scalekit::RequireScope;
/// use tower_scalekit::require_scope::ScopeHierarchy;
///
/// let scopes = ScopeHierarchy::new()
///     .implies("todo:admin", ["todo:write"])?
///     .implies("todo:write", ["todo:read"])?;
/// let reading = RequireScope::all(["todo:read"]).scope_hierarchy(&scopes); // allows todo:admin
/// # Ok::<(), tower_scalekit::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ScopeHierarchy(Arc<BTreeMap<ScopeToken, BTreeSet<ScopeToken>>>);

impl ScopeHierarchy {
    /// Creates an empty hierarchy, in which no name includes another.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to `broader` each of `narrower`, and the names that those include.
    ///
    /// # Errors
    /// When a name is not a valid scope.
    pub fn implies<N: AsRef<str>>(
        self,
        broader: &str,
        narrower: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        let broader = ScopeToken::new(broader)?;
        let mut included = narrower
            .into_iter()
            .map(|name| ScopeToken::new(name.as_ref()))
            .collect::<Result<BTreeSet<_>, _>>()?;
        let mut map = Arc::unwrap_or_clone(self.0);
        let further: Vec<_> =
            included.iter().filter_map(|name| map.get(name)).flatten().cloned().collect();
        included.extend(further);
        map.entry(broader.clone()).or_default().extend(included);
        let included = map.get(&broader).cloned().unwrap_or_default();
        for others in map.values_mut().filter(|others| others.contains(&broader)) {
            others.extend(included.iter().cloned());
        }
        Ok(Self(Arc::new(map)))
    }

    /// Whether the granted scope includes this name.
    pub(super) fn grant(&self, granted: &[String], name: &ScopeToken) -> bool {
        granted.iter().any(|granted| granted == name.as_str())
            || self.0.iter().any(|(broader, included)| {
                included.contains(name) && granted.iter().any(|granted| granted == broader.as_str())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_included_transitively_in_any_order_of_configuration() {
        let said = [("admin", "write"), ("write", "read"), ("read", "list"), ("list", "read")];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let scopes = order.iter().fold(ScopeHierarchy::new(), |scopes, index| {
                let (broader, narrower) = said[*index];
                scopes.implies(broader, [narrower]).unwrap()
            });
            let grants = |granted: &str, name: &str| {
                scopes.grant(&[granted.to_owned()], &ScopeToken::new(name).unwrap())
            };
            for (granted, all) in [
                ("admin", &["admin", "write", "read", "list"][..]),
                ("write", &["write", "read", "list"]),
                ("read", &["read", "list"]),
                ("other", &["other"]),
            ] {
                for name in ["admin", "write", "read", "list", "other"] {
                    assert_eq!(grants(granted, name), all.contains(&name), "{granted} {name}");
                }
            }
        }
        assert!(ScopeHierarchy::new().implies("a b", ["c"]).is_err());
    }
}
