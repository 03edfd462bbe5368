//! Celery's spelling of the command line, translated into ours: `celery -A app -b URL worker -Q a,b`,
//! `celery inspect ping -d celery@host`. Used when the binary is called `celery` (a link is enough), and
//! for `tradewind celery …`.

mod options;
mod translate;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::args::Celery;

pub(crate) use translate::translate;

/// A command line of ours, and what else Celery's said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Translated {
    /// The arguments, without the program.
    pub(crate) args: Vec<String>,
    /// Settings.
    pub(crate) celery: Celery,
    /// Options that have no meaning here; one line of warning names them.
    pub(crate) ignored: Vec<String>,
    /// Folder to work in.
    pub(crate) workdir: Option<PathBuf>,
}

/// The words in Celery's spelling, if this is a command line in it.
pub(crate) fn spelled(argv: &[OsString]) -> Option<Vec<String>> {
    let words = |from: usize| argv.iter().skip(from).map(|word| word.to_string_lossy().into());
    let program = Path::new(argv.first()?).file_name()?;
    if program == "celery" {
        return Some(words(1).collect());
    }
    (argv.get(1)? == "celery").then(|| words(2).collect())
}
