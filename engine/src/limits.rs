//! Which scheduled task instances may be queued now, under pools, concurrency limits and parallelism.
//!
//! Pure arithmetic over counts; whoever calls it holds the lock that makes the counts true.

use std::collections::BTreeMap;

use uuid::Uuid;

/// One task instance that waits for a slot. Candidates come sorted: most urgent first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// DAG name.
    pub dag_id: String,
    /// Internal run id.
    pub run: Uuid,
    /// Task name.
    pub task_id: String,
    /// Pool that it takes slots of.
    pub pool: String,
    /// How many.
    pub pool_slots: u32,
    /// The DAG's `max_active_tasks`.
    pub max_active_tasks: u32,
    /// Count `max_active_tasks` per run instead of over the DAG.
    pub per_run: bool,
    /// Instances of the task at once, over all runs.
    pub max_active_tis_per_dag: Option<u32>,
    /// Instances of the task at once, within the run.
    pub max_active_tis_per_dagrun: Option<u32>,
}

/// Task instances that hold a slot (queued and running), counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slots taken, by pool.
    pub pools: BTreeMap<String, u64>,
    /// Instances, by DAG.
    pub dags: BTreeMap<String, u32>,
    /// Instances, by run.
    pub runs: BTreeMap<Uuid, u32>,
    /// Instances, by DAG and task.
    pub dag_tasks: BTreeMap<(String, String), u32>,
    /// Instances, by run and task.
    pub run_tasks: BTreeMap<(Uuid, String), u32>,
    /// Instances in all.
    pub total: u32,
}

impl Usage {
    /// Counts one more instance.
    pub fn add(&mut self, c: &Candidate) {
        *self.pools.entry(c.pool.clone()).or_default() += u64::from(c.pool_slots);
        *self.dags.entry(c.dag_id.clone()).or_default() += 1;
        *self.runs.entry(c.run).or_default() += 1;
        *self.dag_tasks.entry((c.dag_id.clone(), c.task_id.clone())).or_default() += 1;
        *self.run_tasks.entry((c.run, c.task_id.clone())).or_default() += 1;
        self.total += 1;
    }
}

/// What must not be exceeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Slots by pool; −1 is unlimited. A task of a pool that is not here never runs.
    pub pools: BTreeMap<String, i64>,
    /// Instances at once in all.
    pub parallelism: Option<u32>,
}

/// Why a candidate cannot be queued now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The deployment's parallelism is used up.
    Parallelism,
    /// Its pool does not exist.
    NoPool,
    /// It asks for more slots than its pool has in all: it can never run.
    PoolTooSmall,
    /// Its pool has too few free slots.
    PoolFull,
    /// The DAG's or run's `max_active_tasks` is reached.
    MaxActiveTasks,
    /// `max_active_tis_per_dag` is reached.
    MaxActivePerDag,
    /// `max_active_tis_per_dagrun` is reached.
    MaxActivePerRun,
}

/// Picks the candidates that fit, in their order, at most `max`, and counts them into `usage`. One
/// that is blocked does not block others behind it. Returns indexes into `candidates`.
pub fn select(
    candidates: &[Candidate],
    usage: &mut Usage,
    limits: &Limits,
    max: usize,
) -> Vec<usize> {
    let mut chosen = Vec::new();
    for (i, candidate) in candidates.iter().enumerate() {
        if chosen.len() >= max || parallelism_used_up(usage, limits) {
            break;
        }
        if blocked(candidate, usage, limits).is_none() {
            usage.add(candidate);
            chosen.push(i);
        }
    }
    chosen
}

/// The first limit that keeps a candidate from being queued, or none.
pub fn blocked(c: &Candidate, usage: &Usage, limits: &Limits) -> Option<Blocked> {
    if parallelism_used_up(usage, limits) {
        return Some(Blocked::Parallelism);
    }
    if let Some(reason) = pool_blocks(c, usage, limits) {
        return Some(reason);
    }
    let active = if c.per_run { usage.runs.get(&c.run) } else { usage.dags.get(&c.dag_id) };
    if active.copied().unwrap_or(0) >= c.max_active_tasks {
        return Some(Blocked::MaxActiveTasks);
    }
    let reached = |limit: Option<u32>, used: &dyn Fn() -> Option<u32>| {
        limit.is_some_and(|limit| used().unwrap_or(0) >= limit)
    };
    let in_dag = || usage.dag_tasks.get(&(c.dag_id.clone(), c.task_id.clone())).copied();
    if reached(c.max_active_tis_per_dag, &in_dag) {
        return Some(Blocked::MaxActivePerDag);
    }
    let in_run = || usage.run_tasks.get(&(c.run, c.task_id.clone())).copied();
    reached(c.max_active_tis_per_dagrun, &in_run).then_some(Blocked::MaxActivePerRun)
}

fn parallelism_used_up(usage: &Usage, limits: &Limits) -> bool {
    limits.parallelism.is_some_and(|max| usage.total >= max)
}

fn pool_blocks(c: &Candidate, usage: &Usage, limits: &Limits) -> Option<Blocked> {
    let Some(&slots) = limits.pools.get(&c.pool) else { return Some(Blocked::NoPool) };
    // Negative: unlimited.
    let Ok(slots) = u64::try_from(slots) else { return None };
    let wanted = u64::from(c.pool_slots);
    let used = usage.pools.get(&c.pool).copied().unwrap_or(0);
    if wanted > slots {
        Some(Blocked::PoolTooSmall)
    } else if used + wanted > slots {
        Some(Blocked::PoolFull)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
