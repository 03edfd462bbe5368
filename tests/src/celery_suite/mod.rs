//! Celery's own integration suite against our worker: `cargo xtask celery-suite`.
//!
//! The suite is taken from Celery's source distribution and never kept here; `docs/celery-suite.md` says of
//! each of its tests what is expected, and is what a run is judged by.

mod judge;
mod pytest;
mod table;

use std::collections::BTreeMap;

pub use judge::judge;
pub use table::{Expected, Table};
use tradewind_services::{Rabbit, Redis, RedisOptions};

use pytest::Session;

/// Where tasks travel; results are in Redis, as in most of the suite's own runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servers {
    /// Redis for both.
    Redis,
    /// RabbitMQ for tasks.
    RabbitMq,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// On which servers.
    pub servers: Servers,
    /// pytest's `-k`; none: all.
    pub select: Option<String>,
    /// Run known differences too.
    pub known: bool,
    /// Celery's own worker instead of ours, to see what is the suite's own fault. Implies `known`.
    pub python_worker: bool,
}

/// How a test ended, all of its parameters together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Passed.
    Passed,
    /// The suite itself skipped it.
    Skipped,
    /// Failed, with the end of its report.
    Failed(String),
}

/// Outcomes by test, as `test_file.py::Class::test`.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Runs the suite on private servers. What failed is run once more before it counts: the suite itself calls
/// most of its tests flaky.
///
/// # Errors
/// When servers, suite or pytest cannot be started; the text says which.
pub fn run(options: &Options, table: &Table) -> Result<Outcomes, String> {
    let text = |error: tradewind_services::Error| error.to_string();
    let redis = Redis::start(RedisOptions { appendonly: false }).map_err(text)?;
    let rabbit = match options.servers {
        Servers::Redis => None,
        Servers::RabbitMq => Some(Rabbit::start().map_err(text)?),
    };
    let broker = rabbit.as_ref().map_or(redis.url(), Rabbit::url);
    let session = Session::new(broker, redis.url(), redis.port(), options.python_worker)?;
    let passed_over = table.passed_over(options);
    let mut outcomes = session.run(&passed_over, options.select.as_deref(), &[])?;
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
        .map(|(name, _)| name.clone())
        .collect();
    if !failed.is_empty() && !options.python_worker {
        println!("==> {} failed and run once more", failed.len());
        outcomes.extend(session.run(&passed_over, None, &failed)?);
    }
    Ok(outcomes)
}
