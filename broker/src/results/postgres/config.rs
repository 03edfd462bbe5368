//! What a PostgreSQL URL names, and how client errors are sorted.

use std::path::Path;

use tokio_postgres::error::SqlState;
use tradewind_postgres::Target;

use crate::Error;

pub(crate) const SERVICE: &str = "PostgreSQL";

/// The server of a URL.
pub(crate) fn target(url: &str, ca_file: Option<&Path>) -> Result<Target, Error> {
    Target::parse(url, ca_file, "tradewind-results").map_err(|bad| Error::Config(bad.to_string()))
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
