//! `tradewind guard`: outlives its worker and kills what the worker left behind.

pub(crate) fn run(instance: uuid::Uuid) {
    tradewind_worker::guard::run(instance);
}
