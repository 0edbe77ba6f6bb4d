//! DEFLATE (RFC 1951) for short texts, as session cookies contain them.
//!
//! General implementations prepare windows and tables of hundreds of kilobytes for each call. For a
//! record of three kilobytes that takes several times as long as the work itself.

mod compress;
mod huffman;
mod inflate;

pub(crate) use self::compress::compress;
pub(crate) use self::inflate::inflate;

/// The longest code of the alphabets of texts and distances.
const MAX_CODE_BITS: usize = 15;
/// Ends a block.
const END_OF_BLOCK: usize = 256;
/// Literals, the end of a block, and lengths.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
/// Lengths of codes, and how often one repeats.
const CODE_LENGTHS: usize = 19;
/// The order in which the lengths of these codes are written.
const CODE_LENGTH_ORDER: [usize; CODE_LENGTHS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;

/// The shortest length of each length symbol, from symbol 257.
const LENGTH_BASES: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
/// The number of bits that are added to it.
const LENGTH_BITS: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// The shortest distance of each distance symbol.
const DISTANCE_BASES: [u16; DISTANCES] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
/// The number of bits that are added to it.
const DISTANCE_BITS: [u8; DISTANCES] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec;
    use miniz_oxide::inflate::decompress_to_vec;
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 256 * 1024;

    /// A text like that of a session.
    fn session(permissions: u32) -> Vec<u8> {
        let scrambled = |number: u32| u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let list: Vec<_> = (0..permissions)
            .map(|number| format!("\"{:016x}:write\"", scrambled(number)))
            .collect();
        let claims = format!(
            "{{\"iss\":\"https://acme.scalekit.dev\",\"aud\":[\"skc_1\"],\"sub\":\"usr_12345678901234\",\
             \"permissions\":[{}],\"exp\":1900000000}}",
            list.join(",")
        );
        format!("{{\"i\":\"x\",\"a\":{claims},\"p\":{claims:?},\"h\":\"{{}}\"}}").into_bytes()
    }

    fn inputs() -> impl Strategy<Value = Vec<u8>> {
        let repeated = (prop::collection::vec(any::<u8>(), 0..40), 0_usize..2000);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            prop::collection::vec(0_u8..4, 0..3000),
            repeated.prop_map(|(text, count)| text.repeat(count)),
            (0_u32..300).prop_map(session),
            "[a-z\":,{}]{0,2000}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_inflated_by_this_and_by_others(input in inputs()) {
            let compressed = compress(&input);
            prop_assert_eq!(&decompress_to_vec(&compressed).unwrap(), &input);
            prop_assert_eq!(inflate(&compressed, LIMIT), Some(input));
        }

        #[test]
        fn what_others_compress_is_inflated(input in inputs(), level in 0_u8..=10) {
            prop_assert_eq!(inflate(&compress_to_vec(&input, level), LIMIT), Some(input));
        }

        #[test]
        fn other_bytes_are_rejected_or_inflated_as_others_do(
            input in inputs(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            end in any::<prop::sample::Index>(),
        ) {
            let mut compressed = compress(&input);
            for (index, byte) in changes {
                *index.get_mut(&mut compressed) = byte;
            }
            compressed.truncate(end.index(compressed.len() + 1));
            if let Some(inflated) = inflate(&compressed, LIMIT) {
                prop_assert_eq!(decompress_to_vec(&compressed).unwrap(), inflated);
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let inflated = inflate(&bytes, 1000);
            prop_assert!(inflated.is_none_or(|inflated| inflated.len() <= 1000));
        }
    }

    #[test]
    fn texts_are_hardly_longer_than_those_of_others() {
        for permissions in [0, 1, 10, 50, 200, 1000] {
            let text = session(permissions);
            let (own, other) = (compress(&text).len(), compress_to_vec(&text, 6).len());
            assert!(own * 100 <= other * 102, "{permissions}: {own} instead of {other}");
        }
    }

    #[test]
    fn bytes_after_the_end_are_ignored_and_the_length_is_limited() {
        let text = session(50);
        let mut compressed = compress(&text);
        compressed.extend([0; 63]);
        assert_eq!(inflate(&compressed, text.len()).as_ref(), Some(&text));
        assert_eq!(inflate(&compressed, text.len() - 1), None);
        let long = compress(&vec![b'x'; 1_000_000]);
        assert!(long.len() < 2000);
        assert_eq!(inflate(&long, LIMIT), None);
        assert_eq!(inflate(&long, 1_000_000).map(|text| text.len()), Some(1_000_000));
        assert_eq!(inflate(&[], LIMIT), None);
    }
}
