//! The promises, checked against a mirror of the database that is brought up to date after every
//! commit.

mod caps;
mod finale;
mod oracle;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use tradewind_engine::model::{RunInfo, TaskInstance};
use tradewind_proto::AttemptId;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::execution::{ClaimItem, ClaimRequest, LeaseItem};
use tradewind_store::model::{AttemptRow, ClaimedAttempt, ExpiredLease};
use tradewind_store::{PlanStore as _, RunStore as _, SqliteStore};
use uuid::Uuid;

use crate::store::attempts::Grant;
use crate::workload::Workload;
use crate::world::Violation;

pub(crate) use finale::{Unfinished, finale, unfinished};

/// One run as of the last commit on it.
#[derive(Debug, Clone)]
pub(crate) struct RunView {
    pub(crate) info: RunInfo,
    pub(crate) tasks: BTreeMap<String, TaskInstance>,
    pub(crate) attempts: BTreeMap<AttemptId, AttemptRow>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) runs: BTreeMap<Uuid, RunView>,
    dags: BTreeMap<String, Arc<DagSpec>>,
    pool_slots: i64,
    parallelism: u32,
    /// Who was granted an attempt, with which nonce.
    granted: BTreeMap<AttemptId, (Uuid, Uuid, Grant)>,
    /// Attempts whose leases were found expired: no renewal is valid any more.
    expired: BTreeMap<AttemptId, ()>,
    /// Declared lost since the last look.
    lost: Vec<AttemptId>,
}

/// Shorthand for a broken promise.
pub(crate) fn broken<T>(promise: &'static str, text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { promise, text: text.into() })
}

/// A task instance's name in texts.
pub(crate) fn name_of(info: &RunInfo, task: &str) -> String {
    format!("{}/{}/{task}", info.dag_id, info.run_id)
}

impl Checker {
    pub(crate) fn new(workload: &Workload) -> Self {
        Self {
            runs: BTreeMap::new(),
            dags: workload.dags.clone(),
            pool_slots: workload.pool_slots,
            parallelism: workload.parallelism,
            granted: BTreeMap::new(),
            expired: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    /// Reads a run again and compares it with what it was.
    pub(crate) fn step(
        &mut self,
        store: &SqliteStore,
        run: Uuid,
        now: Timestamp,
    ) -> Result<Vec<String>, Violation> {
        let Some(new) = read(store, run) else { return broken("S1", format!("run {run} is gone")) };
        let spec = Arc::clone(&self.dags[&new.info.dag_id]);
        let changes = step::compare(self.runs.get(&run), &new, &spec, now)?;
        self.lost.extend(step::newly_lost(self.runs.get(&run), &new));
        self.runs.insert(run, new);
        Ok(changes)
    }

    /// Whether every limit holds now.
    pub(crate) fn caps(&self) -> Result<(), Violation> {
        caps::check(&self.runs, &self.dags, self.pool_slots, self.parallelism)
    }

    /// Attempts declared lost since the last call.
    pub(crate) fn take_lost(&mut self) -> Vec<AttemptId> {
        std::mem::take(&mut self.lost)
    }

    /// The reaper has seen these leases end.
    pub(crate) fn expired(&mut self, leases: &[ExpiredLease]) {
        self.expired.extend(leases.iter().map(|lease| (lease.attempt_id, ())));
    }

    /// A claim was granted: only the newest attempt of a task instance, and only to one delivery.
    pub(crate) fn granted(
        &mut self,
        request: &ClaimRequest,
        item: &ClaimItem,
        grant: &ClaimedAttempt,
    ) -> Result<(), Violation> {
        let id = item.attempt_id;
        let task = self.runs.get(&grant.run.id).and_then(|run| run.tasks.get(&grant.task_id));
        let current = task.is_some_and(|t| t.attempt_id == Some(id) && t.token == item.token);
        if !current {
            let text = format!("{}: claim of a superseded attempt was granted", grant.task_id);
            return broken("S5", text);
        }
        let holder = (request.instance, item.nonce);
        let (instance, nonce, _) =
            self.granted.entry(id).or_insert_with(|| (holder.0, holder.1, Box::new(grant.clone())));
        if (*instance, *nonce) == holder {
            return Ok(());
        }
        broken("S4", format!("{}: attempt {id} was granted to two deliveries", grant.task_id))
    }

    /// What was granted for an attempt.
    pub(crate) fn grant_of(&self, attempt: AttemptId) -> Option<&Grant> {
        self.granted.get(&attempt).map(|(_, _, grant)| grant)
    }

    /// A lease was renewed: only that of the newest attempt, unless it has ended or was found expired.
    pub(crate) fn renewed(&self, item: &LeaseItem) -> Result<(), Violation> {
        let id = item.attempt_id;
        let Some(attempt) = self.attempt(id) else {
            return broken("S5", format!("lease of the unknown attempt {id} was renewed"));
        };
        if attempt.ended_at.is_some() || attempt.token != item.token {
            return broken("S5", format!("lease of the ended attempt {id} was renewed"));
        }
        if self.expired.contains_key(&id) {
            return broken("S5", format!("lease of attempt {id} was renewed after it was lost"));
        }
        Ok(())
    }

    fn attempt(&self, id: AttemptId) -> Option<&AttemptRow> {
        self.runs.values().find_map(|run| run.attempts.get(&id))
    }
}

/// Reads a run without faults; the in-process driver answers at once.
pub(crate) fn read(store: &SqliteStore, run: Uuid) -> Option<RunView> {
    let snapshot = store.load_run(run).now_or_never()?.ok()??;
    let attempts = store.attempts(run).now_or_never()?.ok()?;
    Some(RunView {
        info: snapshot.run,
        tasks: snapshot.tasks.into_iter().map(|task| (task.task_id.clone(), task)).collect(),
        attempts: attempts.into_iter().map(|row| (row.attempt_id, row)).collect(),
    })
}
