//! Random identifiers and tokens.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 256 random bits as unpadded base64url: codes, refresh tokens, cookies.
pub(crate) fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes())
}

pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    surely(rand::fill(&mut bytes));
    bytes
}

/// Seventeen random digits, as long as the numbers in Scalekit's identifiers.
pub(crate) fn random_digits() -> u64 {
    let mut bytes = [0_u8; 8];
    surely(rand::fill(&mut bytes));
    10_u64.pow(16) + u64::from_le_bytes(bytes) % (9 * 10_u64.pow(16))
}

/// For operations that fail only when the operating system has no random bytes.
#[expect(clippy::panic, reason = "the sandbox cannot work without random bytes")]
pub(crate) fn surely<T>(result: Result<T, aws_lc_rs::error::Unspecified>) -> T {
    result.unwrap_or_else(|_| panic!("the operating system's random source failed"))
}

/// A new identifier in Scalekit's form: the prefix, then digits.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", random_digits())
}

/// A random UUID, of version 4.
pub(crate) fn random_uuid() -> String {
    let mut bytes = [0; 16];
    surely(rand::fill(&mut bytes));
    uuid(u128::from_be_bytes(bytes), 4)
}

/// A number as a UUID of this version (RFC 9562).
pub(crate) fn uuid(number: u128, version: u128) -> String {
    let number = (number & !(0xf << 76) & !(0b11 << 62)) | (version << 76) | (0b10 << 62);
    let mut uuid = format!("{number:032x}");
    for place in [20, 16, 12, 8] {
        uuid.insert(place, '-');
    }
    uuid
}
