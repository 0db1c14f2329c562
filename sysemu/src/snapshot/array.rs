//! Arrays of bytes of any length in a record: `#[serde(with = "crate::snapshot::array")]`. serde itself stops at 32.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes it.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads it.
///
/// # Errors
/// When it has another length.
pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    let bytes = <Vec<u8>>::deserialize(deserializer)?;
    <[u8; N]>::try_from(&*bytes)
        .map_err(|_| D::Error::custom(format_args!("{} bytes instead of {N}", bytes.len())))
}
