//! Bodies of the execution API: what a worker asks of the store's side while it runs attempts.
//!
//! Over HTTP: `POST /execution/v1/{claim,heartbeat,xcom,variable,logs,keys}`, JSON, header
//! `Authorization: Bearer <token>`. In one process the same structs are passed directly.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dag::TaskSpec;
use crate::ids::AttemptId;
use crate::state::RunType;

/// Asks for the right to run attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// Worker name (`celery@host` form), for listings.
    pub worker: String,
    /// Id of this worker process's life; a restarted worker has a new one.
    pub instance: Uuid,
    /// Host name.
    pub hostname: String,
    /// What it took from its queues.
    pub items: Vec<ClaimItem>,
}

/// One attempt to claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimItem {
    /// Attempt named by the message.
    pub attempt_id: AttemptId,
    /// Token named by the message.
    pub token: i64,
    /// New for every delivery, the same for every repetition of one call: a call whose answer was
    /// lost may be repeated, a duplicate delivery is told `Duplicate`.
    pub nonce: Uuid,
}

/// Answers in the order of the items.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimReply {
    /// One per item.
    pub verdicts: Vec<ClaimVerdict>,
}

/// What became of a claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// Run it, and heartbeat before the lease ends.
    Granted(Box<Grant>),
    /// Somebody has it, or it has ended: drop the message.
    Duplicate,
    /// Its token is old or it does not exist: drop the message.
    Stale,
}

/// Everything needed to run an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grant {
    /// Milliseconds until the lease ends, counted from the reply.
    pub lease_ms: u64,
    /// The task, from the run's DAG version.
    pub task: Arc<TaskSpec>,
    /// Where its DAG file is, relative to the DAGs folder.
    pub fileloc: String,
    /// Hash of the file when it was parsed; a worker whose file differs has version skew.
    pub source_hash: String,
    /// The run, for templates and the task's context.
    pub context: RunContext,
}

/// The run as its tasks see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunContext {
    /// Internal run id.
    pub run: Uuid,
    /// DAG name.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// How it came to be.
    pub run_type: RunType,
    /// Logical date (execution_date).
    pub logical_date: Option<Timestamp>,
    /// Start of the data interval.
    pub data_interval_start: Option<Timestamp>,
    /// End of the data interval.
    pub data_interval_end: Option<Timestamp>,
    /// Earliest start.
    pub run_after: Timestamp,
    /// When the run started.
    pub start_date: Option<Timestamp>,
    /// Conf of a manual run.
    pub conf: Map<String, Value>,
    /// Params: the DAG's, then the task's, then those named in conf.
    pub params: Map<String, Value>,
    /// 1 for the first try.
    pub try_number: u32,
    /// Retries allowed in all.
    pub max_tries: u32,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// IANA zone of the DAG.
    pub timezone: String,
    /// Direct upstream task ids.
    pub upstream: Vec<String>,
    /// Data interval end of the previous successful run, for `prev_*` names.
    pub prev_success_interval: Option<(Timestamp, Timestamp)>,
}

/// Keeps leases alive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeartbeatRequest {
    /// Worker name.
    pub worker: String,
    /// Worker life.
    pub instance: Uuid,
    /// Host name.
    pub hostname: String,
    /// Queues consumed.
    pub queues: Vec<String>,
    /// Slots in all.
    pub slots: u32,
    /// Attempts that it runs.
    pub attempts: Vec<LeaseItem>,
}

/// One running attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseItem {
    /// The attempt.
    pub attempt_id: AttemptId,
    /// Its token.
    pub token: i64,
}

/// Answers in the order of the attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// One per attempt.
    pub verdicts: Vec<LeaseVerdict>,
    /// Milliseconds of every renewed lease.
    pub lease_ms: u64,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseVerdict {
    /// Renewed.
    Continue,
    /// Stop: somebody cancelled it (cleared, marked, run ended).
    Cancel,
    /// Stop: the lease was lost and the attempt superseded.
    Stale,
}

/// Reads XComs of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct XcomQuery {
    /// DAG name.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// Tasks to read from; empty = all tasks of the run.
    pub task_ids: Vec<String>,
    /// Key; `return_value` unless the author says otherwise.
    pub key: String,
    /// Also look in earlier runs, newest first.
    #[serde(default)]
    pub include_prior_dates: bool,
}

/// XCom values found, in the order of the asked task ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct XcomReply {
    /// (task id, map index, value).
    pub values: Vec<(String, i32, Value)>,
}

/// Reads a variable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariableQuery {
    /// Name.
    pub key: String,
}

/// A variable's text, or null when there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariableReply {
    /// Text as stored.
    pub value: Option<String>,
}

/// Task output, appended in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogChunks {
    /// Chunks of any number of attempts.
    pub chunks: Vec<LogChunk>,
}

/// A piece of one attempt's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogChunk {
    /// The attempt.
    pub attempt_id: AttemptId,
    /// Its token; chunks with an old token are refused.
    pub token: i64,
    /// 0, 1, 2, …: the same number twice is stored once.
    pub seq: u32,
    /// Whole lines, each `2026-11-21T01:02:03.456Z stdout text\n`.
    pub text: String,
}

/// Public keys of the schedulers, for [`crate::sign::KeyRing`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeysReply {
    /// 32 bytes each, base64.
    pub keys: Vec<String>,
}
