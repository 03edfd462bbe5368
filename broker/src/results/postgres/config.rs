//! What a PostgreSQL URL may say, and how client errors are sorted.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::Error;

pub(crate) const SERVICE: &str = "PostgreSQL";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A dead link is noticed by the kernel after this long without an answer.
const LINK_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Parses a URL without `sslmode`; [`super::target`] reads that.
pub(crate) fn parse(url: &str) -> Result<tokio_postgres::Config, Error> {
    // The parser's own message may quote parts of the URL, and with it a password.
    let parsed = url.parse::<tokio_postgres::Config>().ok();
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
    fn a_refusal_keeps_the_password_to_itself() {
        assert!(parse("postgresql://u@db/x").is_ok());
        let text = parse("postgresql://u:hunter2@db:nope/x").expect_err("a refusal");
        assert!(!text.to_string().contains("hunter2"), "{text}");
    }
}
