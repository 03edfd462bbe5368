//! The tasks of Celery's own integration suite (`t/integration/tasks.py` of its source distribution), in
//! Rust, under the same names: what its tests are run against. What only Python can offer is left out;
//! `docs/celery-suite.md` says what that costs.

mod echo;
mod ends;
mod numbers;
mod replace;
mod retries;
mod seen;

use tradewind_worker::fleet::{TaskError, Tasks};

/// Module that the suite's tasks and exceptions live in.
const MODULE: &str = "t.integration.tasks";

/// Tasks that Celery's suite declares with `acks_late`.
const LATE: [&str; 2] = ["reject_then_succeed", "store_success_then_reject"];

/// All of them. Acked early, as Celery's default is, unless the suite says otherwise.
pub fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    numbers::register(&mut tasks);
    echo::register(&mut tasks);
    seen::register(&mut tasks);
    ends::register(&mut tasks);
    retries::register(&mut tasks);
    replace::register(&mut tasks);
    let names: Vec<String> = tasks.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| name.starts_with(MODULE)) {
        let late = LATE.iter().any(|late| name.ends_with(late));
        tasks.options(name, |options| options.acks_late = late);
    }
    tasks
}

/// The full name of a task.
fn named(name: &str) -> String {
    format!("{MODULE}.{name}")
}

/// Fails with an exception of the suite's module.
fn raise(exc_type: &str, args: Vec<serde_json::Value>) -> TaskError {
    let mut failure = tradewind_worker::fleet::Failure::new(exc_type, "").module(MODULE);
    failure.args = args;
    failure.traceback = failure.repr();
    TaskError::Fail(failure)
}
