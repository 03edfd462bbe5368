//! The critical section: scheduled → queued under the limits. One process at a time, by an advisory
//! lock that ends with the transaction, so the counts hold until the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tradewind_engine::limits::Usage;
use tradewind_proto::clock::to_micros;
use tradewind_proto::dag::DagSpec;
use uuid::Uuid;

use super::PostgresStore;
use super::conn::Tx;
use super::failure::{Res, all};
use crate::model::{Dispatch, Queueing};
use crate::picking::{self, Group, Picker, ROUNDS_MAX, WAITING, Waiting};
use crate::rows::Cells;

/// Read of each group together with the counts, before it is known how much room it has.
const HEADS: u32 = 8;

/// The first of each group of what waits, hopping from group to group in the index. Rows that another
/// transaction is changing are left to the call that follows it.
static HEAD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH RECURSIVE g AS ((SELECT dag_id, run, pool FROM task_instance \
         WHERE state = 'scheduled' ORDER BY dag_id, run, pool LIMIT 1) UNION ALL \
         SELECT n.dag_id, n.run, n.pool FROM g CROSS JOIN LATERAL \
         (SELECT w.dag_id, w.run, w.pool FROM task_instance w WHERE w.state = 'scheduled' \
         AND (w.dag_id, w.run, w.pool) > (g.dag_id, g.run, g.pool) \
         ORDER BY w.dag_id, w.run, w.pool LIMIT 1) n) \
         SELECT {WAITING} FROM g JOIN dag d ON d.dag_id = g.dag_id AND NOT d.is_paused \
         JOIN dag_run r ON r.id = g.run AND r.state = 'running' CROSS JOIN LATERAL \
         (SELECT s.* FROM task_instance s WHERE s.state = 'scheduled' AND s.dag_id = g.dag_id \
         AND s.run = g.run AND s.pool = g.pool AND s.attempt_id IS NOT NULL \
         ORDER BY s.priority DESC, s.ord LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) t"
    )
});

/// More of some groups, without the tasks that were passed over.
static WINDOW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {WAITING} FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[]) \
         AS g (dag_id, run, pool, room) JOIN dag_run r ON r.id = g.run CROSS JOIN LATERAL \
         (SELECT s.* FROM task_instance s WHERE s.state = 'scheduled' AND s.dag_id = g.dag_id \
         AND s.run = g.run AND s.pool = g.pool AND s.attempt_id IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM unnest($5::uuid[], $6::text[]) AS x (run, task_id) \
         WHERE x.run = s.run AND x.task_id = s.task_id) \
         ORDER BY s.priority DESC, s.ord LIMIT g.room FOR NO KEY UPDATE SKIP LOCKED) t"
    )
});

/// An older attempt that somebody still runs is superseded: its lease ends here.
const SUPERSEDE: &str = "WITH old AS (UPDATE attempt a SET outcome = 'cancelled', cancel = TRUE, \
    ended_at = $4 FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS n (run, task_id, map_index) \
    WHERE a.run = n.run AND a.task_id = n.task_id AND a.map_index = n.map_index \
    AND a.ended_at IS NULL RETURNING a.id) \
    DELETE FROM outbox WHERE attempt IN (SELECT id FROM old)";

const QUEUE: &str = "WITH n AS (SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], \
    $5::uuid[], $6::bigint[], $7::bigint[]) AS n (run, task_id, map_index, attempt, token, try)), \
    t AS (UPDATE task_instance t SET state = 'queued', queued_at = $4 FROM n \
    WHERE t.run = n.run AND t.task_id = n.task_id AND t.map_index = n.map_index), \
    a AS (INSERT INTO attempt (id, run, task_id, map_index, token, try_number, queued_at) \
    SELECT attempt, run, task_id, map_index, token, try, $4 FROM n) \
    INSERT INTO outbox (attempt, queued_at) SELECT attempt, $4 FROM n";

/// Not taken when nothing waits, so that commits which queue nothing wait for nobody. Whatever another
/// transaction schedules meanwhile, it queues itself.
const LOCK: &str = "SELECT pg_advisory_xact_lock($1) \
    WHERE EXISTS (SELECT 1 FROM task_instance WHERE state = 'scheduled')";

