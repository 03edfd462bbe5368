//! What goes wrong inside a use case, and how it leaves the driver.

use deadpool_postgres::PoolError;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::rows::{BadRow, Cells};
use crate::{Error, admin};

#[derive(Debug)]
pub(super) enum Failure {
    Sql(tokio_postgres::Error),
    Pool(PoolError),
    Row(BadRow),
    Store(Error),
}

pub(super) type Res<T> = Result<T, Failure>;

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<BadRow> for Failure {
    fn from(error: BadRow) -> Self {
        Self::Row(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// Two transactions waited for each other, and this one was chosen to give way.
    pub(super) fn is_deadlock(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(
            error.code(),
            Some(&SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE)
        )
    }

    /// The store's error, naming the use case.
    pub(super) fn at(self, what: &'static str) -> Error {
        match self {
            Self::Store(error) => error,
            Self::Row(row) => Error::Internal { what, reason: row.to_string() },
            Self::Pool(PoolError::Backend(error)) => unreachable_server(&error, what),
            Self::Pool(error) => Error::Unavailable(format!("{error} ({what})")),
            Self::Sql(error) => statement(&error, what),
        }
    }
}

/// Use as `map_err(at("use case"))`.
pub(super) fn at(what: &'static str) -> impl Fn(Failure) -> Error {
    move |failure| failure.at(what)
}

fn words(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    match (error.as_db_error(), cause) {
        (Some(db), _) => format!("{} [{}]", db.message(), db.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

fn unreachable_server(error: &tokio_postgres::Error, what: &'static str) -> Error {
    Error::Unavailable(format!("{} ({what})", words(error)))
}

fn statement(error: &tokio_postgres::Error, what: &'static str) -> Error {
    let Some(code) = error.code() else {
        // Not the server's answer: the connection broke, or a value did not fit its parameter.
        let broken = error.is_closed()
            || std::error::Error::source(error).is_some_and(|s| s.is::<std::io::Error>());
        return if broken {
            unreachable_server(error, what)
        } else {
            Error::Internal { what, reason: words(error) }
        };
    };
    match *code {
        SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME => admin::no_schema(),
        SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED => unreachable_server(error, what),
        // Connection exceptions, insufficient resources, operator intervention, transaction
        // rollbacks, idle-in-transaction time-out, read-only standby.
        _ if ["08", "53", "57", "40"].contains(&&code.code()[..2])
            || ["25P03", "25006"].contains(&code.code()) =>
        {
            unreachable_server(error, what)
        }
        _ => Error::Internal { what, reason: words(error) },
    }
}

fn bad(error: tokio_postgres::Error) -> BadRow {
    BadRow(error.to_string())
}

impl Cells for Row {
    fn int_opt(&self, at: usize) -> Result<Option<i64>, BadRow> {
        self.try_get(at).map_err(bad)
    }
    fn text_opt(&self, at: usize) -> Result<Option<String>, BadRow> {
        self.try_get(at).map_err(bad)
    }
    fn id_opt(&self, at: usize) -> Result<Option<Uuid>, BadRow> {
        self.try_get(at).map_err(bad)
    }
    fn flag(&self, at: usize) -> Result<bool, BadRow> {
        self.try_get(at).map_err(bad)
    }
}

/// Maps every row.
pub(super) fn all<T>(rows: &[Row], map: impl Fn(&Row) -> Result<T, BadRow>) -> Res<Vec<T>> {
    Ok(rows.iter().map(map).collect::<Result<_, _>>()?)
}

/// Maps the first row.
pub(super) fn first<T>(rows: &[Row], map: impl Fn(&Row) -> Result<T, BadRow>) -> Res<Option<T>> {
    Ok(rows.first().map(map).transpose()?)
}

/// Text that people or tasks wrote: Postgres stores no NUL.
pub(super) fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}
