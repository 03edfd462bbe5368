//! Which waiting task instances are queued now: the part of the critical section that both drivers
//! share. Reads nothing itself; the limits' arithmetic is the engine's.
//!
//! What waits is looked at by group (DAG, run, pool): a group without room is passed over unread, so
//! the cost does not grow with the number of task instances that wait behind a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tradewind_engine::limits::{Candidate, Limits, Usage, blocked};
use tradewind_proto::AttemptId;
use tradewind_proto::dag::DagSpec;
use uuid::Uuid;

use crate::model::{Dispatch, Queueing};
use crate::rows::{BadRow, Cells};

/// Looks at the same group again at most so often in one call: each look passes over the tasks that
/// were found blocked by limits of their own.
pub(crate) const ROUNDS_MAX: usize = 8;

/// Scheduled task instances that share the limits of pool, run and DAG.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub(crate) dag_id: String,
    pub(crate) run: Uuid,
    pub(crate) pool: String,
}

/// A scheduled task instance.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) group: Group,
    run_id: String,
    pub(crate) task_id: String,
    pub(crate) map_index: i32,
    pool_slots: u32,
    priority: i32,
    ord: i64,
    pub(crate) token: i64,
    pub(crate) attempt_id: AttemptId,
    pub(crate) try_number: u32,
    operator: String,
    queue: String,
    trace_parent: String,
    date_key: i64,
    run_queued_at: i64,
    pub(crate) version_hash: String,
}

pub(crate) const WAITING: &str = "t.dag_id, t.run, t.pool, r.run_id, t.task_id, t.map_index, \
    t.pool_slots, t.priority, t.ord, t.token, t.attempt_id, t.try_number, t.operator, t.queue, \
    r.trace_parent, r.date_key, r.queued_at, r.version_hash";

pub(crate) fn waiting(row: &impl Cells) -> Result<Waiting, BadRow> {
    Ok(Waiting {
        group: group(row)?,
        run_id: row.text(3)?,
        task_id: row.text(4)?,
        map_index: row.i32(5)?,
        pool_slots: row.u32(6)?,
        priority: row.i32(7)?,
        ord: row.int(8)?,
        token: row.int(9)?,
        attempt_id: AttemptId(row.id(10)?),
        try_number: row.u32(11)?,
        operator: row.text(12)?,
        queue: row.text(13)?,
        trace_parent: row.text(14)?,
        date_key: row.int(15)?,
        run_queued_at: row.int(16)?,
        version_hash: row.text(17)?,
    })
}

pub(crate) fn group(row: &impl Cells) -> Result<Group, BadRow> {
    Ok(Group { dag_id: row.text(0)?, run: row.id(1)?, pool: row.text(2)? })
}

/// What holds slots, counted by (DAG, run, task, pool).
pub(crate) const USAGE: &str = "SELECT dag_id, run, pool, task_id, count(*), \
    CAST(sum(pool_slots) AS BIGINT) FROM task_instance WHERE state IN ('queued', 'running') \
    GROUP BY dag_id, run, pool, task_id";

pub(crate) fn add_usage(usage: &mut Usage, row: &impl Cells) -> Result<(), BadRow> {
    let Group { dag_id, run, pool } = group(row)?;
    let (task, n) = (row.text(3)?, row.u32(4)?);
    *usage.pools.entry(pool).or_default() += u64::try_from(row.int(5)?).unwrap_or(0);
    *usage.dag_tasks.entry((dag_id.clone(), task.clone())).or_default() += n;
    *usage.dags.entry(dag_id).or_default() += n;
    *usage.run_tasks.entry((run, task)).or_default() += n;
    *usage.runs.entry(run).or_default() += n;
    usage.total += n;
    Ok(())
}

/// The state of one pass through the critical section.
#[derive(Debug)]
pub(crate) struct Picker {
    usage: Usage,
    limits: Limits,
    default_pool_slots: i64,
    left: u32,
    /// Tasks found blocked by limits of their own (not by their group's).
    passed_over: BTreeMap<Group, BTreeSet<String>>,
}

