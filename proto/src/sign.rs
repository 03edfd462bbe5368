//! Sealing and opening frames: the one door through which binary messages enter and leave.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::codec::{self, DecodeError, Frame, FrameError, Kind};
use crate::workload::{Outcome, Workload};

/// Why a frame was refused. The text is the dead-letter reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a frame that this build reads.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A workload without a signature.
    #[error("bad signature: workload is not signed")]
    Unsigned,
    /// Signed by a key that the ring does not hold; the caller may fetch keys and try again.
    #[error("bad signature: unknown key {key_id:016x}")]
    UnknownKey {
        /// Id of the key.
        key_id: u64,
    },
    /// The signature does not match.
    #[error("bad signature by key {key_id:016x}")]
    BadSignature {
        /// Id of the key.
        key_id: u64,
    },
    /// The body is not the struct it claims to be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// No usable private key.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a signing key: {0}")]
pub struct KeyError(String);

/// The scheduler's private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: u64,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:016x})", self.id)
    }
}

impl SigningKey {
    /// A fresh key from the system's randomness.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|e| KeyError(e.to_string()))?;
        let pair =
            Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|e| KeyError(e.to_string()))?;
        Ok(Self::from_pair(pair))
    }

    /// A key from 32 bytes of seed (tests and deterministic simulation).
    ///
    /// # Errors
    /// When the seed is not 32 bytes.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|e| KeyError(e.to_string()))?;
        Ok(Self::from_pair(pair))
    }

    fn from_pair(pair: Ed25519KeyPair) -> Self {
        let id = key_id(pair.public_key().as_ref());
        Self { pair, id }
    }

    /// The 32 bytes that workers need to verify.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Encodes and signs a workload.
    ///
    /// # Errors
    /// When it is larger than a frame may be.
    pub fn seal(&self, workload: &Workload) -> Result<Vec<u8>, DecodeError> {
        let mut out = Frame::assemble(Kind::Workload, Some(self.id), &codec::encode(workload)?);
        let signature = self.pair.sign(&out);
        out.extend_from_slice(signature.as_ref());
        Ok(out)
    }
}

/// A scheduler's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The id that frames name this key by: the first 8 bytes of its SHA-256, little endian.
    pub fn id(&self) -> u64 {
        key_id(&self.0)
    }
}

fn key_id(public: &[u8]) -> u64 {
    let hash = digest(&SHA256, public);
    let mut id = [0; 8];
    id.copy_from_slice(&hash.as_ref()[..8]);
    u64::from_le_bytes(id)
}

/// The public keys that a worker accepts.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(BTreeMap<u64, PublicKey>);

impl KeyRing {
    /// Adds a key; adding it twice does no harm.
    pub fn insert(&mut self, key: PublicKey) {
        self.0.insert(key.id(), key);
    }

    /// Opens a signed workload: frame, then signature, then body.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing of the body is read before the signature holds.
    pub fn open(&self, bytes: &[u8]) -> Result<Workload, OpenError> {
        let frame = Frame::parse(bytes, Kind::Workload)?;
        let key_id = frame.key_id;
        let signature = frame.signature.ok_or(OpenError::Unsigned)?;
        let key = self.0.get(&key_id).ok_or(OpenError::UnknownKey { key_id })?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(frame.signed, signature)
            .map_err(|_| OpenError::BadSignature { key_id })?;
        Ok(codec::decode(frame.body)?)
    }
}

/// Encodes an outcome. Outcomes carry the attempt's unguessable id and fencing token instead of a
/// signature: workers hold no private key.
///
/// # Errors
/// When it is larger than a frame may be.
pub fn seal_outcome(outcome: &Outcome) -> Result<Vec<u8>, DecodeError> {
    Ok(Frame::assemble(Kind::Outcome, None, &codec::encode(outcome)?))
}

/// Decodes an outcome.
///
/// # Errors
/// See [`OpenError`].
pub fn open_outcome(bytes: &[u8]) -> Result<Outcome, OpenError> {
    Ok(codec::decode(Frame::parse(bytes, Kind::Outcome)?.body)?)
}

/// Lower-case hexadecimal SHA-256 of `bytes`: DAG versions and outcome digests.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
