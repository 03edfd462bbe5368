//! DAGs and runs.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tradewind_proto::dag::DagSpec;
use tradewind_store::model::{
    Advance, AttemptRow, DagRow, DueDag, FileSync, ImportErrorRow, NewRun, RunFilter, RunRow,
    StartRun, TaskInstanceRow,
};
use tradewind_store::{DagStore, Error, RunStore};
use uuid::Uuid;

use super::FaultyStore;

#[async_trait]
impl DagStore for FaultyStore {
    async fn sync_file(&self, file: FileSync, now: Timestamp) -> Result<Vec<String>, Error> {
        self.read("sync_file", self.world.store.sync_file(file, now)).await
    }

    async fn retain_files(&self, present: &[String], now: Timestamp) -> Result<Vec<String>, Error> {
        self.read("retain_files", self.world.store.retain_files(present, now)).await
    }

    async fn dags(&self, include_inactive: bool) -> Result<Vec<DagRow>, Error> {
        self.read("dags", self.world.store.dags(include_inactive)).await
    }

    async fn dag(&self, dag_id: &str) -> Result<Option<DagRow>, Error> {
        self.read("dag", self.world.store.dag(dag_id)).await
    }

    async fn spec(&self, version_hash: &str) -> Result<Option<Arc<DagSpec>>, Error> {
        self.read("spec", self.world.store.spec(version_hash)).await
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<(), Error> {
        self.read("set_paused", self.world.store.set_paused(dag_id, paused)).await
    }

    async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, Error> {
        self.read("import_errors", self.world.store.import_errors()).await
    }
}

#[async_trait]
impl RunStore for FaultyStore {
    async fn due_dags(&self, now: Timestamp, limit: u32) -> Result<Vec<DueDag>, Error> {
        self.read("due_dags", self.world.store.due_dags(now, limit)).await
    }

    async fn advance(&self, advance: Advance, now: Timestamp) -> Result<bool, Error> {
        let created = advance.create.as_ref().map(|run| run.id);
        let work = self.world.store.advance(advance, now);
        self.call("advance", work, |world, moved| {
            world.committed(created.filter(|_| *moved));
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        self.read("next_due", self.world.store.next_due()).await
    }

    async fn trigger(&self, run: NewRun, now: Timestamp) -> Result<RunRow, Error> {
        let work = self.world.store.trigger(run, now);
        self.call("trigger", work, |world, row| world.committed([row.id])).await
    }

    async fn startable_runs(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRow>, Error> {
        self.read("startable_runs", self.world.store.startable_runs(now, limit)).await
    }

    async fn start_runs(&self, starts: Vec<StartRun>, now: Timestamp) -> Result<Vec<bool>, Error> {
        let runs: Vec<Uuid> = starts.iter().map(|start| start.run).collect();
        let work = self.world.store.start_runs(starts, now);
        self.call("start_runs", work, |world, _| world.committed(runs)).await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, Error> {
        self.read("runs", self.world.store.runs(filter)).await
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>, Error> {
        self.read("run", self.world.store.run(dag_id, run_id)).await
    }

    async fn task_instances(&self, run: Uuid) -> Result<Vec<TaskInstanceRow>, Error> {
        self.read("task_instances", self.world.store.task_instances(run)).await
    }

    async fn attempts(&self, run: Uuid) -> Result<Vec<AttemptRow>, Error> {
        self.read("attempts", self.world.store.attempts(run)).await
    }
}
