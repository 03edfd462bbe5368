//! At quiescence: everything accepted has ended, as a naive evaluation of the recorded outcomes says.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use tradewind_engine::model::TaskInstance;
use tradewind_proto::AttemptId;
use tradewind_proto::dag::{DagSpec, Runtime, TaskSpec};
use tradewind_proto::execution::XcomQuery;
use tradewind_proto::state::{OutcomeState, RunState, RunType, TaskState};
use tradewind_store::DataStore as _;
use tradewind_store::model::AttemptRow;

use super::{Checker, RunView, broken, name_of, oracle, read};
use crate::lock;
use crate::world::{Execution, Violation, World};

/// What keeps a world from being quiet.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    pub(crate) things: Vec<String>,
}

/// Brings the mirror up to date and lists what is not finished. `accepted`: (DAG, run) of triggers.
pub(crate) fn unfinished(world: &World, accepted: &BTreeSet<(String, String)>) -> Unfinished {
    let checker = lock(&world.checker);
    let mut things = Vec::new();
    let present: BTreeSet<(String, String)> =
        checker.runs.values().map(|r| (r.info.dag_id.clone(), r.info.run_id.clone())).collect();
    for (dag, run) in accepted.difference(&present) {
        things.push(format!("{dag}/{run}: accepted, but not there"));
    }
    for (dag_id, spec) in &world.workload.dags {
        let missing = oracle::logical_dates(spec).difference(&created(&checker, dag_id)).count();
        if missing > 0 {
            things.push(format!("{dag_id}: {missing} scheduled runs are not created"));
        }
    }
    for run in checker.runs.values() {
        if !run.info.state.is_terminal() {
            things.push(format!("{}/{}: {}", run.info.dag_id, run.info.run_id, run.info.state));
        }
        for task in run.tasks.values().filter(|task| !task.state.is_terminal()) {
            let name = name_of(&run.info, &task.task_id);
            things.push(format!("{name}: {} token {}", task.state, task.token));
        }
        for attempt in run.attempts.values().filter(|a| a.ended_at.is_none()) {
            let name = name_of(&run.info, &attempt.task_id);
            things.push(format!("{name}: attempt with token {} has not ended", attempt.token));
        }
    }
    Unfinished { things }
}

fn created(checker: &Checker, dag_id: &str) -> BTreeSet<i64> {
    let of_dag = checker.runs.values().filter(|run| run.info.dag_id == dag_id);
    let scheduled = of_dag.filter(|run| run.info.run_type == RunType::Scheduled);
    scheduled.filter_map(|run| run.info.logical_date).map(oracle::second).collect()
}

/// Every promise about the end.
pub(crate) fn finale(world: &World) -> Result<(), Violation> {
    let checker = lock(&world.checker);
    let executions = lock(&world.executions);
    for (dag_id, spec) in &world.workload.dags {
        let (wanted, found) = (oracle::logical_dates(spec), created(&checker, dag_id));
        if wanted != found {
            return broken(
                "S9",
                format!("{dag_id}: runs {found:?}, but the oracle has {wanted:?}"),
            );
        }
    }
    for (id, mirrored) in &checker.runs {
        // The mirror must have missed nothing, or the steps were not all checked.
        let Some(run) = read(&world.store, *id) else { return broken("S1", "a run is gone") };
        if run.info.state != mirrored.info.state || run.tasks != mirrored.tasks {
            return broken("S2", format!("{} changed without a commit", run.info.run_id));
        }
        let spec = world.workload.dag(&run.info.dag_id);
        for task in &spec.tasks {
            let Some(row) = run.tasks.get(&task.task_id) else {
                return broken("S1", format!("{} has no row", name_of(&run.info, &task.task_id)));
            };
            accounting(&run, row, &executions)?;
            ending(&run, spec, task, row)?;
            result(world, &run, row)?;
        }
        run_state(&run, spec)?;
    }
    Ok(())
}

fn attempts_of<'a>(run: &'a RunView, task: &TaskInstance) -> Vec<&'a AttemptRow> {
    let mut all: Vec<&AttemptRow> =
        run.attempts.values().filter(|a| a.task_id == task.task_id).collect();
    all.sort_by_key(|a| a.token);
    all
}

