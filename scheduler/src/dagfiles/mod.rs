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
