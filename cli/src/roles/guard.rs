//! `tradewind guard`: outlives its worker and kills what the worker left behind.

use crate::failure::Failure;

pub(crate) fn run(instance: uuid::Uuid) -> Result<(), Failure> {
    tradewind_worker::guard::run(instance).map_err(|error| Failure::new(error.to_string()))
}