impl Picker {
    pub(crate) fn new(usage: Usage, pools: BTreeMap<String, i64>, queueing: &Queueing) -> Self {
        Self {
            usage,
            limits: Limits { pools, parallelism: queueing.parallelism },
            default_pool_slots: queueing.default_pool_slots,
            left: queueing.max,
            passed_over: BTreeMap::new(),
        }
    }

    /// Whether the call may queue no more.
    pub(crate) fn spent(&self) -> bool {
        self.left == 0
    }

    /// How many task instances of the group could be queued at most; 0 = the group is full.
    pub(crate) fn room(&self, group: &Group, spec: &DagSpec) -> u32 {
        let free =
            |limit: u32, used: Option<&u32>| limit.saturating_sub(used.copied().unwrap_or(0));
        let everywhere =
            self.limits.parallelism.map_or(u32::MAX, |max| max.saturating_sub(self.usage.total));
        let active = if spec.max_active_tasks_per_run {
            self.usage.runs.get(&group.run)
        } else {
            self.usage.dags.get(&group.dag_id)
        };
        let slots = self.limits.pools.get(&group.pool).copied().unwrap_or(self.default_pool_slots);
        let pool = u64::try_from(slots).map_or(u64::MAX, |slots| {
            slots.saturating_sub(self.usage.pools.get(&group.pool).copied().unwrap_or(0))
        });
        let room = u64::from(everywhere.min(free(spec.max_active_tasks, active))).min(pool);
        u32::try_from(room).unwrap_or(u32::MAX).min(self.left)
    }

    /// Tasks of the group that need not be read again.
    pub(crate) fn passed_over(&self, group: &Group) -> impl Iterator<Item = &String> {
        self.passed_over.get(group).into_iter().flatten()
    }

    /// Picks what fits, most urgent first, and counts it as queued.
    pub(crate) fn pick(
        &mut self,
        mut window: Vec<Waiting>,
        specs: &BTreeMap<String, Arc<DagSpec>>,
    ) -> Vec<Waiting> {
        window.sort_by_key(|w| {
            (-i64::from(w.priority), w.date_key, w.run_queued_at, w.group.run, w.ord)
        });
        let mut picked = Vec::new();
        for waiting in window {
            if self.spent() {
                break;
            }
            let Some(spec) = specs.get(&waiting.version_hash) else { continue };
            let candidate = candidate(&waiting, spec);
            let default = self.default_pool_slots;
            self.limits.pools.entry(candidate.pool.clone()).or_insert(default);
            if blocked(&candidate, &self.usage, &self.limits).is_none() {
                self.usage.add(&candidate);
                self.left -= 1;
                picked.push(waiting);
            } else if self.room(&waiting.group, spec) > 0 {
                self.passed_over.entry(waiting.group).or_default().insert(waiting.task_id);
            }
        }
        picked
    }
}

fn candidate(waiting: &Waiting, spec: &DagSpec) -> Candidate {
    let task = spec.task(&waiting.task_id);
    Candidate {
        dag_id: waiting.group.dag_id.clone(),
        run: waiting.group.run,
        task_id: waiting.task_id.clone(),
        pool: waiting.group.pool.clone(),
        pool_slots: waiting.pool_slots,
        max_active_tasks: spec.max_active_tasks,
        per_run: spec.max_active_tasks_per_run,
        max_active_tis_per_dag: task.and_then(|t| t.max_active_tis_per_dag),
        max_active_tis_per_dagrun: task.and_then(|t| t.max_active_tis_per_dagrun),
    }
}

pub(crate) fn dispatch(waiting: Waiting, now: Timestamp) -> Dispatch {
    Dispatch {
        attempt_id: waiting.attempt_id,
        token: waiting.token,
        run: waiting.group.run,
        dag_id: waiting.group.dag_id,
        run_id: waiting.run_id,
        task_id: waiting.task_id,
        map_index: waiting.map_index,
        operator: waiting.operator,
        try_number: waiting.try_number,
        queue: waiting.queue,
        priority: waiting.priority,
        queued_at: now,
        trace_parent: waiting.trace_parent,
    }
}
