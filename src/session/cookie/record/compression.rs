//! DEFLATE (RFC 1951) of a record's claims.

use zlib_rs::{
    DeflateConfig, InflateConfig, Method, ReturnCode, Strategy, compress_bound, compress_slice,
    decompress_slice,
};

/// Raw: without a header and a checksum, because the record is sealed. A window of 8 KiB holds most
/// records, and costs less to set up than that of 32 KiB.
const COMPRESSION: DeflateConfig = DeflateConfig {
    level: 6,
    method: Method::Deflated,
    window_bits: -13,
    mem_level: 6,
    strategy: Strategy::Default,
};
/// With any window.
const DECOMPRESSION: InflateConfig = InflateConfig { window_bits: -15 };
/// No session that fits into cookies inflates to more.
const MAX_INFLATED_BYTES: usize = 256 * 1024;

pub(super) fn deflate(json: &[u8]) -> Option<Vec<u8>> {
    let mut deflated = vec![0; compress_bound(json.len())];
    match compress_slice(&mut deflated, json, COMPRESSION) {
        (written, ReturnCode::Ok) => {
            let length = written.len();
            deflated.truncate(length);
            Some(deflated)
        }
        _ => None,
    }
}

/// Ignores what follows the end.
pub(super) fn inflate(deflated: &[u8]) -> Option<Vec<u8>> {
    // Few records compress to less than a quarter.
    let usual = deflated.len().saturating_mul(4).min(MAX_INFLATED_BYTES);
    inflate_up_to(usual, deflated).or_else(|| inflate_up_to(MAX_INFLATED_BYTES, deflated))
}

fn inflate_up_to(max: usize, deflated: &[u8]) -> Option<Vec<u8>> {
    let mut json = vec![0; max];
    match decompress_slice(&mut json, deflated, DECOMPRESSION) {
        (written, ReturnCode::Ok) => {
            let length = written.len();
            json.truncate(length);
            Some(json)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compresses_to_a_hundredth_inflates_and_what_exceeds_the_limit_does_not() {
        for length in [0, 1, 1000, MAX_INFLATED_BYTES] {
            let text = vec![b'a'; length];
            let mut deflated = deflate(&text).unwrap();
            deflated.extend([0; 63]);
            assert_eq!(inflate(&deflated), Some(text), "{length}");
        }
        let too_long = deflate(&vec![b'a'; MAX_INFLATED_BYTES + 1]).unwrap();
        assert_eq!(inflate(&too_long), None);
    }
}
