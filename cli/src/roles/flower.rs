//! `tradewind flower`: the monitor of the fleet on a port of its own.

use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(_context: &Context) -> Result<(), Failure> {
    Err(Failure::usage("`tradewind flower` is not in this build yet"))
}
