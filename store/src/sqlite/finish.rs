//! Applies the decisions on one run: outcomes, cancellations, new states.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tradewind_engine::model::TaskChange;
use tradewind_proto::clock::to_micros;
use tradewind_proto::state::RunState;
use tradewind_proto::workload::Outcome;
use uuid::Uuid;

use super::failure::Res;
use crate::model::{Committed, RunCommit};

pub(super) fn apply(c: &Connection, commit: &RunCommit, now: Timestamp) -> Res<Committed> {
    let run = commit.run;
    let version: Option<i64> = c
        .prepare_cached(
            "UPDATE dag_run SET version = version + 1 WHERE id = ?1 AND version = ?2 \
             RETURNING version",
        )?
        .query_row(params![run, commit.expected_version], |row| row.get(0))
        .optional()?;
    let Some(version) = version else { return Ok(Committed::Conflict) };
    for outcome in &commit.finished {
        finish(c, run, outcome, now)?;
    }
    for attempt in &commit.changes.cancel {
        c.prepare_cached("UPDATE attempt SET cancel = 1 WHERE id = ?1 AND ended_at IS NULL")?
            .execute([attempt.0])?;
    }
    for change in &commit.changes.tasks {
        write_task(c, run, change)?;
        if !change.task.state.holds_slot() {
            end_unclaimed(c, run, change, now)?;
        }
    }
    if let Some((state, reason)) = commit.changes.run_state {
        write_run(c, run, state, reason, now)?;
    }
    Ok(Committed::Done { version })
}

/// Ends the attempt. Only the current attempt of a task instance that holds a slot speaks for it.
fn finish(c: &Connection, run: Uuid, outcome: &Outcome, now: Timestamp) -> Res<()> {
    let id = outcome.attempt_id().0;
    let ended = c
        .prepare_cached(
            "UPDATE attempt SET outcome = ?4, digest = ?5, ended_at = ?6 \
             WHERE id = ?1 AND run = ?2 AND token = ?3 AND ended_at IS NULL",
        )?
        .execute(params![
            id,
            run,
            outcome.token,
            outcome.state().as_str(),
            outcome.digest(),
            to_micros(now)
        ])?;
    if ended == 0 {
        return Ok(());
    }
    c.prepare_cached("DELETE FROM outbox WHERE attempt = ?1")?.execute([id])?;
    let spoke = c
        .prepare_cached(
            "UPDATE task_instance SET worker = CASE WHEN ?5 = '' THEN worker ELSE ?5 END, \
             pid = ?6, message = ?7 WHERE run = ?1 AND task_id = ?2 AND map_index = ?3 \
             AND token = ?4 AND state IN ('queued', 'running')",
        )?
        .execute(params![
            run,
            outcome.task_id,
            outcome.map_index,
            outcome.token,
            outcome.worker,
            outcome.pid,
            outcome.message
        ])?;
    if spoke == 0 {
        return Ok(());
    }
    c.prepare_cached("DELETE FROM xcom WHERE run = ?1 AND task_id = ?2 AND map_index = ?3")?
        .execute(params![run, outcome.task_id, outcome.map_index])?;
    let mut insert = c.prepare_cached(
        "INSERT INTO xcom (run, task_id, map_index, key, value) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET value = excluded.value",
    )?;
    for xcom in &outcome.xcoms {
        insert.execute(params![run, outcome.task_id, outcome.map_index, xcom.key, xcom.json])?;
    }
    Ok(())
}

fn write_task(c: &Connection, run: Uuid, change: &TaskChange) -> Res<()> {
    let task = &change.task;
    // A claim is no new version of the run: the planner may not have seen it, and does not undo it.
    c.prepare_cached(
        "UPDATE task_instance SET start_date = CASE WHEN ?4 IN ('queued', 'running') \
         AND state IN ('queued', 'running') AND token = ?5 \
         THEN coalesce(?6, start_date) ELSE ?6 END, \
         state = CASE WHEN ?4 IN ('queued', 'running') AND state IN ('queued', 'running') \
         AND token = ?5 THEN state ELSE ?4 END, token = ?5, end_date = ?7, try_number = ?8, \
         max_tries = ?9, attempt_id = ?10, not_before = ?11, lost_count = ?12, \
         skip_requested = ?13, priority = ?14 \
         WHERE run = ?1 AND task_id = ?2 AND map_index = ?3",
    )?
    .execute(params![
        run,
        task.task_id,
        task.map_index,
        task.state.as_str(),
        task.token,
        task.start_date.map(to_micros),
        task.end_date.map(to_micros),
        task.try_number,
        task.max_tries,
        task.attempt_id.map(|a| a.0),
        task.not_before.map(to_micros),
        task.lost_count,
        task.skip_requested,
        change.priority
    ])?;
    Ok(())
}

/// Nobody will report the end of an attempt that nobody has claimed.
fn end_unclaimed(c: &Connection, run: Uuid, change: &TaskChange, now: Timestamp) -> Res<()> {
    let ended: Option<Uuid> = c
        .prepare_cached(
            "UPDATE attempt SET outcome = 'cancelled', cancel = 1, ended_at = ?4 WHERE run = ?1 \
             AND task_id = ?2 AND map_index = ?3 AND ended_at IS NULL AND claimed_at IS NULL \
             RETURNING id",
        )?
        .query_row(
            params![run, change.task.task_id, change.task.map_index, to_micros(now)],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = ended {
        c.prepare_cached("DELETE FROM outbox WHERE attempt = ?1")?.execute([id])?;
    }
    Ok(())
}

fn write_run(c: &Connection, run: Uuid, state: RunState, reason: &str, now: Timestamp) -> Res<()> {
    c.prepare_cached(
        "UPDATE dag_run SET state = ?2, state_reason = ?3, \
         start_date = CASE ?2 WHEN 'queued' THEN NULL ELSE coalesce(start_date, ?4) END, \
         end_date = CASE WHEN ?2 IN ('queued', 'running') THEN NULL ELSE ?4 END WHERE id = ?1",
    )?
    .execute(params![run, state.as_str(), reason, to_micros(now)])?;
    Ok(())
}
