//! Signed and encrypted task messages: what a sender puts on, and what a reader demands before it
//! looks at anything else.
//!
//! A signature (HMAC-SHA256) covers the body and, as the very text that the reader then works with, all
//! headers that the sender set and the properties that a worker heeds. Encryption (ChaCha20-Poly1305)
//! hides the body and binds it to the task's id and name. Both take 256-bit keys that everybody in the
//! fleet shares, each named by an id, so that keys can be replaced one by one. Workloads of the
//! orchestrator have Ed25519 signatures of their own ([`crate::sign`]) and pass untouched.

mod cipher;
mod keys;
mod signature;

use std::fmt;

use crate::message::TaskMessage;
use crate::names;

pub use cipher::{Decryption, decrypt_text, encrypt_text};
pub use keys::{KeyListError, KeyName, SecretKeys};

/// What stands in `argsrepr` and `kwargsrepr` of an encrypted message, and in all that is told of it.
pub const ENCRYPTED: &str = "<encrypted>";
/// Kind of refusal of a message that is not signed as it must be.
pub const KIND_SIGNATURE: &str = "signature";
/// Kind of refusal of a message that is not encrypted as it must be, or that cannot be decrypted.
pub const KIND_ENCRYPTION: &str = "encryption";

/// Why a message is refused. It will be refused again however often it comes: dead-letter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// [`KIND_SIGNATURE`] or [`KIND_ENCRYPTION`].
    pub kind: &'static str,
    /// The dead-letter reason.
    pub reason: String,
}

impl Refused {
    fn signature(reason: impl fmt::Display) -> Self {
        Self { kind: KIND_SIGNATURE, reason: format!("{KIND_SIGNATURE}: {reason}") }
    }

    fn encryption(reason: impl fmt::Display) -> Self {
        Self { kind: KIND_ENCRYPTION, reason: format!("{KIND_ENCRYPTION}: {reason}") }
    }
}

/// A message that cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message cannot be sealed: {0}")]
pub struct SealError(pub(crate) String);

/// The keys and the demands of one process.
#[derive(Debug, Clone, Default)]
pub struct Seal {
    /// Signs with the first key, accepts all of them. None: nothing is signed, signatures are not
    /// looked at.
    pub signing: Option<SecretKeys>,
    /// Encrypts with the first key, decrypts with all of them. None: nothing is encrypted.
    pub encryption: Option<SecretKeys>,
    /// Refuses what has no signature.
    pub require_signature: bool,
    /// Refuses what is not encrypted.
    pub require_encryption: bool,
}

impl Seal {
    /// Encrypts and signs what is to be published, as far as there are keys.
    ///
    /// # Errors
    /// When the system has no randomness, or a name is too long.
    pub fn close(&self, mut message: TaskMessage) -> Result<TaskMessage, SealError> {
        if is_workload(&message) {
            return Ok(message);
        }
        if let Some(keys) = &self.encryption {
            cipher::encrypt(&mut message, keys)?;
        }
        if let Some(keys) = &self.signing {
            signature::sign(&mut message, keys)?;
        }
        Ok(message)
    }

    /// Checks and decrypts what has arrived. What comes back holds nothing that the signature does not
    /// cover but priority, expiration and the time of sending.
    ///
    /// # Errors
    /// [`Refused`]; nothing of the body was read.
    pub fn open(&self, mut message: TaskMessage) -> Result<TaskMessage, Refused> {
        if is_workload(&message) {
            return Ok(message);
        }
        match (&self.signing, signature::is_signed(&message)) {
            (Some(keys), true) => signature::verify(&mut message, keys)?,
            (_, false) if self.require_signature => {
                return Err(Refused::signature(
                    "the message is not signed, and [security] require_signature is on",
                ));
            }
            _ => {}
        }
        match (&self.encryption, cipher::is_encrypted(&message)) {
            (Some(keys), true) => cipher::decrypt(&mut message, keys)?,
            (None, true) => return Err(Refused::encryption(cipher::NO_KEYS)),
            (_, false) if self.require_encryption => {
                return Err(Refused::encryption(
                    "the body is not encrypted, and [security] require_encryption is on",
                ));
            }
            _ => {}
        }
        Ok(message)
    }
}

/// Whether it is for the orchestrator's half of a worker, which verifies frames by itself. Must say no
/// to everything that the other half would run.
fn is_workload(message: &TaskMessage) -> bool {
    let essence = message.content_type.split(';').next().unwrap_or_default().trim();
    message.task() == Some(names::TASK_WORKLOAD)
        && essence.eq_ignore_ascii_case(names::CONTENT_TYPE_FRAME)
}

#[cfg(test)]
mod tests;
