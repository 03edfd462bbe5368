//! One commit: what was there before and what is there now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tradewind_engine::model::TaskInstance;
use tradewind_proto::AttemptId;
use tradewind_proto::dag::{DagSpec, Runtime};
use tradewind_proto::state::{OutcomeState, TaskState};
use tradewind_store::model::AttemptRow;

use super::{RunView, broken, name_of, oracle};
use crate::world::Violation;

/// Compares two states of a run; returns what changed, in words.
pub(super) fn compare(
    old: Option<&RunView>,
    new: &RunView,
    spec: &DagSpec,
    now: Timestamp,
) -> Result<Vec<String>, Violation> {
    let mut changes = Vec::new();
    let run = format!("{}/{}", new.info.dag_id, new.info.run_id);
    match old {
        None => changes.push(format!("{run}: created {}", new.info.state)),
        Some(old) if old.info.state != new.info.state => {
            if old.info.state.is_terminal() {
                let text = format!("{run}: {} became {}", old.info.state, new.info.state);
                return broken("S2", text);
            }
            changes.push(format!("{run}: {} -> {}", old.info.state, new.info.state));
        }
        Some(_) => {}
    }
    for (task_id, task) in &new.tasks {
        let before = old.and_then(|old| old.tasks.get(task_id));
        let name = name_of(&new.info, task_id);
        tokens(before, task, &name)?;
        if let Some(text) = transition(before, task, &name)? {
            changes.push(text);
            order(new, spec, task, before)?;
        }
        leases(new, task, now, &name)?;
    }
    for (id, attempt) in &new.attempts {
        history(old.and_then(|old| old.attempts.get(id)), attempt, new)?;
    }
    Ok(changes)
}

/// Attempts whose end as lost is new.
pub(super) fn newly_lost(old: Option<&RunView>, new: &RunView) -> Vec<AttemptId> {
    let lost = |attempts: &BTreeMap<AttemptId, AttemptRow>, id: &AttemptId| {
        attempts.get(id).is_some_and(|a| a.outcome == Some(OutcomeState::Lost))
    };
    let new_ones = new
        .attempts
        .keys()
        .filter(|id| lost(&new.attempts, id) && !old.is_some_and(|old| lost(&old.attempts, id)));
    new_ones.copied().collect()
}

/// S5, S7: tokens and tries only rise, a new attempt has a new token, tries stay in their budget.
fn tokens(before: Option<&TaskInstance>, task: &TaskInstance, name: &str) -> Result<(), Violation> {
    if task.try_number > task.max_tries + 1 {
        return broken("S7", format!("{name}: try {} of {}", task.try_number, task.max_tries + 1));
    }
    let Some(before) = before else { return Ok(()) };
    if task.token < before.token || task.try_number < before.try_number {
        let text = format!(
            "{name}: token {} -> {}, try {} -> {}",
            before.token, task.token, before.try_number, task.try_number
        );
        return broken("S5", text);
    }
    if (task.attempt_id != before.attempt_id) != (task.token != before.token) {
        return broken("S5", format!("{name}: a new attempt without a new token, or the reverse"));
    }
    Ok(())
}

/// S2: a terminal state is never left.
fn transition(
    before: Option<&TaskInstance>,
    task: &TaskInstance,
    name: &str,
) -> Result<Option<String>, Violation> {
    let old = before.map_or(TaskState::None, |before| before.state);
    let renewed = before.is_some_and(|before| before.token != task.token);
    if old.is_terminal() && (old != task.state || renewed) {
        return broken("S2", format!("{name}: {old} became {}", task.state));
    }
    let changed = old != task.state || renewed;
    Ok(changed.then(|| format!("{name}: {old} -> {} token {}", task.state, task.token)))
}

/// S10: whatever runs has upstreams that let it, in this very commit.
fn order(
    run: &RunView,
    spec: &DagSpec,
    task: &TaskInstance,
    before: Option<&TaskInstance>,
) -> Result<(), Violation> {
    let Some(of_task) = spec.task(&task.task_id) else { return Ok(()) };
    let begins =
        matches!(task.state, TaskState::Scheduled | TaskState::Queued | TaskState::Running);
    let at_once = of_task.runtime == Runtime::Empty
        && task.state == TaskState::Success
        && before.is_none_or(|before| before.state == TaskState::None);
    if !(begins || at_once) {
        return Ok(());
    }
    let states = oracle::upstream_states(run, of_task);
    if oracle::may_run(of_task.trigger_rule, &states, &oracle::setups(spec, of_task)) {
        return Ok(());
    }
    let name = name_of(&run.info, &task.task_id);
    let text = format!("{name}: {} with rule {} on {states:?}", task.state, of_task.trigger_rule);
    broken("S10", text)
}

/// S4: at most one open attempt, at most one unexpired lease, and it is the newest attempt's.
fn leases(run: &RunView, task: &TaskInstance, now: Timestamp, name: &str) -> Result<(), Violation> {
    let of_task = run.attempts.values().filter(|a| a.task_id == task.task_id);
    let open: Vec<&AttemptRow> = of_task.filter(|a| a.ended_at.is_none()).collect();
    let leased = open.iter().filter(|a| a.lease_until.is_some_and(|until| until > now)).count();
    if open.len() > 1 || leased > 1 {
        let text = format!("{name}: {} open attempts, {leased} with leases", open.len());
        return broken("S4", text);
    }
    if task.state.holds_slot() && open.iter().all(|a| task.attempt_id != Some(a.attempt_id)) {
        return broken("S4", format!("{name}: {} without an open attempt", task.state));
    }
    Ok(())
}

/// S2, S5: what an attempt's row says never changes back; only the newest attempt can end well.
fn history(
    before: Option<&AttemptRow>,
    attempt: &AttemptRow,
    run: &RunView,
) -> Result<(), Violation> {
    let Some(before) = before else { return Ok(()) };
    let name = name_of(&run.info, &attempt.task_id);
    if before.ended_at.is_some()
        && (before.outcome, before.ended_at) != (attempt.outcome, attempt.ended_at)
    {
        return broken("S2", format!("{name}: attempt {} ended twice", attempt.attempt_id));
    }
    if before.claimed_at.is_some() && before.claimed_at != attempt.claimed_at {
        return broken("S4", format!("{name}: attempt {} claimed twice", attempt.attempt_id));
    }
    let counted = !matches!(attempt.outcome, None | Some(OutcomeState::Cancelled));
    let superseded = run.tasks.get(&attempt.task_id).is_some_and(|t| {
        // The same commit may have issued the next attempt.
        attempt.token + 1 < t.token
    });
    if before.outcome.is_none() && counted && superseded {
        return broken("S5", format!("{name}: the end of an old attempt was accepted"));
    }
    Ok(())
}
