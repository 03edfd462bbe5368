//! The shape of a DAG by index: who depends on whom, in which order, how urgent, who decides the run.
//!
//! Built once per DAG version and shared. Never looks at states.

mod closure;
mod setup;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use thiserror::Error;
use tradewind_proto::dag::{DagSpec, TaskSpec};

pub use setup::SetupLinks;

/// A DAG version together with its graph.
#[derive(Debug, Clone)]
pub struct CompiledDag {
    /// The DAG as stored.
    pub spec: Arc<DagSpec>,
    /// Its graph; index `i` is `spec.tasks[i]`.
    pub graph: Graph,
}

impl CompiledDag {
    /// Builds the graph of a DAG version.
    pub fn new(spec: Arc<DagSpec>) -> Result<Self, GraphError> {
        let graph = Graph::new(&spec)?;
        Ok(Self { spec, graph })
    }

    /// The task at an index. Indexes come from [`Graph`] and are always valid.
    pub fn task(&self, index: usize) -> &TaskSpec {
        &self.spec.tasks[index]
    }
}

/// Why a DAG has no usable graph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GraphError {
    /// Two tasks have the same name.
    #[error("task {task_id:?} is defined more than once; task ids must be unique in a DAG")]
    DuplicateTask {
        /// The name.
        task_id: String,
    },
    /// A task depends on one that does not exist.
    #[error("task {task_id:?} depends on {upstream:?}, which is not a task of this DAG")]
    UnknownUpstream {
        /// The dependent task.
        task_id: String,
        /// The name that was not found.
        upstream: String,
    },
    /// Tasks depend on each other in a circle.
    #[error("the tasks form a cycle: {}", .tasks.join(" -> "))]
    Cycle {
        /// The circle, in the direction of execution; the first task is repeated at the end.
        tasks: Vec<String>,
    },
}

/// Dependencies of a DAG's tasks, by index into [`DagSpec::tasks`].
#[derive(Debug, Clone)]
pub struct Graph {
    index: HashMap<String, usize>,
    upstream: Vec<Vec<usize>>,
    downstream: Vec<Vec<usize>>,
    order: Vec<usize>,
    /// Position of each task in `order`.
    place: Vec<usize>,
    priority: Vec<i32>,
    effective_leaf: Vec<bool>,
    setup: SetupLinks,
}

impl Graph {
    /// Indexes and checks the tasks of a DAG. Repeated upstream names count once.
    pub fn new(spec: &DagSpec) -> Result<Self, GraphError> {
        let index = index_tasks(spec)?;
        let (upstream, downstream) = link(spec, &index)?;
        let order = topological(&upstream, &downstream)
            .map_err(|tasks| GraphError::Cycle { tasks: name_all(spec, &tasks) })?;
        let priority = closure::priorities(spec, &upstream, &downstream, &order);
        let effective_leaf = effective_leaves(spec, &downstream);
        let setup = SetupLinks::new(spec, &upstream, &downstream);
        let mut place = vec![0; order.len()];
        for (at, &task) in order.iter().enumerate() {
            place[task] = at;
        }
        Ok(Self { index, upstream, downstream, order, place, priority, effective_leaf, setup })
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether the DAG has no task.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Index of a task by name.
    pub fn index(&self, task_id: &str) -> Option<usize> {
        self.index.get(task_id).copied()
    }

    /// Direct upstreams.
    pub fn upstream(&self, task: usize) -> &[usize] {
        &self.upstream[task]
    }

    /// Direct downstreams.
    pub fn downstream(&self, task: usize) -> &[usize] {
        &self.downstream[task]
    }

    /// All tasks, upstreams first; ties in definition order.
    pub fn topological(&self) -> &[usize] {
        &self.order
    }

    /// Position of a task in [`Graph::topological`].
    pub fn place(&self, task: usize) -> usize {
        self.place[task]
    }

    /// Priority weight under the task's weight rule, clamped to 32 bits.
    pub fn priority(&self, task: usize) -> i32 {
        self.priority[task]
    }

    /// Tasks without downstreams, in definition order.
    pub fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|&task| self.downstream[task].is_empty())
    }

    /// Whether a task's end state decides the run's: its downstreams are only teardowns that may
    /// fail, and it is not such a teardown itself. A DAG of nothing but teardowns uses its leaves.
    pub fn is_effective_leaf(&self, task: usize) -> bool {
        self.effective_leaf[task]
    }

    /// Effective leaves, in definition order.
    pub fn effective_leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|&task| self.effective_leaf[task])
    }

    /// What setup and teardown tasks add to the plain dependencies.
    pub fn setup(&self) -> &SetupLinks {
        &self.setup
    }

    /// All transitive downstreams of a task, without itself.
    pub fn descendants(&self, task: usize) -> BTreeSet<usize> {
        reach(&self.downstream, task)
    }

    /// All transitive upstreams of a task, without itself.
    pub fn ancestors(&self, task: usize) -> BTreeSet<usize> {
        reach(&self.upstream, task)
    }

    /// Of the tasks that are to be cleared, those whose `skip_requested` must be forgotten: a task
    /// upstream of them is cleared too and may decide otherwise this time.
    pub fn skips_to_forget(&self, cleared: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut below = vec![false; self.len()];
        for &task in &self.order {
            below[task] = self.upstream[task].iter().any(|&up| below[up] || cleared.contains(&up));
        }
        cleared.iter().copied().filter(|&task| below[task]).collect()
    }
}

