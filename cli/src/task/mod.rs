//! `task send | result | revoke`: one fleet task from the command line.

mod call;
mod result;
mod revoke;
mod send;

pub(crate) use result::result;
pub(crate) use revoke::revoke;
pub(crate) use send::send;
