//! The versioned frame around a binary body (content type [`crate::names::CONTENT_TYPE_FRAME`]).
//!
//! Layout, all integers little endian:
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | magic `TWND` |
//! | 4 | 1 | frame version (1) |
//! | 5 | 1 | codec (1 = bincode 2 `legacy()`) |
//! | 6 | 1 | kind ([`Kind`]) |
//! | 7 | 1 | 1 when a signature follows the body, else 0 |
//! | 8 | 8 | id of the signing key, 0 when unsigned |
//! | 16 | 4 | body length |
//! | 20 | n | body |
//! | 20+n | 64 | Ed25519 signature over bytes 0 to 20+n, when flagged |

use crate::limits::FRAME_BYTES_MAX;

const MAGIC: [u8; 4] = *b"TWND";
const VERSION: u8 = 1;
const CODEC_BINCODE2_LEGACY: u8 = 1;
const HEADER_BYTES: usize = 20;
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`crate::workload::Workload`]; always signed.
    Workload = 1,
    /// [`crate::workload::Outcome`].
    Outcome = 2,
}

/// Why bytes are not an acceptable frame. The text is the dead-letter reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short or wrong magic.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// A version, codec or kind that this build does not read.
    #[error("unknown {what} {found} in frame; this build reads {expected}")]
    Unknown {
        /// Which header field.
        what: &'static str,
        /// Its value.
        found: u8,
        /// What was expected.
        expected: u8,
    },
    /// Larger than [`FRAME_BYTES_MAX`].
    #[error("oversized frame: {found} bytes, limit {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
}

/// A parsed frame, borrowing its bytes. Nothing in it has been verified yet.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Id of the signing key; 0 when unsigned.
    pub key_id: u64,
    /// The encoded struct.
    pub body: &'a [u8],
    /// The bytes that the signature covers.
    pub signed: &'a [u8],
    /// The signature, if any.
    pub signature: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// Splits `bytes` into header, body and signature.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(bytes: &'a [u8], kind: Kind) -> Result<Self, FrameError> {
        if bytes.len() > FRAME_BYTES_MAX + HEADER_BYTES + SIGNATURE_BYTES {
            return Err(FrameError::TooLarge { found: bytes.len() });
        }
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(FrameError::Malformed("shorter than its header"));
        };
        let (magic, fields) = header.split_at(4);
        if magic != MAGIC {
            return Err(FrameError::Malformed("wrong magic"));
        }
        expect("version", fields[0], VERSION)?;
        expect("codec", fields[1], CODEC_BINCODE2_LEGACY)?;
        expect("kind", fields[2], kind as u8)?;
        let key_id = u64::from_le_bytes(array(&fields[4..12]));
        let length = u32::from_le_bytes(array(&fields[12..16])) as usize;
        let trailer = if fields[3] == 1 { SIGNATURE_BYTES } else { 0 };
        if rest.len() != length.saturating_add(trailer) {
            return Err(FrameError::Malformed("length field does not match"));
        }
        let (body, signature) = rest.split_at(length);
        Ok(Self {
            key_id,
            body,
            signed: &bytes[..HEADER_BYTES + length],
            signature: (trailer > 0).then_some(signature),
        })
    }

    /// Header and body of a new frame; a signer appends the signature.
    pub(crate) fn assemble(kind: Kind, key_id: Option<u64>, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + SIGNATURE_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, CODEC_BINCODE2_LEGACY, kind as u8]);
        out.push(u8::from(key_id.is_some()));
        out.extend_from_slice(&key_id.unwrap_or(0).to_le_bytes());
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(body);
        out
    }
}

fn expect(what: &'static str, found: u8, expected: u8) -> Result<(), FrameError> {
    if found == expected { Ok(()) } else { Err(FrameError::Unknown { what, found, expected }) }
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(slice);
    out
}
