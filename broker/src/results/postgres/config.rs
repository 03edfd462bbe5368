//! What a PostgreSQL URL may say, and how client errors are sorted.

use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;

use crate::Error;

pub(crate) const SERVICE: &str = "PostgreSQL";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A dead link is noticed by the kernel after this long without an answer.
const LINK_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Parses a URL. The driver has no TLS yet: a URL that demands it is refused rather than served in
/// clear text.
pub(crate) fn parse(url: &str) -> Result<tokio_postgres::Config, Error> {
    let tls_demanded = url::Url::parse(url).is_ok_and(|parsed| {
        parsed.query_pairs().any(|(key, value)| {
            key == "sslmode" && matches!(value.as_ref(), "require" | "verify-ca" | "verify-full")
        })
    });
    // The parser's own message may quote parts of the URL, and with it a password.
    let parsed = if tls_demanded { None } else { url.parse::<tokio_postgres::Config>().ok() };
    let tls_demanded =
        tls_demanded || matches!(&parsed, Some(c) if c.get_ssl_mode() == SslMode::Require);
    if tls_demanded {
        return Err(Error::Config(
            "the PostgreSQL result backend cannot use TLS yet, and the URL demands it (sslmode); \
             use sslmode=disable or prefer over a trusted network or a tunnel"
                .to_owned(),
        ));
    }
    let mut config = parsed.ok_or_else(|| {
        Error::Config(
            "the PostgreSQL URL cannot be parsed; use \
             postgresql://user:password@host[:port]/database"
                .to_owned(),
        )
    })?;
    config.connect_timeout(CONNECT_LIMIT);
    config.tcp_user_timeout(LINK_SILENCE_MAX);
    config.keepalives_idle(LINK_SILENCE_MAX);
    if config.get_application_name().is_none() {
        config.application_name("tradewind-results");
    }
    Ok(config)
}

/// Sorts a client error.
pub(crate) fn sort_error(what: &str, error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        return Error::Unavailable { service: SERVICE, reason: with_source(error) };
    };
    // Connection, resource, shutdown and serialization classes pass; the rest does not.
    let passing =
        ["08", "53", "57", "40"].iter().any(|class| server.code().code().starts_with(class));
    if passing && *server.code() != SqlState::DATABASE_DROPPED {
        Error::Unavailable { service: SERVICE, reason: server.message().to_owned() }
    } else {
        Error::Refused {
            service: SERVICE,
            what: what.to_owned(),
            reason: server.message().to_owned(),
        }
    }
}

/// The client's words and their cause ("error connecting to server: connection refused").
fn with_source(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn refuses_tls_it_cannot_give_and_keeps_the_password_to_itself() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgresql://u:hunter2@db/x?sslmode={mode}");
            let text = parse(&url).expect_err("a refusal").to_string();
            assert!(text.contains("TLS"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(parse("postgresql://u:hunter2@db/x?sslmode=disable").is_ok());
        assert!(parse("postgresql://u@db/x").is_ok());
        let text = parse("postgresql://u:hunter2@db:nope/x").expect_err("a refusal");
        assert!(!text.to_string().contains("hunter2"), "{text}");
    }
}
