//! One hash over several texts, with unambiguous boundaries.

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The first `N` bytes of a hash, in base64url.
pub(crate) fn base64_prefix<const N: usize>(hash: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hash.first_chunk::<N>().unwrap_or(&[0; N]))
}

/// SHA-256 over the parts, each preceded by its length.
pub(crate) fn hash_parts<P: AsRef<[u8]>>(
    parts: impl IntoIterator<Item = P>,
) -> [u8; SHA256_OUTPUT_LEN] {
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(&(part.as_ref().len() as u64).to_be_bytes());
        digest.update(part.as_ref());
    }
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_between_parts_matter() {
        let different = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""], &["", "abc"], &[]];
        for (index, one) in different.iter().enumerate() {
            for (other_index, other) in different.iter().enumerate() {
                let is_same = hash_parts(*one) == hash_parts(*other);
                assert_eq!(is_same, index == other_index, "{one:?} {other:?}");
            }
        }
    }
}
