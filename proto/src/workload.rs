//! The two binary wire structs: what a scheduler asks a worker to run, and how it ended.
//!
//! Flat by rule (no serde attributes, no optional skipping, no JSON values): a new field means a new
//! frame version.

use jiff::Timestamp;
use uuid::Uuid;

use crate::clock::{from_micros, to_micros};
use crate::codec::{self, Decode, Encode};
use crate::ids::{AttemptId, TaskKey};
use crate::sign::sha256_hex;
use crate::state::OutcomeState;

/// The body of an orchestrated task message: only ids. What to run comes with the claim.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Workload {
    /// [`AttemptId`] as a 128-bit number.
    pub attempt: u128,
    /// Fencing token of the task instance: rises with every attempt.
    pub token: i64,
    /// DAG name.
    pub dag_id: String,
    /// Run name.
    pub run_id: String,
    /// Task name.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// 1 for the first try.
    pub try_number: u32,
    /// Queue that it was routed to.
    pub queue: String,
    /// Inbox of the result backend that wants the outcome.
    pub reply_to: String,
    /// W3C `traceparent` of the task's span, or empty.
    pub trace_parent: String,
    /// When it was queued, microseconds since the epoch.
    pub queued_at: i64,
}

impl Workload {
    /// The attempt's id.
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId(Uuid::from_u128(self.attempt))
    }

    /// The task instance's business key.
    pub fn key(&self) -> TaskKey {
        TaskKey {
            dag_id: self.dag_id.clone(),
            run_id: self.run_id.clone(),
            task_id: self.task_id.clone(),
            map_index: self.map_index,
        }
    }
}

/// One XCom pushed by an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Xcom {
    /// `return_value` or the author's key.
    pub key: String,
    /// The value as JSON text.
    pub json: String,
}

/// How an attempt ended. Applied idempotently: (attempt, token, digest).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// [`AttemptId`] as a 128-bit number.
    pub attempt: u128,
    /// Token of the attempt, as it was claimed.
    pub token: i64,
    /// Internal id of the run (saves the scheduler a lookup), as given by the claim.
    pub run: u128,
    /// Task name.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Index into [`OutcomeState::ALL`].
    state: u8,
    /// When the task's process started, microseconds since the epoch.
    pub started_at: i64,
    /// When it ended, microseconds since the epoch.
    pub ended_at: i64,
    /// Name of the worker (`celery@host` form).
    pub worker: String,
    /// Process id of the task's process, 0 if it had none.
    pub pid: u32,
    /// Error text for people; empty on success.
    pub message: String,
    /// XComs pushed, `return_value` included.
    pub xcoms: Vec<Xcom>,
    /// Task ids to skip, as a branch or short circuit decided.
    pub skip: Vec<String>,
}

/// The parts of an outcome that every attempt has.
#[derive(Debug, Clone)]
pub struct OutcomeHead {
    /// Attempt that ended.
    pub attempt_id: AttemptId,
    /// Its token.
    pub token: i64,
    /// Internal run id.
    pub run: Uuid,
    /// Task name.
    pub task_id: String,
    /// −1 for an ordinary task.
    pub map_index: i32,
    /// Name of the worker.
    pub worker: String,
}

impl Outcome {
    /// An outcome with no XComs, skips or message.
    pub fn new(
        head: OutcomeHead,
        state: OutcomeState,
        started: Timestamp,
        ended: Timestamp,
    ) -> Self {
        let mut out = Self {
            attempt: head.attempt_id.0.as_u128(),
            token: head.token,
            run: head.run.as_u128(),
            task_id: head.task_id,
            map_index: head.map_index,
            state: 0,
            started_at: to_micros(started),
            ended_at: to_micros(ended),
            worker: head.worker,
            pid: 0,
            message: String::new(),
            xcoms: Vec::new(),
            skip: Vec::new(),
        };
        out.set_state(state);
        out
    }

    /// How it ended. An index that this build does not know counts as a failure.
    pub fn state(&self) -> OutcomeState {
        OutcomeState::ALL.get(usize::from(self.state)).copied().unwrap_or(OutcomeState::Failed)
    }

    /// Changes how it ended.
    pub fn set_state(&mut self, state: OutcomeState) {
        let index = OutcomeState::ALL.iter().position(|s| *s == state).unwrap_or(1);
        self.state = u8::try_from(index).unwrap_or(1);
    }

    /// The attempt's id.
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId(Uuid::from_u128(self.attempt))
    }

    /// Internal run id.
    pub fn run_key(&self) -> Uuid {
        Uuid::from_u128(self.run)
    }

    /// When the process started.
    pub fn started(&self) -> Timestamp {
        from_micros(self.started_at)
    }

    /// When it ended.
    pub fn ended(&self) -> Timestamp {
        from_micros(self.ended_at)
    }

    /// Digest of the whole outcome: the same finish sent twice has the same digest.
    pub fn digest(&self) -> String {
        codec::encode(self).map(|bytes| sha256_hex(&bytes)).unwrap_or_default()
    }
}
