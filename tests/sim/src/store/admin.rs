//! Data, jobs, keys.

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;
use tradewind_proto::AttemptId;
use tradewind_proto::execution::{LogChunk, XcomQuery, XcomReply};
use tradewind_store::model::{Counts, JobRow, LogRead};
use tradewind_store::{AdminStore, DataStore, Error};

use super::FaultyStore;

#[async_trait]
impl DataStore for FaultyStore {
    async fn xcoms(&self, query: &XcomQuery) -> Result<XcomReply, Error> {
        self.read("xcoms", self.world.store.xcoms(query)).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>, Error> {
        self.read("variable", self.world.store.variable(key)).await
    }

    async fn set_variable(&self, key: &str, value: &str) -> Result<(), Error> {
        self.read("set_variable", self.world.store.set_variable(key, value)).await
    }

    async fn append_logs(&self, chunks: &[LogChunk]) -> Result<u64, Error> {
        self.read("append_logs", self.world.store.append_logs(chunks)).await
    }

    async fn read_log(&self, attempt: AttemptId, seq: u32) -> Result<LogRead, Error> {
        self.read("read_log", self.world.store.read_log(attempt, seq)).await
    }
}

#[async_trait]
impl AdminStore for FaultyStore {
    fn kind(&self) -> &'static str {
        self.world.store.kind()
    }

    fn shared(&self) -> bool {
        true
    }

    async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.read("migrate", self.world.store.migrate()).await
    }

    async fn check_schema(&self) -> Result<(), Error> {
        self.read("check_schema", self.world.store.check_schema()).await
    }

    async fn job_heartbeat(&self, job: &JobRow) -> Result<(), Error> {
        self.read("job_heartbeat", self.world.store.job_heartbeat(job)).await
    }

    async fn jobs(&self, job_type: Option<&str>, limit: u32) -> Result<Vec<JobRow>, Error> {
        self.read("jobs", self.world.store.jobs(job_type, limit)).await
    }

    async fn add_key(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        self.read("add_key", self.world.store.add_key(key, now)).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.read("keys", self.world.store.keys()).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.read("counts", self.world.store.counts()).await
    }

    async fn health(&self) -> Result<(), Error> {
        self.read("health", self.world.store.health()).await
    }

    fn wakeups(&self) -> broadcast::Receiver<()> {
        self.world.store.wakeups()
    }
}
