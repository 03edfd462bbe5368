//! Duty: starts queued runs: fixes their DAG version, creates their task instances with queue and
//! priority, and hands them to the planner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tradewind_engine::CompiledDag;
use tradewind_proto::clock::SharedClock;
use tradewind_store::model::{NewTask, RunRow, StartRun};
use tradewind_store::{Error as StoreError, Store};

use crate::duty::Duty;
use crate::options::Route;
use crate::planner::{Input, PlannerSender};
use crate::routes;
use crate::run_span::RunSpan;
use crate::signals::Signals;

/// Runs started in one transaction.
const START_MAX: u32 = 64;
/// Pages in a row without going back to wait.
const PAGES_MAX: usize = 64;

/// Starts queued runs.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) signals: Arc<Signals>,
    pub(crate) planner: PlannerSender,
    pub(crate) routes: Vec<Route>,
    pub(crate) interval: Duration,
}

#[async_trait]
impl Duty for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    async fn run(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.start_all().await {
                warn!(%error, "could not start queued runs; trying again");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.signals.start.notified() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }
}

impl Start {
    async fn start_all(&self) -> Result<(), StoreError> {
        for _ in 0..PAGES_MAX {
            let runs = self.store.startable_runs(self.clock.now(), START_MAX).await?;
            if runs.is_empty() || self.start_page(runs).await? == 0 {
                return Ok(());
            }
        }
        // More than a few thousand were waiting: let the stop signal be seen, then go on.
        self.signals.start.notify_one();
        Ok(())
    }

    /// Starts some runs; says how many were.
    async fn start_page(&self, runs: Vec<RunRow>) -> Result<usize, StoreError> {
        let mut newest = BTreeMap::new();
        let mut starts = Vec::with_capacity(runs.len());
        let mut spans = BTreeMap::new();
        for run in &runs {
            if !newest.contains_key(&run.dag_id) {
                newest.insert(run.dag_id.clone(), self.newest_version(&run.dag_id).await?);
            }
            if let Some(Some(version)) = newest.get(&run.dag_id) {
                let mut start = StartRun { run: run.id, ..version.clone() };
                if run.trace_parent.is_empty() {
                    let span = RunSpan::new(&run.dag_id, &run.run_id, run.run_type.as_str());
                    start.trace_parent = span.trace_parent();
                    spans.insert(run.id, span);
                }
                starts.push(start);
            }
        }
        if starts.is_empty() {
            return Ok(0);
        }
        let ids: Vec<_> = starts.iter().map(|start| start.run).collect();
        let started = self.store.start_runs(starts, self.clock.now()).await?;
        let mut count = 0;
        for (run, started) in ids.into_iter().zip(started) {
            let span = spans.remove(&run);
            if !started {
                if let Some(span) = span {
                    span.discard();
                }
                continue;
            }
            count += 1;
            if let Some(row) = runs.iter().find(|row| row.id == run) {
                info!(dag_id = row.dag_id, run_id = row.run_id, "run started");
            }
            // A closed channel means that we are stopping: the audit of any scheduler finds the run.
            let _closed = self.planner.send(Input::Started(run)).await;
        }
        Ok(count)
    }

    /// The start of any run of a DAG as of its newest version; the run itself is filled in later.
    async fn newest_version(&self, dag_id: &str) -> Result<Option<StartRun>, StoreError> {
        let Some(dag) = self.store.dag(dag_id).await? else { return Ok(None) };
        let compiled = match CompiledDag::new(Arc::clone(&dag.spec)) {
            Ok(compiled) => compiled,
            Err(error) => {
                error!(dag_id, %error, "stored DAG has no usable graph; its runs stay queued");
                return Ok(None);
            }
        };
        Ok(Some(StartRun {
            run: uuid::Uuid::nil(),
            version_hash: dag.version_hash,
            max_active_runs: dag.spec.max_active_runs,
            trace_parent: String::new(),
            tasks: self.tasks(&compiled),
        }))
    }

    fn tasks(&self, dag: &CompiledDag) -> Vec<NewTask> {
        let tasks = dag.spec.tasks.iter().enumerate();
        tasks
            .map(|(index, task)| NewTask {
                task_id: task.task_id.clone(),
                map_index: -1,
                operator: task.operator.clone(),
                queue: routes::queue_for(&self.routes, &dag.spec.dag_id, task),
                pool: task.pool.clone(),
                pool_slots: task.pool_slots,
                priority: dag.graph.priority(index),
                max_tries: task.retries,
            })
            .collect()
    }
}
