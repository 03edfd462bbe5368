//! Key files, which nobody but their owner (and its group, as in mounted secrets) may read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tradewind_proto::seal::SecretKeys;

use crate::Error;

/// Largest key file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Rights that a key file must not give: writing to the group, anything to others.
const TOO_OPEN: u32 = 0o027;

/// The keys of a file; `option` names the setting that it comes from.
pub(crate) fn read_keys(option: &str, path: &Path) -> Result<SecretKeys, Error> {
    let refuse = |reason: String| {
        Error::Config(format!("[security] {option} = {}: {reason}", path.display()))
    };
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
    let mode = metadata.mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        return Err(refuse(format!(
            "mode {mode:04o} lets other users read or write the keys; run chmod 600 {}",
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    SecretKeys::parse(&text).map_err(|error| refuse(error.to_string()))
}
