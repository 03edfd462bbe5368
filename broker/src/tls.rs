//! Whom TLS trusts: certificates of authorities from a file.

use std::path::Path;

use crate::Error;

/// The PEM text of a file; none without a file.
pub(crate) fn authorities(path: Option<&Path>) -> Result<Option<String>, Error> {
    let Some(path) = path else { return Ok(None) };
    let refuse =
        |reason: String| Error::Config(format!("option ca_file = {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    if !text.contains("BEGIN CERTIFICATE") {
        return Err(refuse("it has no PEM certificate (BEGIN CERTIFICATE)".to_owned()));
    }
    Ok(Some(text))
}

/// Makes ring the process's TLS provider unless one is set already.
pub(crate) fn install_provider() {
    // An error says that another part of the process was first; any provider will do.
    let _already = rustls::crypto::ring::default_provider().install_default();
}
