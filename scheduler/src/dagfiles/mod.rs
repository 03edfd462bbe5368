//! DAG files: found, watched, parsed in bounded child processes, checked, and stored as versions.
//!
//! Never runs Python in this process, and never lets one file hold up the others for longer than its
//! time limit. Several schedulers may read the same files: storing is idempotent.

mod duty;
mod ignore;
mod library;
mod list;
mod parse;
mod watch;

pub(crate) use duty::DagFiles;
pub use parse::{ParseOptions, parse_file};

use crate::SchedulerOptions;

/// The DAG files of the folder, relative to it, sorted.
///
/// # Errors
/// When the DAGs folder, or a folder in it, cannot be read.
pub fn files(options: &SchedulerOptions) -> std::io::Result<Vec<String>> {
    let found = list::list(&options.dags_folder, options.ignore_syntax)?;
    let dag_files = found.into_iter().filter(|file| file.kind != list::Kind::Resource);
    Ok(dag_files.map(|file| file.path).collect())
}
