/// Whether a byte is in the alphabet of base64url (RFC 4648 section 5): letters, digits, `-`, `_`.
pub(crate) fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
