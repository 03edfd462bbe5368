//! The only file that names bincode. Bytes are bincode's `legacy()` layout (little endian, fixed-size
//! integers, u32 tags, u64 lengths), which successors can write too: swapping the crate means
//! changing this file alone.

use bincode::config::{self, Config};

pub use bincode::{Decode, Encode};

use crate::limits::FRAME_BYTES_MAX;

/// Why bytes could not be read as the expected struct.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode body: {0}")]
pub struct DecodeError(String);

fn layout() -> impl Config {
    config::legacy().with_limit::<FRAME_BYTES_MAX>()
}

/// Encodes a wire struct.
///
/// # Errors
/// When the value is larger than [`FRAME_BYTES_MAX`].
pub fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, DecodeError> {
    let bytes = bincode::encode_to_vec(value, layout()).map_err(|e| DecodeError(e.to_string()))?;
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(DecodeError(format!("{} bytes, limit {FRAME_BYTES_MAX}", bytes.len())));
    }
    Ok(bytes)
}

/// Decodes a wire struct; every byte must be used.
///
/// # Errors
/// On truncated, oversized or trailing bytes and on invalid values.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) =
        bincode::decode_from_slice(bytes, layout()).map_err(|e| DecodeError(e.to_string()))?;
    if used != bytes.len() {
        return Err(DecodeError(format!("{} trailing bytes", bytes.len() - used)));
    }
    Ok(value)
}
