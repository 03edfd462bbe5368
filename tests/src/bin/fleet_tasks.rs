//! A worker of the tasks in `fleet_tasks.rs`.

use std::process::ExitCode;

use tradewind_tests::{fleet_tasks, fleet_worker};

#[tokio::main]
async fn main() -> ExitCode {
    fleet_worker::main("fleet_tasks", fleet_tasks::tasks()).await
}
