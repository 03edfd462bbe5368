//! Whether a DAG can be stored and run. Reports every problem at once, each in words for its author.

use std::fmt;

use tradewind_proto::dag::{DagSpec, TaskSpec};
use tradewind_proto::limits::NAME_CHARS_MAX;
use tradewind_proto::names;

use crate::graph::Graph;
use crate::timetable;

/// Something that must be put right before the DAG can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The task, when it is about one.
    pub task_id: Option<String>,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task_id {
            Some(task_id) => write!(f, "task {task_id:?}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Checks a DAG. All problems are found, in the order of its members.
pub fn validate(spec: &DagSpec) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut note = |text: String| problems.push(Problem { task_id: None, text });
    check_dag(spec, &mut note);
    for task in &spec.tasks {
        let mut note =
            |text: String| problems.push(Problem { task_id: Some(task.task_id.clone()), text });
        check_task(task, &mut note);
    }
    if let Err(error) = Graph::new(spec) {
        problems.push(Problem { task_id: None, text: error.to_string() });
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_dag(spec: &DagSpec, note: &mut dyn FnMut(String)) {
    check_name("dag_id", &spec.dag_id, note);
    if let Err(error) = timetable::time_zone(&spec.timezone) {
        note(error.to_string());
    }
    if let Err(error) = timetable::check(&spec.schedule) {
        note(error.to_string());
    }
    if let (Some(start), Some(end)) = (spec.start_date, spec.end_date)
        && end < start
    {
        note(format!("end_date {end} is before start_date {start}"));
    }
    if spec.max_active_runs == 0 {
        note("max_active_runs is 0: no run could ever start; use 1 or more".to_owned());
    }
    if spec.max_active_tasks == 0 {
        note("max_active_tasks is 0: no task could ever start; use 1 or more".to_owned());
    }
    check_positive("dagrun_timeout", spec.dagrun_timeout, note);
}

fn check_task(task: &TaskSpec, note: &mut dyn FnMut(String)) {
    check_name("task_id", &task.task_id, note);
    check_queue(&task.queue, note);
    if task.pool.is_empty() || task.pool.chars().count() > NAME_CHARS_MAX {
        note(format!("pool {:?} must have 1 to {NAME_CHARS_MAX} characters", task.pool));
    }
    if task.pool_slots == 0 {
        note("pool_slots is 0; a task takes at least 1 slot".to_owned());
    }
    if !(task.retry_delay.is_finite() && task.retry_delay >= 0.0) {
        note(format!("retry_delay of {} seconds is not possible", task.retry_delay));
    }
    if task.retry_exponential_backoff.is_some_and(|f| !f.is_finite() || f < 0.0) {
        note("retry_exponential_backoff must be a number of 0 or more".to_owned());
    }
    check_positive("max_retry_delay", task.max_retry_delay, note);
    check_positive("execution_timeout", task.execution_timeout, note);
    for (name, limit) in [
        ("max_active_tis_per_dag", task.max_active_tis_per_dag),
        ("max_active_tis_per_dagrun", task.max_active_tis_per_dagrun),
    ] {
        if limit == Some(0) {
            note(format!("{name} is 0: the task could never start; use 1 or more"));
        }
    }
}

/// Airflow's rule for keys.
fn check_name(what: &str, name: &str, note: &mut dyn FnMut(String)) {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        note(format!("{what} is empty"));
    } else if name.chars().count() > NAME_CHARS_MAX {
        note(format!("{what} {name:?} has more than {NAME_CHARS_MAX} characters"));
    } else if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        note(format!(
            "{what} {name:?} contains {bad:?}; use letters, digits, dashes, dots and underscores"
        ));
    }
}

fn check_queue(queue: &str, note: &mut dyn FnMut(String)) {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if queue.is_empty() || queue.chars().count() > NAME_CHARS_MAX {
        note(format!("queue {queue:?} must have 1 to {NAME_CHARS_MAX} characters"));
    } else if queue.chars().any(bad) {
        note(format!("queue {queue:?} contains white space or a control character"));
    } else if queue == names::RESULTS_INBOX || queue.ends_with(names::DEAD_LETTER_SUFFIX) {
        note(format!("queue {queue:?} has a name that is reserved"));
    }
}

fn check_positive(what: &str, seconds: Option<f64>, note: &mut dyn FnMut(String)) {
    if let Some(seconds) = seconds
        && !(seconds.is_finite() && seconds > 0.0)
    {
        note(format!("{what} of {seconds} seconds is not possible; it must be more than 0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dag, task};
    use tradewind_proto::dag::Schedule;

    fn texts(spec: &DagSpec) -> Vec<String> {
        validate(spec).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_dag_has_no_problem() {
        assert_eq!(texts(&dag(vec![task("a", &[]), task("b-1.x_y", &["a"])])), [""; 0]);
    }

    #[test]
    fn every_problem_is_named() {
        let mut bad = task("b c", &[]);
        bad.pool_slots = 0;
        bad.queue = "x.dlq".to_owned();
        bad.execution_timeout = Some(0.0);
        bad.retry_delay = -1.0;
        bad.max_active_tis_per_dag = Some(0);
        let mut spec = dag(vec![bad, task("x", &["gone"])]);
        spec.dag_id = "a/b".to_owned();
        spec.timezone = "Mars/Olympus".to_owned();
        spec.schedule = Schedule::Cron {
            expr: "61 * * * *".to_owned(),
            timezone: "UTC".to_owned(),
            interval: false,
        };
        spec.dagrun_timeout = Some(f64::NAN);
        let found = texts(&spec);
        for part in [
            "dag_id \"a/b\" contains '/'",
            "\"Mars/Olympus\" is not known",
            "\"61\" is not a minute",
            "dagrun_timeout",
            "task \"b c\": task_id",
            "pool_slots is 0",
            "reserved",
            "execution_timeout of 0",
            "retry_delay of -1",
            "max_active_tis_per_dag is 0",
            "depends on \"gone\"",
        ] {
            assert!(found.iter().any(|text| text.contains(part)), "{part} not in {found:#?}");
        }
        assert_eq!(found.len(), 11, "{found:#?}");
    }

    #[test]
    fn names_have_a_limit() {
        let mut spec = dag(vec![]);
        spec.dag_id = "x".repeat(250);
        assert!(validate(&spec).is_ok());
        spec.dag_id.push('x');
        assert!(texts(&spec)[0].contains("more than 250"));
    }
}
