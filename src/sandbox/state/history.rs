//! How much an environment remembers: otherwise a long run would fill the memory.

use std::collections::BTreeSet;

/// How many sessions, grants and executed tools are known.
pub(crate) const MAX_KNOWN: usize = 10_000;

/// Returns the IDs of the tenth with the least order, once there are [`MAX_KNOWN`].
pub(crate) fn excess<'a, O: Ord>(
    known: impl ExactSizeIterator<Item = (O, &'a String)>,
) -> BTreeSet<String> {
    if known.len() < MAX_KNOWN {
        return BTreeSet::new();
    }
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    known.into_iter().take(MAX_KNOWN / 10).map(|(_, id)| id.clone()).collect()
}
