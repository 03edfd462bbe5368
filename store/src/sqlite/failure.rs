//! What goes wrong inside a statement's code, and how it leaves the driver.

use rusqlite::ErrorCode;

use crate::rows::{BadRow, Cells};
use crate::{Error, admin};

#[derive(Debug)]
pub(super) enum Failure {
    Sql(rusqlite::Error),
    Row(BadRow),
    Store(Error),
}

pub(super) type Res<T> = Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
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
    /// The store's error, naming the use case.
    pub(super) fn at(self, what: &'static str) -> Error {
        match self {
            Self::Store(error) => error,
            Self::Row(row) => Error::Internal { what, reason: row.to_string() },
            Self::Sql(error) => match error.sqlite_error_code() {
                Some(
                    ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DiskFull
                    | ErrorCode::CannotOpen
                    | ErrorCode::OutOfMemory,
                ) => Error::Unavailable(format!("{error} ({what})")),
                _ if error.to_string().contains("no such table") => admin::no_schema(),
                _ => Error::Internal { what, reason: error.to_string() },
            },
        }
    }
}

fn bad(error: rusqlite::Error) -> BadRow {
    BadRow(error.to_string())
}

impl Cells for rusqlite::Row<'_> {
    fn int_opt(&self, at: usize) -> Result<Option<i64>, BadRow> {
        self.get(at).map_err(bad)
    }
    fn text_opt(&self, at: usize) -> Result<Option<String>, BadRow> {
        self.get(at).map_err(bad)
    }
    fn id_opt(&self, at: usize) -> Result<Option<uuid::Uuid>, BadRow> {
        self.get(at).map_err(bad)
    }
    fn flag(&self, at: usize) -> Result<bool, BadRow> {
        self.get(at).map_err(bad)
    }
}