fn index_tasks(spec: &DagSpec) -> Result<HashMap<String, usize>, GraphError> {
    let mut index = HashMap::with_capacity(spec.tasks.len());
    for (i, task) in spec.tasks.iter().enumerate() {
        if index.insert(task.task_id.clone(), i).is_some() {
            return Err(GraphError::DuplicateTask { task_id: task.task_id.clone() });
        }
    }
    Ok(index)
}

type Links = Vec<Vec<usize>>;

fn link(spec: &DagSpec, index: &HashMap<String, usize>) -> Result<(Links, Links), GraphError> {
    let mut upstream: Links = vec![Vec::new(); spec.tasks.len()];
    let mut downstream: Links = vec![Vec::new(); spec.tasks.len()];
    for (i, task) in spec.tasks.iter().enumerate() {
        let mut ups = BTreeSet::new();
        for name in &task.upstream {
            let up = index.get(name).ok_or_else(|| GraphError::UnknownUpstream {
                task_id: task.task_id.clone(),
                upstream: name.clone(),
            })?;
            ups.insert(*up);
        }
        for &up in &ups {
            downstream[up].push(i);
        }
        upstream[i] = ups.into_iter().collect();
    }
    Ok((upstream, downstream))
}

/// All tasks, upstreams first, or the tasks of one cycle.
fn topological(upstream: &Links, downstream: &Links) -> Result<Vec<usize>, Vec<usize>> {
    let mut missing: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut ready: BTreeSet<usize> = (0..missing.len()).filter(|&i| missing[i] == 0).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(task) = ready.pop_first() {
        order.push(task);
        for &down in &downstream[task] {
            missing[down] -= 1;
            if missing[down] == 0 {
                ready.insert(down);
            }
        }
    }
    if order.len() == missing.len() { Ok(order) } else { Err(find_cycle(upstream, &missing)) }
}

/// Walks upstream among the tasks that could not be ordered until one repeats. Each of them has at
/// least one upstream among them, so the walk ends in a cycle.
fn find_cycle(upstream: &Links, missing: &[usize]) -> Vec<usize> {
    let Some(start) = missing.iter().position(|&n| n > 0) else { return Vec::new() };
    let mut seen_at: HashMap<usize, usize> = HashMap::new();
    let mut path = Vec::new();
    let mut at = start;
    while !seen_at.contains_key(&at) {
        seen_at.insert(at, path.len());
        path.push(at);
        match upstream[at].iter().find(|&&up| missing[up] > 0) {
            Some(&up) => at = up,
            None => break,
        }
    }
    let mut cycle = path.split_off(seen_at.get(&at).copied().unwrap_or(0));
    cycle.reverse();
    if let Some(&first) = cycle.first() {
        cycle.push(first);
    }
    cycle
}

fn name_all(spec: &DagSpec, tasks: &[usize]) -> Vec<String> {
    tasks.iter().map(|&i| spec.tasks[i].task_id.clone()).collect()
}

fn effective_leaves(spec: &DagSpec, downstream: &Links) -> Vec<bool> {
    let ignorable = |i: usize| spec.tasks[i].is_teardown && !spec.tasks[i].on_failure_fail_dagrun;
    let flags: Vec<bool> = (0..downstream.len())
        .map(|i| !ignorable(i) && downstream[i].iter().all(|&down| ignorable(down)))
        .collect();
    if flags.contains(&true) {
        return flags;
    }
    downstream.iter().map(Vec::is_empty).collect()
}

fn reach(links: &[Vec<usize>], task: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![task];
    while let Some(at) = open.pop() {
        open.extend(links[at].iter().copied().filter(|&next| found.insert(next)));
    }
    found
}

#[cfg(test)]
mod tests;
