//! The server of a PostgreSQL URL, and how to reach it: in clear text or over TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_rustls::TlsConnector;

use super::config;
use super::tls::Tls;
use crate::{Error, tls};

/// Where to connect, with what.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: Tls,
}

/// The address may hold a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

impl Target {
    /// Reads a libpq URL. `sslmode=require`, `verify-ca` and `verify-full` all mean TLS with a
    /// certificate that is checked against the host's name; any other mode means clear text. The
    /// authorities are those of `sslrootcert`, else of `ca_file`, else the system's.
    ///
    /// # Errors
    /// [`Error::Config`] without credentials, when the URL or the file cannot be used.
    pub(crate) fn parse(url: &str, ca_file: Option<&Path>) -> Result<Self, Error> {
        let Wanted { url, encrypted, root } = Wanted::of(url)?;
        let mut config = config::parse(&url)?;
        let roots = if encrypted {
            config.ssl_mode(SslMode::Require);
            roots(root.as_deref().or(ca_file))?
        } else {
            config.ssl_mode(SslMode::Disable);
            RootCertStore::empty()
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Config(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, tls: Tls(TlsConnector::from(Arc::new(client))) })
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match tls::authorities(file)? {
        Some(text) => {
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let added = certificate.map_err(|error| error.to_string());
                added
                    .and_then(|one| roots.add(one).map_err(|error| error.to_string()))
                    .map_err(|why| Error::Config(format!("a certificate of ca_file: {why}")))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// What a URL says of TLS, in libpq's words, and the rest of it.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    url: String,
    encrypted: bool,
    root: Option<PathBuf>,
}

impl Wanted {
    fn of(url: &str) -> Result<Self, Error> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut wanted = Self { url: base.to_owned(), encrypted: false, root: None };
        let mut kept = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let pair = url::form_urlencoded::parse(part.as_bytes()).next().unwrap_or_default();
            match (pair.0.as_ref(), pair.1.as_ref()) {
                ("sslmode", "require" | "verify-ca" | "verify-full") => wanted.encrypted = true,
                ("sslmode", "disable" | "allow" | "prefer") => wanted.encrypted = false,
                ("sslmode", mode) => {
                    return Err(Error::Config(format!(
                        "the PostgreSQL URL has sslmode={mode:?}; use disable, prefer (both in \
                         clear text), or require, verify-ca, verify-full (all three verified TLS)"
                    )));
                }
                ("sslrootcert", "system") => wanted.root = None,
                ("sslrootcert", path) => wanted.root = Some(PathBuf::from(path)),
                _ => kept.push(part),
            }
        }
        if !kept.is_empty() {
            wanted.url = format!("{base}?{}", kept.join("&"));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_libpqs_and_never_weaker() {
        let of = |query: &str| Wanted::of(&format!("postgresql://u:hunter2@h/d{query}"));
        for (query, encrypted) in [
            ("", false),
            ("?sslmode=disable", false),
            ("?sslmode=prefer", false),
            ("?sslmode=require", true),
            ("?sslmode=verify-ca", true),
            ("?sslmode=verify-full", true),
        ] {
            assert_eq!(of(query).expect(query).encrypted, encrypted, "{query}");
        }
        let wanted = of("?options=-c%20a&sslrootcert=%2Fca.pem&sslmode=require").expect("read");
        assert_eq!(wanted.root.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!(wanted.url, "postgresql://u:hunter2@h/d?options=-c%20a");
        let text = of("?sslmode=maybe").expect_err("refused").to_string();
        assert!(text.contains("verify-full") && !text.contains("hunter2"), "{text}");
        let missing = Path::new("/no/such/file.pem");
        let url = "postgresql://u:hunter2@h/d?sslmode=require";
        let text = Target::parse(url, Some(missing)).expect_err("refused").to_string();
        assert!(text.contains("ca_file") && !text.contains("hunter2"), "{text}");
        assert!(Target::parse("postgresql://h/d", Some(missing)).is_ok(), "nothing to verify");
    }
}
