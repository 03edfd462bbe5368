//! Duty: tells the store that this process lives, and says goodbye. Also publishes the key that
//! workers verify our messages with.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tradewind_proto::clock::{SharedClock, SharedIds};
use tradewind_proto::sign::PublicKey;
use tradewind_store::model::JobRow;
use tradewind_store::{Error as StoreError, Store};

use crate::duty::Duty;

/// Longest wait for the goodbye: a store that is away must not hold up a stop.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Sends heartbeats of the jobs of this process.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) public_key: PublicKey,
    pub(crate) hostname: String,
    pub(crate) interval: Duration,
    /// Job types: what this process does.
    pub(crate) job_types: Vec<&'static str>,
}

#[async_trait]
impl Duty for Heartbeat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    async fn run(&self, stop: CancellationToken) {
        let started = self.clock.now();
        let mut jobs: Vec<JobRow> =
            self.job_types.iter().map(|job_type| self.job(job_type, started)).collect();
        let mut key_known = false;
        loop {
            if let Err(error) = self.beat(&mut jobs, &mut key_known).await {
                warn!(%error, "heartbeat failed; trying again");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
        for job in &mut jobs {
            job.ended = true;
        }
        let goodbye = self.beat(&mut jobs, &mut key_known);
        if !matches!(tokio::time::timeout(GOODBYE_MAX, goodbye).await, Ok(Ok(()))) {
            warn!("could not say goodbye; listings show this process until its heartbeat is old");
        }
    }
}

impl Heartbeat {
    fn job(&self, job_type: &str, started: Timestamp) -> JobRow {
        JobRow {
            id: self.ids.next(),
            job_type: job_type.to_owned(),
            hostname: self.hostname.clone(),
            ended: false,
            started_at: started,
            heartbeat_at: started,
        }
    }

    async fn beat(&self, jobs: &mut [JobRow], key_known: &mut bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        if !*key_known {
            self.store.add_key(&encode_key(self.public_key), now).await?;
            *key_known = true;
        }
        for job in jobs {
            job.heartbeat_at = now;
            self.store.job_heartbeat(job).await?;
        }
        Ok(())
    }
}

/// The form in which the store keeps keys.
pub(crate) fn encode_key(key: PublicKey) -> String {
    base64::engine::general_purpose::STANDARD.encode(key.0)
}
