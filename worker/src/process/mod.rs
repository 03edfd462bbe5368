//! Processes of attempts: who is alive, and how to end all of them, grandchildren included.

pub mod guard;
mod kill;
mod proc;
mod sweep;
mod table;

pub(crate) use guard::Guard;
pub(crate) use kill::{kill_group, kill_tree};
pub(crate) use sweep::sweep;
pub(crate) use table::ProcessTable;
