//! The server of a PostgreSQL URL, and how to reach it: in clear text or over TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_rustls::TlsConnector;

use crate::tls::Tls;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A dead link is noticed by the kernel after this long without an answer.
const LINK_SILENCE_MAX: Duration = Duration::from_secs(10);

/// A URL or a file of authorities that cannot be used. The text has no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTarget(String);

/// Where to connect, with what.
#[derive(Clone)]
pub struct Target {
    /// The server, the database, the user, and limits on silence.
    pub config: tokio_postgres::Config,
    /// Used if the URL asks for it.
    pub tls: Tls,
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
    /// authorities are those of `sslrootcert` (`system`: the system's), else of `ca_file`, else the
    /// system's. `application` is what the server shows of us, unless the URL has a name.
    ///
    /// # Errors
    /// [`BadTarget`] when the URL or the file cannot be used.
    pub fn parse(url: &str, ca_file: Option<&Path>, application: &str) -> Result<Self, BadTarget> {
        let Wanted { url, encrypted, roots } = Wanted::of(url)?;
        let mut config = configured(&url, application)?;
        let roots = if encrypted {
            config.ssl_mode(SslMode::Require);
            authorities(match &roots {
                Roots::File(path) => Some(path),
                Roots::System => None,
                Roots::Unsaid => ca_file,
            })?
        } else {
            config.ssl_mode(SslMode::Disable);
            RootCertStore::empty()
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| BadTarget(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, tls: Tls(TlsConnector::from(Arc::new(client))) })
    }
}

fn configured(url: &str, application: &str) -> Result<tokio_postgres::Config, BadTarget> {
    // The parser's own message may quote parts of the URL, and with it a password.
    let parsed = url.parse::<tokio_postgres::Config>().ok();
    let mut config = parsed.ok_or_else(|| {
        BadTarget(
            "the PostgreSQL URL cannot be parsed; use \
             postgresql://user:password@host[:port]/database"
                .to_owned(),
        )
    })?;
    config.connect_timeout(CONNECT_LIMIT);
    config.tcp_user_timeout(LINK_SILENCE_MAX);
    config.keepalives_idle(LINK_SILENCE_MAX);
    if config.get_application_name().is_none() {
        config.application_name(application);
    }
    Ok(config)
}

/// Those of a file, else the system's.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, BadTarget> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let refuse = |why: String| BadTarget(format!("option ca_file = {}: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| refuse(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refuse("it has no PEM certificate (BEGIN CERTIFICATE)".to_owned()));
    }
    Ok(roots)
}

/// What a URL says of authorities.
#[derive(Debug, PartialEq, Eq)]
enum Roots {
    Unsaid,
    System,
    File(PathBuf),
}

/// What a URL says of TLS, in libpq's words, and the rest of it.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    url: String,
    encrypted: bool,
    roots: Roots,
}

impl Wanted {
    fn of(url: &str) -> Result<Self, BadTarget> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut wanted = Self { url: base.to_owned(), encrypted: false, roots: Roots::Unsaid };
        let mut kept = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let pair = url::form_urlencoded::parse(part.as_bytes()).next().unwrap_or_default();
            match (pair.0.as_ref(), pair.1.as_ref()) {
                ("sslmode", "require" | "verify-ca" | "verify-full") => wanted.encrypted = true,
                ("sslmode", "disable" | "allow" | "prefer") => wanted.encrypted = false,
                ("sslmode", mode) => {
                    return Err(BadTarget(format!(
                        "the PostgreSQL URL has sslmode={mode:?}; use disable, prefer (both in \
                         clear text), or require, verify-ca, verify-full (all three verified TLS)"
                    )));
                }
                ("sslrootcert", "system") => wanted.roots = Roots::System,
                ("sslrootcert", path) => wanted.roots = Roots::File(PathBuf::from(path)),
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
        assert_eq!(wanted.roots, Roots::File(PathBuf::from("/ca.pem")));
        assert_eq!(wanted.url, "postgresql://u:hunter2@h/d?options=-c%20a");
        assert_eq!(of("?sslrootcert=system").expect("read").roots, Roots::System);
        let text = of("?sslmode=maybe").expect_err("refused").to_string();
        assert!(text.contains("verify-full") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_file_of_authorities_is_read_when_it_is_needed() {
        let missing = Some(Path::new("/no/such/file.pem"));
        let parse = |query: &str| {
            Target::parse(&format!("postgresql://u:hunter2@h/d{query}"), missing, "tests")
        };
        let text = parse("?sslmode=require").expect_err("refused").to_string();
        assert!(text.contains("ca_file = /no/such/file.pem"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(parse("").is_ok(), "nothing to verify");
        assert!(parse("?sslmode=require&sslrootcert=system").is_ok(), "the URL has the last word");
    }

    #[test]
    fn a_refusal_keeps_the_password_to_itself() {
        let parse = |url: &str| Target::parse(url, None, "tests");
        assert!(parse("postgresql://u@db/x").is_ok());
        let text = parse("postgresql://u:hunter2@db:nope/x").expect_err("a refusal");
        assert!(!text.to_string().contains("hunter2"), "{text}");
    }
}
