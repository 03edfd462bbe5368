//! Tasks without Rust code: a command, an HTTP call or a Python callable bound to a task name in
//! configuration, so that a fleet can be used from any language.
//!
//! [`ExternalTasks`] checks a table of [`ExternalOptions`] and registers one handler per entry. Processes
//! belong to the call that they serve: whatever ends the call ends the whole tree.

mod call;
mod child;
mod command;
mod error;
mod http;
mod options;
mod process;
mod python;
mod register;
mod template;

pub use call::Call;
pub use error::ExternalError;
pub use options::{ExternalOptions, Means};
pub use register::{ExternalEnv, ExternalTasks};
