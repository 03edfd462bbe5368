//! The fleet tasks of `tradewind worker`: built-in ones and those of `[tasks]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tradewind_worker::external::{ExternalEnv, ExternalOptions, ExternalTasks};
use tradewind_worker::fleet::Tasks;

use crate::context::Context;
use crate::failure::Failure;

/// Reads and checks them.
pub(crate) fn load(context: &Context) -> Result<(Tasks, ExternalTasks), Failure> {
    let config = &context.config;
    let mut table: BTreeMap<String, ExternalOptions> =
        config.tables("tasks")?.into_iter().collect();
    let some = |name| config.int("worker", name);
    let (tasks_max, memory_max) = (some("max_tasks_per_child"), some("max_memory_per_child"));
    for options in table.values_mut().filter(|options| options.python.is_some()) {
        let tasks = u32::try_from(tasks_max).ok().filter(|max| *max > 0);
        options.max_tasks_per_child = options.max_tasks_per_child.or(tasks);
        let memory = u64::try_from(memory_max).ok().filter(|max| *max > 0);
        options.max_memory_per_child_kb = options.max_memory_per_child_kb.or(memory);
    }
    let python_path = if table.is_empty() { None } else { Some(context.python_path()?) };
    let environment = ExternalEnv {
        ids: Arc::clone(&context.ids),
        python: PathBuf::from(config.text("core", "python")),
        python_path,
        guard: true,
        guard_program: None,
    };
    let external = ExternalTasks::new(table, &environment)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut tasks = Tasks::default();
    external.register(&mut tasks);
    let hard = config.seconds_or_none("worker", "time_limit");
    let soft = config.seconds_or_none("worker", "soft_time_limit");
    let names: Vec<String> = tasks.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        tasks.options(&name, |options| {
            options.time_limit = options.time_limit.or(hard);
            options.soft_time_limit = options.soft_time_limit.or(soft);
        });
    }
    Ok((tasks, external))
}
