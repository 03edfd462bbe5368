//! The critical section: scheduled → queued under the limits. The writer is alone, so the counts hold
//! until the commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tradewind_engine::limits::Usage;
use tradewind_proto::clock::to_micros;
use tradewind_proto::dag::DagSpec;

use super::dags::spec_of;
use super::failure::Res;
use crate::model::{Dispatch, Queueing};
use crate::picking::{self, Group, Picker, ROUNDS_MAX, Waiting};
use crate::rows::Cells;
use crate::specs::SpecCache;

/// Returns what was queued, and whether more could have been.
pub(super) fn queue(
    c: &Connection,
    specs: &SpecCache,
    queueing: &Queueing,
    now: Timestamp,
) -> Res<(Vec<Dispatch>, bool)> {
    let mut groups = groups(c)?;
    if groups.is_empty() {
        return Ok((Vec::new(), false));
    }
    let mut by_hash = BTreeMap::new();
    for (_, hash) in &groups {
        by_hash.insert(hash.clone(), spec_of(c, specs, hash)?);
    }
    let mut picker = Picker::new(usage(c)?, pools(c)?, queueing);
    let mut dispatches = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let (window, open) = window(c, &picker, &by_hash, &groups)?;
        for waiting in picker.pick(window, &by_hash) {
            write(c, &waiting, now)?;
            dispatches.push(picking::dispatch(waiting, now));
        }
        groups = open;
        if picker.spent() || groups.is_empty() {
            break;
        }
    }
    let more = picker.spent() && more(c, queueing, &by_hash)?;
    Ok((dispatches, more))
}

type GroupOf = (Group, String);

/// The groups of everything that waits, hopping from one to the next in the index; with the version
/// that their run has.
fn groups(c: &Connection) -> Res<Vec<GroupOf>> {
    let mut next = c.prepare_cached(
        "SELECT dag_id, run, pool FROM task_instance WHERE state = 'scheduled' \
         AND (dag_id, run, pool) > (?1, ?2, ?3) ORDER BY dag_id, run, pool LIMIT 1",
    )?;
    let mut version = c.prepare_cached(
        "SELECT r.version_hash FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id \
         WHERE r.id = ?1 AND r.state = 'running' AND d.is_paused = 0",
    )?;
    let mut groups = Vec::new();
    let mut last = Group { dag_id: String::new(), run: uuid::Uuid::nil(), pool: String::new() };
    loop {
        let mut found = next.query(params![last.dag_id, last.run, last.pool])?;
        let Some(row) = found.next()? else { return Ok(groups) };
        last = picking::group(row)?;
        let mut found = version.query([last.run])?;
        if let Some(row) = found.next()? {
            groups.push((last.clone(), row.text(0)?));
        }
    }
}

fn usage(c: &Connection) -> Res<Usage> {
    let mut usage = Usage::default();
    let mut statement = c.prepare_cached(picking::USAGE)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        picking::add_usage(&mut usage, row)?;
    }
    Ok(usage)
}

fn pools(c: &Connection) -> Res<BTreeMap<String, i64>> {
    let mut statement = c.prepare_cached("SELECT name, slots FROM pool")?;
    let pools = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(pools.collect::<Result<_, _>>()?)
}

/// The most urgent of each group that has room, and the groups that may hold more.
fn window(
    c: &Connection,
    picker: &Picker,
    specs: &BTreeMap<String, Arc<DagSpec>>,
    groups: &[GroupOf],
) -> Res<(Vec<Waiting>, Vec<GroupOf>)> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {} FROM task_instance t JOIN dag_run r ON r.id = t.run \
         WHERE t.state = 'scheduled' AND t.dag_id = ?1 AND t.run = ?2 AND t.pool = ?3 \
         AND t.attempt_id IS NOT NULL AND t.task_id NOT IN (SELECT value FROM json_each(?4)) \
         ORDER BY t.priority DESC, t.ord LIMIT ?5",
        picking::WAITING
    ))?;
    let (mut window, mut open) = (Vec::new(), Vec::new());
    for (group, hash) in groups {
        let room = specs.get(hash).map_or(0, |spec| picker.room(group, spec));
        if room == 0 {
            continue;
        }
        let passed: Vec<_> = picker.passed_over(group).collect();
        let passed = serde_json::to_string(&passed).unwrap_or_default();
        let mut found =
            statement.query(params![group.dag_id, group.run, group.pool, passed, room])?;
        let before = window.len();
        while let Some(row) = found.next()? {
            window.push(picking::waiting(row)?);
        }
        if window.len() - before == room as usize {
            open.push((group.clone(), hash.clone()));
        }
    }
    Ok((window, open))
}

/// Whether one more would be queued if the call's own maximum did not end it.
fn more(c: &Connection, queueing: &Queueing, specs: &BTreeMap<String, Arc<DagSpec>>) -> Res<bool> {
    let one = Queueing { max: 1, ..queueing.clone() };
    let mut picker = Picker::new(usage(c)?, pools(c)?, &one);
    let (window, _) = window(c, &picker, specs, &groups(c)?)?;
    Ok(!picker.pick(window, specs).is_empty())
}

fn write(c: &Connection, waiting: &Waiting, now: Timestamp) -> Res<()> {
    let (group, at) = (&waiting.group, to_micros(now));
    let key = params![group.run, waiting.task_id, waiting.map_index, at];
    c.prepare_cached(
        "DELETE FROM outbox WHERE attempt IN (SELECT id FROM attempt WHERE run = ?1 \
         AND task_id = ?2 AND map_index = ?3 AND ended_at IS NULL)",
    )?
    .execute(&key[..3])?;
    // An older attempt that somebody still runs is superseded: its lease ends here.
    c.prepare_cached(
        "UPDATE attempt SET outcome = 'cancelled', cancel = 1, ended_at = ?4 WHERE run = ?1 \
         AND task_id = ?2 AND map_index = ?3 AND ended_at IS NULL",
    )?
    .execute(key)?;
    c.prepare_cached(
        "UPDATE task_instance SET state = 'queued', queued_at = ?4 \
         WHERE run = ?1 AND task_id = ?2 AND map_index = ?3",
    )?
    .execute(key)?;
    c.prepare_cached(
        "INSERT INTO attempt (id, run, task_id, map_index, token, try_number, queued_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        waiting.attempt_id.0,
        group.run,
        waiting.task_id,
        waiting.map_index,
        waiting.token,
        waiting.try_number,
        at
    ])?;
    c.prepare_cached("INSERT INTO outbox (attempt, queued_at) VALUES (?1, ?2)")?
        .execute(params![waiting.attempt_id.0, at])?;
    Ok(())
}
