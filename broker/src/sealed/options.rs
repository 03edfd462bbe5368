//! Which keys, and what is demanded, as under `[security]` in the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tradewind_proto::seal::Seal;

use super::read_keys;
use crate::Error;

/// Signing and encryption of task messages. By default both are off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityOptions {
    /// File of keys, one `NAME SECRET` per line. Messages are signed with the first; a signature by any
    /// of them is good, one by another key is refused.
    pub signing_keys: Option<PathBuf>,
    /// File of keys of the same form. Bodies are encrypted with the first, and decrypted with all.
    pub encryption_keys: Option<PathBuf>,
    /// Refuses messages without a signature.
    pub require_signature: bool,
    /// Refuses messages that are not encrypted.
    pub require_encryption: bool,
}

impl SecurityOptions {
    /// Reads the keys; none when everything is off.
    ///
    /// # Errors
    /// [`Error::Config`] for a file that cannot be read, is open to others or has no good keys, and
    /// for a demand without keys.
    pub fn seal(&self) -> Result<Option<Seal>, Error> {
        for (demand, option, keys) in [
            (self.require_signature, "signature", &self.signing_keys),
            (self.require_encryption, "encryption", &self.encryption_keys),
        ] {
            if demand && keys.is_none() {
                let keys = if option == "signature" { "signing_keys" } else { "encryption_keys" };
                return Err(Error::Config(format!(
                    "[security] require_{option} is on, but there are no {keys}: name a file of keys"
                )));
            }
        }
        if self.signing_keys.is_none() && self.encryption_keys.is_none() {
            return Ok(None);
        }
        let read = |option, path: &Option<PathBuf>| {
            path.as_deref().map(|path| read_keys(option, path)).transpose()
        };
        Ok(Some(Seal {
            signing: read("signing_keys", &self.signing_keys)?,
            encryption: read("encryption_keys", &self.encryption_keys)?,
            require_signature: self.require_signature,
            require_encryption: self.require_encryption,
        }))
    }
}
