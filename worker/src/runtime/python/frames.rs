//! The words that cross the control connection: 4-byte big-endian length, then JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tradewind_proto::dag::TaskSpec;
use tradewind_proto::execution::{RunContext, VariableQuery, XcomQuery};
use tradewind_proto::state::OutcomeState;

use crate::runtime::render::{Rendered, Unrendered};

/// Largest frame that a task may send.
const FRAME_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// What an attempt is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::runtime) enum Mode {
    /// Execute the task.
    Run,
    /// Only render its unrendered fields.
    Render,
}

/// First frame, to the attempt.
#[derive(Debug, Serialize)]
pub(super) struct Start<'a> {
    pub(super) mode: Mode,
    pub(super) context: &'a RunContext,
    pub(super) task: &'a TaskSpec,
    pub(super) rendered: &'a [Rendered],
    pub(super) unrendered: &'a [Unrendered],
    pub(super) dag_id: &'a str,
    pub(super) task_id: &'a str,
    pub(super) attempt_id: String,
    pub(super) hostname: &'a str,
    pub(super) trace_parent: &'a str,
    pub(super) xcom_bytes_max: usize,
    pub(super) xcoms_total_bytes_max: usize,
}

/// What an attempt says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said {
    Xcom(XcomQuery),
    Variable(VariableQuery),
    Done(Done),
}

/// Its last words.
#[derive(Debug, Deserialize)]
pub(in crate::runtime) struct Done {
    pub(in crate::runtime) state: OutcomeState,
    #[serde(default)]
    pub(in crate::runtime) message: String,
    #[serde(default)]
    pub(in crate::runtime) xcoms: Vec<Pushed>,
    #[serde(default)]
    pub(in crate::runtime) skip: Vec<String>,
    #[serde(default)]
    pub(in crate::runtime) rendered: Vec<Rendered>,
}

#[derive(Debug, Deserialize)]
pub(in crate::runtime) struct Pushed {
    pub(in crate::runtime) key: String,
    pub(in crate::runtime) json: String,
}

/// Reads a frame; `None` at the end of the connection.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, String> {
    let Ok(length) = from.read_u32().await else { return Ok(None) };
    if length > FRAME_BYTES_MAX {
        return Err(format!("the task sent {length} bytes at once, limit {FRAME_BYTES_MAX}"));
    }
    let mut body = vec![0; length as usize];
    if from.read_exact(&mut body).await.is_err() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&body);
    value.map(Some).map_err(|error| format!("the task's process sent a bad frame: {error}"))
}

/// Writes a frame.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> std::io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame).await
}

/// The answer to a request that failed.
pub(super) fn error(text: &str) -> Value {
    serde_json::json!({"error": text})
}