type Specs = BTreeMap<String, Arc<DagSpec>>;

impl PostgresStore {
    /// Ends the transaction. Returns what was queued, and whether more could have been.
    pub(super) async fn queue(
        &self,
        tx: Tx,
        queueing: &Queueing,
        now: Timestamp,
    ) -> Res<(Vec<Dispatch>, bool)> {
        let (mut window, mut picker) = self.enter(&tx, queueing).await?;
        if window.is_empty() {
            tx.commit().await?;
            return Ok((Vec::new(), false));
        }
        let hashes: BTreeSet<_> = window.iter().map(|w| w.version_hash.clone()).collect();
        let specs = self.load_specs_in(&tx, hashes).await?;
        let groups: BTreeMap<Group, String> =
            window.iter().map(|w| (w.group.clone(), w.version_hash.clone())).collect();
        let mut asked: BTreeMap<Group, u32> = groups.keys().map(|g| (g.clone(), HEADS)).collect();
        let mut dispatches = Vec::new();
        for round in 1..=ROUNDS_MAX {
            let full = filled(&window, &asked);
            let picked = picker.pick(window, &specs);
            asked = rooms(&picker, &specs, full.iter().filter_map(|g| groups.get_key_value(g)));
            let again = round < ROUNDS_MAX && !picker.spent() && !asked.is_empty();
            if !again {
                let more = picker.spent()
                    && self.more(&tx, &picked, &dispatches, queueing, &specs).await?;
                write_last(tx, &picked, now).await?;
                dispatches.extend(picked.into_iter().map(|w| picking::dispatch(w, now)));
                return Ok((dispatches, more));
            }
            write(&tx, &picked, now).await?;
            dispatches.extend(picked.into_iter().map(|w| picking::dispatch(w, now)));
            window = read_window(&tx, &picker, &asked).await?;
        }
        Ok((dispatches, false))
    }

    /// Takes the lock and reads counts, pools and heads in one round trip.
    async fn enter(&self, tx: &Tx, queueing: &Queueing) -> Res<(Vec<Waiting>, Picker)> {
        let lock = tx.prepare(LOCK).await?;
        let heads = tx.prepare(&HEAD).await?;
        let usage = tx.prepare(picking::USAGE).await?;
        let pools = tx.prepare("SELECT name, slots FROM pool").await?;
        let (key, first) = (self.lock_key("queueing"), i64::from(HEADS));
        let (lock_args, head_args): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) =
            ([&key], [&first]);
        let (locked, heads, usage, pools) = tokio::try_join!(
            biased;
            tx.run(&lock, &lock_args),
            tx.run(&heads, &head_args),
            tx.run(&usage, &[]),
            tx.run(&pools, &[]),
        )?;
        // Without the lock the counts mean nothing.
        let heads = if locked.is_empty() { Vec::new() } else { heads };
        Ok((all(&heads, picking::waiting)?, picker(&usage, &pools, queueing)?))
    }

    /// Whether one more would be queued if the call's own maximum did not end it.
    async fn more(
        &self,
        tx: &Tx,
        picked: &[Waiting],
        before: &[Dispatch],
        queueing: &Queueing,
        specs: &Specs,
    ) -> Res<bool> {
        let one = Queueing { max: u32::MAX, ..queueing.clone() };
        let taken: BTreeSet<_> = picked.iter().map(|w| w.attempt_id).collect();
        let heads = i64::from(HEADS) + i64::from(queueing.max) - before.len() as i64;
        let usage = tx.query(picking::USAGE, &[]).await?;
        let pools = tx.query("SELECT name, slots FROM pool", &[]).await?;
        let window = all(&tx.query(&HEAD, &[&heads]).await?, picking::waiting)?;
        let (taken, rest): (Vec<_>, Vec<_>) =
            window.into_iter().partition(|w| taken.contains(&w.attempt_id));
        let mut picker = picker(&usage, &pools, &one)?;
        picker.pick(taken, specs);
        Ok(!picker.pick(rest, specs).is_empty())
    }
}

