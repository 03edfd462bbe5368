//! Applies the decisions on many runs with a fixed number of statements, all sent together after the
//! compare-and-set. Attempts are locked before task instances everywhere, as claims do.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tradewind_engine::model::TaskChange;
use tradewind_proto::clock::to_micros;
use tradewind_proto::workload::Outcome;
use uuid::Uuid;

use super::PostgresStore;
use super::conn::{Tx, in_order};
use super::failure::{Res, clean};
use crate::model::{Committed, RunCommit};
use crate::rows::Cells;

const SWAP: &str = "WITH c AS (SELECT r.id FROM dag_run r \
    JOIN unnest($1::uuid[], $2::bigint[]) AS n (id, version) \
    ON n.id = r.id AND n.version = r.version ORDER BY r.id FOR NO KEY UPDATE OF r) \
    UPDATE dag_run r SET version = r.version + 1 FROM c \
    JOIN unnest($1::uuid[], $2::bigint[]) AS n (id, version) ON n.id = c.id \
    WHERE r.id = c.id AND r.version = n.version RETURNING r.id, r.version";

/// Only the current attempt of a task instance that holds a slot speaks for it.
const FINISH: &str = "WITH o AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], \
    $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::text[]) \
    AS o (attempt, run, token, outcome, digest, task_id, map_index, worker, pid, message)), \
    ended AS (UPDATE attempt a SET outcome = o.outcome, digest = o.digest, ended_at = $11 FROM o \
    WHERE a.id = o.attempt AND a.run = o.run AND a.token = o.token AND a.ended_at IS NULL \
    RETURNING a.id), \
    dropped AS (DELETE FROM outbox WHERE attempt IN (SELECT id FROM ended)), \
    spoke AS (UPDATE task_instance t SET \
    worker = CASE WHEN o.worker = '' THEN t.worker ELSE o.worker END, pid = o.pid, \
    message = o.message FROM o JOIN ended e ON e.id = o.attempt WHERE t.run = o.run \
    AND t.task_id = o.task_id AND t.map_index = o.map_index AND t.token = o.token \
    AND t.state IN ('queued', 'running') RETURNING t.run, t.task_id, t.map_index) \
    DELETE FROM xcom x USING spoke s WHERE x.run = s.run AND x.task_id = s.task_id \
    AND x.map_index = s.map_index";

/// After [`FINISH`], whose traces say which attempts spoke.
const XCOMS: &str = "INSERT INTO xcom (run, task_id, map_index, key, value) \
    SELECT a.run, a.task_id, a.map_index, n.key, n.value \
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS n (attempt, digest, key, value) \
    JOIN attempt a ON a.id = n.attempt AND a.digest = n.digest AND a.ended_at = $5 \
    JOIN task_instance t ON t.run = a.run AND t.task_id = a.task_id \
    AND t.map_index = a.map_index AND t.token = a.token AND t.state IN ('queued', 'running') \
    ON CONFLICT (run, task_id, map_index, key) DO UPDATE SET value = excluded.value";

const CANCEL: &str = "UPDATE attempt SET cancel = TRUE WHERE id = ANY($1) AND ended_at IS NULL";

/// Nobody will report the end of an attempt that nobody has claimed.
const END_UNCLAIMED: &str = "WITH ended AS (UPDATE attempt a SET outcome = 'cancelled', \
    cancel = TRUE, ended_at = $4 FROM unnest($1::uuid[], $2::text[], $3::bigint[]) \
    AS n (run, task_id, map_index) WHERE a.run = n.run AND a.task_id = n.task_id \
    AND a.map_index = n.map_index AND a.ended_at IS NULL AND a.claimed_at IS NULL RETURNING a.id) \
    DELETE FROM outbox WHERE attempt IN (SELECT id FROM ended)";

/// A claim is no new version of the run: the planner may not have seen it, and does not undo it.
const TASKS: &str = "UPDATE task_instance t SET \
    start_date = CASE WHEN n.state IN ('queued', 'running') AND t.state IN ('queued', 'running') \
    AND t.token = n.token THEN coalesce(n.start_date, t.start_date) ELSE n.start_date END, \
    state = CASE WHEN n.state IN ('queued', 'running') AND t.state IN ('queued', 'running') \
    AND t.token = n.token THEN t.state ELSE n.state END, token = n.token, end_date = n.end_date, \
    try_number = n.try_number, max_tries = n.max_tries, attempt_id = n.attempt_id, \
    not_before = n.not_before, lost_count = n.lost_count, skip_requested = n.skip_requested, \
    priority = n.priority \
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], \
    $7::bigint[], $8::bigint[], $9::bigint[], $10::uuid[], $11::bigint[], $12::bigint[], \
    $13::boolean[], $14::bigint[]) AS n (run, task_id, map_index, state, token, start_date, \
    end_date, try_number, max_tries, attempt_id, not_before, lost_count, skip_requested, priority) \
    WHERE t.run = n.run AND t.task_id = n.task_id AND t.map_index = n.map_index";

