//! Opens the store that a URL names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;
use crate::url::{self, Target};
use crate::{Error, Store};

/// How the store uses its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Connections of the Postgres pool.
    pub postgres_connections: usize,
    /// Longest that Postgres may work on, or wait for a lock in, one statement.
    pub statement_timeout: Duration,
    /// PEM file of authorities to trust for TLS to Postgres; none: the system's. The URL's `sslrootcert` has
    /// precedence.
    pub ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { postgres_connections: 16, statement_timeout: Duration::from_secs(30), ca_file: None }
    }
}

/// Opens the store that `url` names. Does not migrate: see [`crate::AdminStore::check_schema`]. Must be
/// called in a tokio runtime. Forms: `sqlite:///relative.db`, `sqlite:////absolute.db` (SQLAlchemy's
/// rule), `sqlite://:memory:`, `postgres://`, `postgresql://`, `postgresql+psycopg2://`; for Postgres
/// `?schema=name` or `?options=-csearch_path=name` chooses a schema, and `sslmode=require`, `verify-ca` or
/// `verify-full` means TLS with a certificate that is checked against the host's name.
///
/// # Errors
/// [`Error::Config`], naming the valid forms, for any other URL; [`Error::Unavailable`] when a SQLite
/// file cannot be opened. A Postgres server need not be up yet. No text holds the password.
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Store>, Error> {
    Ok(match url::parse(url)? {
        Target::Memory => Arc::new(SqliteStore::in_memory()?),
        Target::Sqlite(path) => Arc::new(SqliteStore::open(&path).map_err(|e| hint(e, &path))?),
        Target::Postgres(target) => Arc::new(PostgresStore::new(target, options)?),
    })
}

/// Three slashes where four were meant is the usual mistake.
fn hint(error: Error, path: &Path) -> Error {
    let rooted = Path::new("/").join(path);
    let meant =
        path.is_relative() && rooted.parent().is_some_and(|p| p.parent().is_some() && p.is_dir());
    match error {
        Error::Unavailable(text) if meant => Error::Unavailable(format!(
            "{text}. If {} was meant, write sqlite:///{}: three slashes begin a relative path",
            rooted.display(),
            rooted.display()
        )),
        error => error,
    }
}