/// S5, S7, S8: tokens rise, each further attempt has its reason, and nothing was made up.
fn accounting(
    run: &RunView,
    task: &TaskInstance,
    executions: &BTreeMap<AttemptId, Execution>,
) -> Result<(), Violation> {
    let name = name_of(&run.info, &task.task_id);
    let attempts = attempts_of(run, task);
    for pair in attempts.windows(2) {
        let (earlier, later) = (pair[0], pair[1]);
        if earlier.token >= later.token || earlier.queued_at > later.queued_at {
            return broken("S5", format!("{name}: token {} twice", later.token));
        }
        let next_try = later.try_number - earlier.try_number;
        let right = match earlier.outcome {
            Some(OutcomeState::Failed | OutcomeState::TimedOut) => next_try == 1,
            Some(OutcomeState::HandedBack) => next_try == 0,
            Some(OutcomeState::Lost) => next_try <= 1,
            // Superseded before it was ended by an outcome of its own.
            _ => false,
        };
        if !right {
            let text = format!("{name}: {:?} was followed by try +{next_try}", earlier.outcome);
            return broken("S7", text);
        }
    }
    for attempt in attempts {
        let Some(ended) = executions.get(&attempt.attempt_id).and_then(|e| e.ended) else {
            if matches!(attempt.outcome, Some(OutcomeState::Success | OutcomeState::Skipped)) {
                return broken("S8", format!("{name}: an attempt that never ran succeeded"));
            }
            continue;
        };
        let same = attempt.outcome == Some(ended);
        let overruled = matches!(
            attempt.outcome,
            Some(OutcomeState::Lost | OutcomeState::Cancelled | OutcomeState::HandedBack)
        );
        // A killed process ends as cancelled; why it was killed is the worker's to say.
        let killed =
            ended == OutcomeState::Cancelled && attempt.outcome == Some(OutcomeState::TimedOut);
        if !(same || overruled || killed) {
            let text = format!("{name}: ended {ended}, recorded {:?}", attempt.outcome);
            return broken("S8", text);
        }
    }
    Ok(())
}

/// The final state follows from the last outcome, or, without one, from the upstreams.
fn ending(
    run: &RunView,
    spec: &DagSpec,
    task: &TaskSpec,
    row: &TaskInstance,
) -> Result<(), Violation> {
    let up = oracle::upstream_states(run, task);
    let may_run = oracle::may_run(task.trigger_rule, &up, &oracle::setups(spec, task));
    let last = attempts_of(run, row).pop().and_then(|attempt| attempt.outcome);
    let mut allowed = match last {
        Some(OutcomeState::Success) => vec![TaskState::Success],
        Some(OutcomeState::Skipped) => vec![TaskState::Skipped],
        Some(OutcomeState::FailedNoRetry) => vec![TaskState::Failed],
        Some(OutcomeState::Failed | OutcomeState::TimedOut | OutcomeState::Lost)
            if row.try_number > row.max_tries =>
        {
            vec![TaskState::Failed]
        }
        Some(_) => vec![],
        None if may_run && task.runtime == Runtime::Empty => vec![TaskState::Success],
        None if may_run => vec![],
        None => oracle::unrun_states(task.trigger_rule, &up),
    };
    if last.is_some() && !may_run {
        allowed.clear();
    }
    // Something from outside ended it: a branch, the first failure, the run's time.
    let cut_short = row.skip_requested
        || (spec.fail_fast && run.tasks.values().any(|t| t.state == TaskState::Failed))
        || (spec.dagrun_timeout.is_some() && run.info.state == RunState::Failed);
    if cut_short {
        allowed.push(TaskState::Skipped);
    }
    if allowed.contains(&row.state) {
        return Ok(());
    }
    let name = name_of(&run.info, &task.task_id);
    let text = format!(
        "{name}: {} after {last:?} with rule {} on {up:?}; expected one of {allowed:?}",
        row.state, task.trigger_rule
    );
    broken("S10", text)
}

/// S8: a success has the result of the very attempt that succeeded.
fn result(world: &World, run: &RunView, row: &TaskInstance) -> Result<(), Violation> {
    let last = attempts_of(run, row).pop();
    let Some(winner) = last.filter(|_| row.state == TaskState::Success) else { return Ok(()) };
    let query = XcomQuery {
        dag_id: run.info.dag_id.clone(),
        run_id: run.info.run_id.clone(),
        task_ids: vec![row.task_id.clone()],
        key: "return_value".to_owned(),
        include_prior_dates: false,
    };
    let reply = world.store.xcoms(&query).now_or_never().and_then(Result::ok);
    let value = reply.and_then(|reply| reply.values.into_iter().next()).map(|(_, _, value)| value);
    let wanted = serde_json::Value::String(winner.attempt_id.to_string());
    if value.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let name = name_of(&run.info, &row.task_id);
    broken("S8", format!("{name}: result {value:?}, but attempt {} won", winner.attempt_id))
}

/// The run's own end.
fn run_state(run: &RunView, spec: &DagSpec) -> Result<(), Violation> {
    let state = |task: &TaskSpec| run.tasks.get(&task.task_id).map(|row| row.state);
    let is_leaf = |task: &TaskSpec| !spec.tasks.iter().any(|t| t.upstream.contains(&task.task_id));
    let failed_leaf = spec.tasks.iter().any(|task| {
        is_leaf(task) && matches!(state(task), Some(TaskState::Failed | TaskState::UpstreamFailed))
    });
    let failed = run.tasks.values().any(|task| task.state == TaskState::Failed);
    let expected = if failed_leaf || (spec.fail_fast && failed) {
        RunState::Failed
    } else {
        RunState::Success
    };
    let timed_out = spec.dagrun_timeout.is_some() && run.info.state == RunState::Failed;
    if run.info.state == expected || timed_out {
        return Ok(());
    }
    let name = format!("{}/{}", run.info.dag_id, run.info.run_id);
    broken("S1", format!("{name}: {}, but its tasks say {expected}", run.info.state))
}