const RUNS: &str = "UPDATE dag_run r SET state = n.state, state_reason = n.reason, \
    start_date = CASE n.state WHEN 'queued' THEN NULL ELSE coalesce(r.start_date, $4) END, \
    end_date = CASE WHEN n.state IN ('queued', 'running') THEN NULL ELSE $4 END \
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (id, state, reason) WHERE r.id = n.id";

impl PostgresStore {
    /// One answer per commit, in order.
    pub(super) async fn apply(
        &self,
        tx: &Tx,
        commits: &[RunCommit],
        now: Timestamp,
    ) -> Res<Vec<Committed>> {
        let mut results = vec![Committed::Conflict; commits.len()];
        let mut left: Vec<usize> = (0..commits.len()).collect();
        // Commits on the same run follow one another; nearly always there is one layer.
        while !left.is_empty() {
            let mut runs = BTreeSet::new();
            let (layer, rest) =
                left.into_iter().partition::<Vec<_>, _>(|i| runs.insert(commits[*i].run));
            left = rest;
            let versions = swap(tx, layer.iter().map(|i| &commits[*i])).await?;
            let mut done = Vec::new();
            for i in layer {
                if let Some(&version) = versions.get(&commits[i].run) {
                    results[i] = Committed::Done { version };
                    done.push(&commits[i]);
                }
            }
            if !done.is_empty() {
                write(tx, &done, to_micros(now)).await?;
            }
        }
        Ok(results)
    }
}

async fn swap<'a>(
    tx: &Tx,
    commits: impl Iterator<Item = &'a RunCommit>,
) -> Res<BTreeMap<Uuid, i64>> {
    let (runs, versions): (Vec<Uuid>, Vec<i64>) =
        commits.map(|c| (c.run, c.expected_version)).unzip();
    let rows = tx.query(SWAP, &[&runs, &versions]).await?;
    let mut swapped = BTreeMap::new();
    for row in &rows {
        swapped.insert(row.id(0)?, row.int(1)?);
    }
    Ok(swapped)
}

async fn write(tx: &Tx, done: &[&RunCommit], now: i64) -> Res<()> {
    let finished = Finished::new(done);
    let xcoms = Xcoms::new(done);
    let cancel: Vec<Uuid> =
        done.iter().flat_map(|c| &c.changes.cancel).map(|attempt| attempt.0).collect();
    let tasks = Tasks::new(done);
    let freed = Freed::new(done);
    let runs = Runs::new(done);
    let statements = [
        (!finished.attempt.is_empty(), FINISH, finished.args(&now)),
        (!xcoms.attempt.is_empty(), XCOMS, xcoms.args(&now)),
        (!cancel.is_empty(), CANCEL, vec![&cancel as &(dyn ToSql + Sync)]),
        (!freed.run.is_empty(), END_UNCLAIMED, freed.args(&now)),
        (!tasks.run.is_empty(), TASKS, tasks.args()),
        (!runs.id.is_empty(), RUNS, runs.args(&now)),
    ];
    let mut prepared = Vec::new();
    for (wanted, sql, args) in &statements {
        if *wanted {
            prepared.push((tx.prepare(sql).await?, args));
        }
    }
    in_order(prepared.iter().map(|(statement, args)| tx.run(statement, args))).await?;
    Ok(())
}

struct Finished {
    attempt: Vec<Uuid>,
    run: Vec<Uuid>,
    token: Vec<i64>,
    outcome: Vec<&'static str>,
    digest: Vec<String>,
    task_id: Vec<String>,
    map_index: Vec<i64>,
    worker: Vec<String>,
    pid: Vec<i64>,
    message: Vec<String>,
}

impl Finished {
    fn new(done: &[&RunCommit]) -> Self {
        let all = || done.iter().flat_map(|c| c.finished.iter().map(|o| (c.run, o)));
        let texts = |of: fn(&Outcome) -> String| all().map(|(_, o)| of(o)).collect();
        let numbers = |of: fn(&Outcome) -> i64| all().map(|(_, o)| of(o)).collect();
        Self {
            attempt: all().map(|(_, o)| o.attempt_id().0).collect(),
            run: all().map(|(run, _)| run).collect(),
            token: numbers(|o| o.token),
            outcome: all().map(|(_, o)| o.state().as_str()).collect(),
            digest: texts(Outcome::digest),
            task_id: texts(|o| clean(&o.task_id)),
            map_index: numbers(|o| i64::from(o.map_index)),
            worker: texts(|o| clean(&o.worker)),
            pid: numbers(|o| i64::from(o.pid)),
            message: texts(|o| clean(&o.message)),
        }
    }

    fn args<'a>(&'a self, now: &'a i64) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![
            &self.attempt,
            &self.run,
            &self.token,
            &self.outcome,
            &self.digest,
            &self.task_id,
            &self.map_index,
            &self.worker,
            &self.pid,
            &self.message,
            now,
        ]
    }
}

struct Xcoms {
    attempt: Vec<Uuid>,
    digest: Vec<String>,
    key: Vec<String>,
    value: Vec<String>,
}

