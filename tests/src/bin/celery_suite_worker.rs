//! A worker of the tasks in `suite_tasks`: what Celery's own integration suite is run against.

use std::process::ExitCode;

use tradewind_tests::{fleet_worker, suite_tasks};

#[tokio::main]
async fn main() -> ExitCode {
    fleet_worker::main("celery_suite_worker", suite_tasks::tasks()).await
}