fn picker(usage: &[Row], pools: &[Row], queueing: &Queueing) -> Res<Picker> {
    let mut used = Usage::default();
    for row in usage {
        picking::add_usage(&mut used, row)?;
    }
    let mut slots = BTreeMap::new();
    for row in pools {
        slots.insert(row.text(0)?, row.int(1)?);
    }
    Ok(Picker::new(used, slots, queueing))
}

/// Groups that gave as many as were asked for: they may hold more.
fn filled(window: &[Waiting], asked: &BTreeMap<Group, u32>) -> BTreeSet<Group> {
    let mut counts: BTreeMap<&Group, u32> = BTreeMap::new();
    for waiting in window {
        *counts.entry(&waiting.group).or_default() += 1;
    }
    let full = counts.into_iter().filter(|(group, n)| asked.get(*group).is_some_and(|a| n >= a));
    full.map(|(group, _)| group.clone()).collect()
}

/// The room of groups that have any.
fn rooms<'a>(
    picker: &Picker,
    specs: &Specs,
    groups: impl Iterator<Item = (&'a Group, &'a String)>,
) -> BTreeMap<Group, u32> {
    let room = |group: &Group, hash: &String| specs.get(hash).map(|spec| picker.room(group, spec));
    groups
        .filter_map(|(group, hash)| Some((group.clone(), room(group, hash)?)))
        .filter(|(_, room)| *room > 0)
        .collect()
}

async fn read_window(tx: &Tx, picker: &Picker, asked: &BTreeMap<Group, u32>) -> Res<Vec<Waiting>> {
    let (mut passed_runs, mut passed_tasks): (Vec<Uuid>, Vec<&str>) = (Vec::new(), Vec::new());
    for group in asked.keys() {
        for task in picker.passed_over(group) {
            passed_runs.push(group.run);
            passed_tasks.push(task);
        }
    }
    let rows = tx
        .query(
            &WINDOW,
            &[
                &asked.keys().map(|g| g.dag_id.as_str()).collect::<Vec<_>>(),
                &asked.keys().map(|g| g.run).collect::<Vec<_>>(),
                &asked.keys().map(|g| g.pool.as_str()).collect::<Vec<_>>(),
                &asked.values().map(|n| i64::from(*n)).collect::<Vec<_>>(),
                &passed_runs,
                &passed_tasks,
            ],
        )
        .await?;
    all(&rows, picking::waiting)
}

struct Columns {
    run: Vec<Uuid>,
    task_id: Vec<String>,
    map_index: Vec<i64>,
    attempt: Vec<Uuid>,
    token: Vec<i64>,
    try_number: Vec<i64>,
    now: i64,
}

impl Columns {
    fn new(picked: &[Waiting], now: Timestamp) -> Self {
        Self {
            run: picked.iter().map(|w| w.group.run).collect(),
            task_id: picked.iter().map(|w| w.task_id.clone()).collect(),
            map_index: picked.iter().map(|w| i64::from(w.map_index)).collect(),
            attempt: picked.iter().map(|w| w.attempt_id.0).collect(),
            token: picked.iter().map(|w| w.token).collect(),
            try_number: picked.iter().map(|w| i64::from(w.try_number)).collect(),
            now: to_micros(now),
        }
    }

    fn args(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.run,
            &self.task_id,
            &self.map_index,
            &self.now,
            &self.attempt,
            &self.token,
            &self.try_number,
        ]
    }
}

async fn write(tx: &Tx, picked: &[Waiting], now: Timestamp) -> Res<()> {
    let columns = Columns::new(picked, now);
    let args = columns.args();
    let (supersede, queue) = (tx.prepare(SUPERSEDE).await?, tx.prepare(QUEUE).await?);
    tokio::try_join!(biased; tx.run(&supersede, &args[..4]), tx.run(&queue, &args))?;
    Ok(())
}

/// As [`write`], with the commit in the same round trip.
async fn write_last(tx: Tx, picked: &[Waiting], now: Timestamp) -> Res<()> {
    if picked.is_empty() {
        return tx.commit().await;
    }
    let columns = Columns::new(picked, now);
    let args = columns.args();
    let (supersede, queue) = (tx.prepare(SUPERSEDE).await?, tx.prepare(QUEUE).await?);
    tx.finish(&[(&supersede, &args[..4]), (&queue, &args)]).await.map(drop)
}
