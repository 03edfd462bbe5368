//! The service behind the execution API.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;
use tradewind_proto::execution::{
    ClaimReply, ClaimRequest, ClaimVerdict, HeartbeatReply, HeartbeatRequest, KeysReply,
    LeaseVerdict, LogChunks, VariableQuery, VariableReply, XcomQuery, XcomReply,
};
use tradewind_store::Store;
use tradewind_store::model::{Claim, ClaimedAttempt};

use super::grant;
use super::metrics::{Metrics, Write};
use super::token::Token;
use super::versions::{Version, Versions};

/// Claims or leases that one call may name.
const ITEMS_MAX: usize = 10_000;
/// Log chunks that one call may carry.
const CHUNKS_MAX: usize = 10_000;
/// Shortest lease: below this a scheduling hiccup of the worker's host loses healthy attempts.
const LEASE_MS_MIN: u64 = 1_000;

/// How workers are served: section `[execution]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionOptions {
    /// Milliseconds that a claimed attempt is left alone without a heartbeat before it counts as
    /// lost. At least 1000; 10000 unless set.
    pub lease_ms: u64,
    /// Secret shared by `web` and the workers. Without one the HTTP routes refuse everybody (in one
    /// process no HTTP is involved).
    pub token: Token,
}

impl Default for ExecutionOptions {
    fn default() -> Self {
        Self { lease_ms: 10_000, token: Token::default() }
    }
}

/// Why a call of the execution API failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecutionError {
    /// The store is away; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The caller's fault: the same call will fail again.
    #[error("{0}")]
    Refused(String),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

impl ExecutionError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<tradewind_store::Error> for ExecutionError {
    fn from(error: tradewind_store::Error) -> Self {
        use tradewind_store::Error;
        match error {
            Error::Unavailable(_) => Self::Unavailable(error.to_string()),
            Error::NotFound { .. } | Error::Exists { .. } => Self::Refused(error.to_string()),
            Error::Config(_) | Error::Schema(_) | Error::Internal { .. } => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// Serves claims, leases, XComs, variables and logs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ExecutionService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ExecutionOptions,
    store: Arc<dyn Store>,
    clock: SharedClock,
    metrics: Metrics,
    versions: Versions,
}

impl ExecutionService {
    /// A service over `store`; its metrics go to `registry`.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(
        mut options: ExecutionOptions,
        store: Arc<dyn Store>,
        clock: SharedClock,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        options.lease_ms = options.lease_ms.max(LEASE_MS_MIN);
        let metrics = Metrics::register(registry)?;
        let versions = Versions::default();
        Ok(Self { inner: Arc::new(Inner { options, store, clock, metrics, versions }) })
    }

    pub(crate) fn token(&self) -> &Token {
        &self.inner.options.token
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.inner.options.lease_ms)
    }

    /// Claims attempts: one verdict per item, in order. May be repeated with the same nonces.
    ///
    /// # Errors
    /// [`ExecutionError`]; after [`ExecutionError::Unavailable`] some claims may have been granted.
    pub async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ExecutionError> {
        bounded("claims", request.items.len(), ITEMS_MAX)?;
        let now = self.inner.clock.now();
        let claims = self.inner.store.claim(request, self.lease(), now).await?;
        let mut verdicts = Vec::with_capacity(claims.len());
        for claim in claims {
            verdicts.push(match claim {
                Claim::Granted(claimed) => self.grant(*claimed, now).await?,
                Claim::Duplicate => ClaimVerdict::Duplicate,
                Claim::Stale => {
                    self.inner.metrics.stale(Write::Claim, 1);
                    ClaimVerdict::Stale
                }
            });
        }
        Ok(ClaimReply { verdicts })
    }

    async fn grant(
        &self,
        claimed: ClaimedAttempt,
        now: Timestamp,
    ) -> Result<ClaimVerdict, ExecutionError> {
        let version = self.version(&claimed.run.version_hash).await?;
        let Some((version, task)) =
            version.as_ref().and_then(|v| v.task(&claimed.task_id).map(|task| (v, task)))
        else {
            // Dropped by the worker, found by the reaper when the lease ends: the other items of
            // this call must not suffer.
            tracing::error!(
                dag_id = claimed.run.dag_id,
                run_id = claimed.run.run_id,
                task_id = claimed.task_id,
                version = claimed.run.version_hash,
                "a claimed task is not in its run's DAG version"
            );
            return Ok(ClaimVerdict::Stale);
        };
        self.inner.metrics.waited(&task.queue, seconds_between(claimed.queued_at, now));
        if let (1, Some(ended)) = (claimed.try_number, claimed.upstream_ended_at) {
            self.inner.metrics.hopped(seconds_between(ended, now));
        }
        let grant = grant::compose(claimed, &version.spec, task, self.inner.options.lease_ms);
        Ok(ClaimVerdict::Granted(Box::new(grant)))
    }

    async fn version(&self, hash: &str) -> Result<Option<Arc<Version>>, ExecutionError> {
        if let Some(version) = self.inner.versions.get(hash) {
            return Ok(Some(version));
        }
        let Some(spec) = self.inner.store.spec(hash).await? else { return Ok(None) };
        let version = Arc::new(Version::new(spec));
        self.inner.versions.put(hash, Arc::clone(&version));
        Ok(Some(version))
    }

    /// Renews leases: one verdict per attempt, in order.
    ///
    /// # Errors
    /// [`ExecutionError`].
    pub async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatReply, ExecutionError> {
        bounded("leases", request.attempts.len(), ITEMS_MAX)?;
        let now = self.inner.clock.now();
        let verdicts = self.inner.store.heartbeat(request, self.lease(), now).await?;
        let stale = verdicts.iter().filter(|v| **v == LeaseVerdict::Stale).count();
        self.inner.metrics.stale(Write::Heartbeat, stale as u64);
        Ok(HeartbeatReply { verdicts, lease_ms: self.inner.options.lease_ms })
    }

    /// Reads XComs.
    ///
    /// # Errors
    /// [`ExecutionError`].
    pub async fn xcom(&self, query: &XcomQuery) -> Result<XcomReply, ExecutionError> {
        bounded("task ids", query.task_ids.len(), ITEMS_MAX)?;
        Ok(self.inner.store.xcoms(query).await?)
    }

    /// Reads a variable.
    ///
    /// # Errors
    /// [`ExecutionError`].
    pub async fn variable(&self, query: &VariableQuery) -> Result<VariableReply, ExecutionError> {
        Ok(VariableReply { value: self.inner.store.variable(&query.key).await? })
    }

    /// Appends logs. Chunks with an old token are dropped and counted.
    ///
    /// # Errors
    /// [`ExecutionError`].
    pub async fn logs(&self, chunks: &LogChunks) -> Result<(), ExecutionError> {
        bounded("log chunks", chunks.chunks.len(), CHUNKS_MAX)?;
        let refused = self.inner.store.append_logs(&chunks.chunks).await?;
        self.inner.metrics.stale(Write::Log, refused);
        Ok(())
    }

    /// The schedulers' public keys.
    ///
    /// # Errors
    /// [`ExecutionError`].
    pub async fn keys(&self) -> Result<KeysReply, ExecutionError> {
        Ok(KeysReply { keys: self.inner.store.keys().await? })
    }
}

fn bounded(what: &str, count: usize, max: usize) -> Result<(), ExecutionError> {
    if count <= max {
        return Ok(());
    }
    Err(ExecutionError::Refused(format!("{count} {what} in one call; send at most {max}")))
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
