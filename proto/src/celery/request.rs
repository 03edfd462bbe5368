//! What a worker reads out of a task message, whichever protocol carried it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Signature;
use crate::headers::Headers;
use crate::seal::ENCRYPTED;

/// What follows a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embed {
    /// Sent when it succeeds.
    pub callbacks: Vec<Signature>,
    /// Sent when it fails.
    pub errbacks: Vec<Signature>,
    /// The rest of its chain, **last element first** (as Celery stores it).
    pub chain: Vec<Signature>,
    /// The body of the chord whose header it belongs to.
    pub chord: Option<Signature>,
}

/// A decoded request. Header semantics: Celery's message protocol 2.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Task id.
    pub id: String,
    /// Task name.
    pub task: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
    /// What follows.
    pub embed: Embed,
    /// Python `repr` of the arguments, as sent or made here.
    pub argsrepr: String,
    /// Python `repr` of the keyword arguments.
    pub kwargsrepr: String,
    /// First task of the tree.
    pub root_id: Option<String>,
    /// Task that sent this one.
    pub parent_id: Option<String>,
    /// Group id.
    pub group: Option<String>,
    /// Position in the group.
    pub group_index: Option<i64>,
    /// How often it was retried before.
    pub retries: u32,
    /// Not before.
    pub eta: Option<Timestamp>,
    /// Not after.
    pub expires: Option<Timestamp>,
    /// Hard limit in seconds (`timelimit[0]`).
    pub time_limit: Option<f64>,
    /// Soft limit in seconds (`timelimit[1]`).
    pub soft_time_limit: Option<f64>,
    /// Do not store the result.
    pub ignore_result: bool,
    /// Where an rpc result goes.
    pub reply_to: Option<String>,
    /// `gen<pid>@<host>` of the client.
    pub origin: Option<String>,
    /// Priority of the message.
    pub priority: u8,
    /// Headers that are not ours to read; carried along on retries.
    pub headers: Headers,
}

impl Request {
    /// Whether it came encrypted: what it is about is then told to nobody but its handler.
    pub fn is_hidden(&self) -> bool {
        self.argsrepr == ENCRYPTED
    }
}
