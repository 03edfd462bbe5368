//! Storing results: single calls from many tasks, carried to the server in batches.
//!
//! One background task takes whatever waits and sends it as one script call; while that call is
//! under way the next batch gathers. Idle, a call goes out at once.

use std::time::Duration;

use ::redis::aio::ConnectionManager;
use tokio::sync::{mpsc, oneshot};

use super::super::{Put, meta};
use super::{bad_meta, redis_error};
use crate::Error;
use crate::StoredResult;

/// Calls that may wait for the background task.
const QUEUE_MAX: usize = 8_192;
/// Results in one script call.
const BATCH_MAX: usize = 256;
/// Bytes in one script call, so that large results do not hold the server up together.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Stores metas unless the fence forbids it. Keys: metas. Arguments per meta: value, token, ttl in ms.
/// A foreign meta has token 0; one that cannot be decoded has no say. Tokens are exact up to 2^53.
/// Reply: per meta 1, or 0 when the fence refused it.
const PUT: &str = r"
local reply, written = {}, {}
local stored = redis.call('MGET', unpack(KEYS))
local function refused(old, token)
  local ok, meta = pcall(cjson.decode, old)
  if not ok or type(meta) ~= 'table' then return false end
  local stored, state = tonumber(meta['tradewind_token']) or 0, meta['status']
  local ended = state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED'
  return token < stored or (token == stored and ended)
end
for i, key in ipairs(KEYS) do
  local value, old = ARGV[3 * i - 2], written[key] or stored[i]
  if old and refused(old, tonumber(ARGV[3 * i - 1])) then
    reply[i] = 0
  else
    redis.call('SET', key, value, 'PX', ARGV[3 * i])
    redis.call('PUBLISH', key, value)
    reply[i], written[key] = 1, value
  end
end
return reply
";

/// One result on its way.
#[derive(Debug)]
struct Call {
    key: String,
    value: Vec<u8>,
    token: i64,
    ttl_ms: u64,
    reply: oneshot::Sender<Result<Put, Error>>,
}

/// Sends results to the background task.
#[derive(Debug)]
pub(super) struct Putter {
    calls: mpsc::Sender<Call>,
}

impl Putter {
    /// Starts the background task; it ends with this.
    pub(super) fn start(connection: ConnectionManager) -> Self {
        let (calls, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(connection, waiting));
        Self { calls }
    }

    /// Stores one result under `key` and waits for the server.
    pub(super) async fn put(
        &self,
        key: String,
        result: &StoredResult,
        ttl: Duration,
    ) -> Result<Put, Error> {
        let value = meta::with_token(&result.meta, result.token)
            .map_err(|reason| bad_meta(&result.task_id, reason))?;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let (reply, answer) = oneshot::channel();
        let call = Call { key, value, token: result.token, ttl_ms, reply };
        self.calls.send(call).await.map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

async fn run(mut connection: ConnectionManager, mut waiting: mpsc::Receiver<Call>) {
    let script = ::redis::Script::new(PUT);
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        while !batch.is_empty() {
            let later = batch.split_off(fitting(&batch));
            store(&script, &mut connection, std::mem::replace(&mut batch, later)).await;
        }
    }
}

/// How many of the first calls go together; at least one.
fn fitting(calls: &[Call]) -> usize {
    let mut bytes = 0;
    let fits = |call: &&Call| {
        bytes += call.value.len();
        bytes <= BATCH_BYTES_MAX
    };
    calls.iter().take_while(fits).count().max(1)
}

async fn store(script: &::redis::Script, connection: &mut ConnectionManager, calls: Vec<Call>) {
    let mut invocation = script.prepare_invoke();
    for call in &calls {
        invocation.key(&call.key).arg(&call.value[..]).arg(call.token).arg(call.ttl_ms);
    }
    let stored: Result<Vec<u8>, _> = invocation.invoke_async(connection).await;
    let stored = stored.map_err(|error| redis_error("a result", &error));
    for (place, call) in calls.into_iter().enumerate() {
        let put = match &stored {
            Ok(stored) => match stored.get(place) {
                Some(1) => Ok(Put::Stored),
                Some(_) => Ok(Put::Superseded),
                None => Err(Error::Unavailable {
                    service: super::SERVICE,
                    reason: "the script that stores results answered too little".to_owned(),
                }),
            },
            Err(error) => Err(error.clone()),
        };
        // Whoever asked may have been cancelled; the result is stored all the same.
        let _cancelled = call.reply.send(put);
    }
}
