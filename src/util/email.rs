//! Comparison of e-mail addresses.

use super::pasted::trim;

/// The address trimmed and case-folded: two addresses are the same if these are equal.
pub(crate) fn fold_email(address: &str) -> String {
    trim(address).to_lowercase()
}

/// The same for an ID that may be an address, as of users who log in by e-mail; other IDs are
/// case-sensitive.
pub(crate) fn fold_user_id(id: &str) -> String {
    if id.contains('@') { fold_email(id) } else { id.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_case_do_not_matter_in_addresses_but_in_other_ids() {
        for address in ["jane@acme.test", " Jane@ACME.test\t", "JANE@acme.test\n"] {
            assert_eq!(fold_email(address), "jane@acme.test");
            assert_eq!(fold_user_id(address), "jane@acme.test");
        }
        assert_eq!(fold_email("Ä@x.test"), "ä@x.test");
        assert_eq!(fold_user_id("usr_aB "), "usr_aB ");
    }
}