impl Xcoms {
    fn new(done: &[&RunCommit]) -> Self {
        // The last of a key counts; one statement must not name it twice.
        let mut last: BTreeMap<(Uuid, String), (String, String)> = BTreeMap::new();
        for outcome in done.iter().flat_map(|c| &c.finished).filter(|o| !o.xcoms.is_empty()) {
            let (id, digest) = (outcome.attempt_id().0, outcome.digest());
            for xcom in &outcome.xcoms {
                last.insert((id, clean(&xcom.key)), (digest.clone(), clean(&xcom.json)));
            }
        }
        let mut xcoms =
            Self { attempt: Vec::new(), digest: Vec::new(), key: Vec::new(), value: Vec::new() };
        for ((attempt, key), (digest, value)) in last {
            xcoms.attempt.push(attempt);
            xcoms.digest.push(digest);
            xcoms.key.push(key);
            xcoms.value.push(value);
        }
        xcoms
    }

    fn args<'a>(&'a self, now: &'a i64) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![&self.attempt, &self.digest, &self.key, &self.value, now]
    }
}

/// Task instances that hold no slot any more.
struct Freed {
    run: Vec<Uuid>,
    task_id: Vec<String>,
    map_index: Vec<i64>,
}

impl Freed {
    fn new(done: &[&RunCommit]) -> Self {
        let mut freed = Self { run: Vec::new(), task_id: Vec::new(), map_index: Vec::new() };
        for (run, change) in changes(done).filter(|(_, c)| !c.task.state.holds_slot()) {
            freed.run.push(run);
            freed.task_id.push(change.task.task_id.clone());
            freed.map_index.push(i64::from(change.task.map_index));
        }
        freed
    }

    fn args<'a>(&'a self, now: &'a i64) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![&self.run, &self.task_id, &self.map_index, now]
    }
}

fn changes<'a>(done: &'a [&'a RunCommit]) -> impl Iterator<Item = (Uuid, &'a TaskChange)> {
    done.iter().flat_map(|c| c.changes.tasks.iter().map(|t| (c.run, t)))
}

struct Tasks {
    run: Vec<Uuid>,
    task_id: Vec<String>,
    state: Vec<&'static str>,
    attempt_id: Vec<Option<Uuid>>,
    skip_requested: Vec<bool>,
    /// `map_index`, `token`, `try_number`, `max_tries`, `lost_count`, `priority`.
    numbers: [Vec<i64>; 6],
    /// `start_date`, `end_date`, `not_before`.
    times: [Vec<Option<i64>>; 3],
}

impl Tasks {
    fn new(done: &[&RunCommit]) -> Self {
        let numbers =
            |of: fn(&TaskChange) -> i64| changes(done).map(|(_, c)| of(c)).collect::<Vec<_>>();
        let times = |of: fn(&TaskChange) -> Option<Timestamp>| {
            changes(done).map(|(_, c)| of(c).map(to_micros)).collect::<Vec<_>>()
        };
        Self {
            run: changes(done).map(|(run, _)| run).collect(),
            task_id: changes(done).map(|(_, c)| c.task.task_id.clone()).collect(),
            state: changes(done).map(|(_, c)| c.task.state.as_str()).collect(),
            attempt_id: changes(done).map(|(_, c)| c.task.attempt_id.map(|a| a.0)).collect(),
            skip_requested: changes(done).map(|(_, c)| c.task.skip_requested).collect(),
            numbers: [
                numbers(|c| i64::from(c.task.map_index)),
                numbers(|c| c.task.token),
                numbers(|c| i64::from(c.task.try_number)),
                numbers(|c| i64::from(c.task.max_tries)),
                numbers(|c| i64::from(c.task.lost_count)),
                numbers(|c| i64::from(c.priority)),
            ],
            times: [
                times(|c| c.task.start_date),
                times(|c| c.task.end_date),
                times(|c| c.task.not_before),
            ],
        }
    }

    fn args(&self) -> Vec<&(dyn ToSql + Sync)> {
        let [map_index, token, try_number, max_tries, lost_count, priority] = &self.numbers;
        let [start_date, end_date, not_before] = &self.times;
        vec![
            &self.run,
            &self.task_id,
            map_index,
            &self.state,
            token,
            start_date,
            end_date,
            try_number,
            max_tries,
            &self.attempt_id,
            not_before,
            lost_count,
            &self.skip_requested,
            priority,
        ]
    }
}

struct Runs {
    id: Vec<Uuid>,
    state: Vec<&'static str>,
    reason: Vec<&'static str>,
}

impl Runs {
    fn new(done: &[&RunCommit]) -> Self {
        let mut runs = Self { id: Vec::new(), state: Vec::new(), reason: Vec::new() };
        for commit in done {
            if let Some((state, reason)) = commit.changes.run_state {
                runs.id.push(commit.run);
                runs.state.push(state.as_str());
                runs.reason.push(reason);
            }
        }
        runs
    }

    fn args<'a>(&'a self, now: &'a i64) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![&self.id, &self.state, &self.reason, now]
    }
}
