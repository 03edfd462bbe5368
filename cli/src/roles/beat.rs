//! `tradewind beat`: sends periodic tasks when they are due.

use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(_context: &Context) -> Result<(), Failure> {
    Err(Failure::usage("`tradewind beat` is not in this build yet"))
}
