//! Joins of chords in Celery 5.7's layout: Python workers of the same chord count the same parts.
//!
//! `celery-taskset-meta-<group>` with `.s` (size), `.t` (correction of the size), `.j` (zset of parts,
//! scored by position), `.d` (who was counted) and `.c` (who sends the body; `done` afterwards).

use std::time::Duration;

use ::redis::Script;
use serde_json::{Value, json};
use tradewind_proto::celery::{self, wide};
use uuid::Uuid;

use super::super::{JOIN_CLAIM, JOIN_DONE, Join, JoinPart};
use super::{SERVICE, Shared, redis_error};
use crate::Error;

/// Keys: .j .t .s .d .c. Arguments: task id, part, position, ttl in s, claim, its ttl in s.
/// Returns state (-1 taken, 0 waiting, 1 claimed) and then, if claimed, part and position in turn.
const JOIN: &str = r"
local parts, diff, size, seen, claim = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
if redis.call('GET', claim) == 'done' then return {'-1'} end
local member = ARGV[1] .. ':' .. ARGV[3]
if redis.call('SADD', seen, member) == 1 then redis.call('ZADD', parts, ARGV[3], ARGV[2]) end
for i = 1, 4 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
local wanted = redis.call('GET', size)
if not wanted then return {'0'} end
wanted = tonumber(wanted) + tonumber(redis.call('GET', diff) or 0)
if redis.call('ZCARD', parts) ~= wanted then return {'0'} end
if not redis.call('SET', claim, ARGV[5], 'NX', 'EX', ARGV[6]) then return {'-1'} end
local out = redis.call('ZRANGE', parts, 0, -1, 'WITHSCORES')
table.insert(out, 1, '1')
return out
";

/// Keys: .t .d. Arguments: task id, ttl in s. Who was added stands beside who was counted, so that Celery
/// clears both away.
const EXTEND: &str = r"
if redis.call('SADD', KEYS[2], 'added:' .. ARGV[1]) == 1 then redis.call('INCR', KEYS[1]) end
for i = 1, 2 do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return 1
";

/// Keys: .j .t .s .d .c. Arguments: claim, ttl of the mark in s.
const FINISH: &str = r"
if redis.call('GET', KEYS[5]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SET', KEYS[5], 'done', 'EX', ARGV[2])
return 1
";

#[derive(Debug)]
pub(super) struct JoinScripts {
    join: Script,
    extend: Script,
    finish: Script,
}

impl JoinScripts {
    pub(super) fn new() -> Self {
        Self { join: Script::new(JOIN), extend: Script::new(EXTEND), finish: Script::new(FINISH) }
    }
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_secs_f64().ceil().max(1.0) as u64
}

fn keys(shared: &Shared, group: &str) -> [String; 5] {
    ["j", "t", "s", "d", "c"].map(|part| shared.keys.group(group, part))
}

pub(super) async fn begin(
    shared: &Shared,
    group: &str,
    size: u64,
    ttl: Duration,
) -> Result<(), Error> {
    let [_, _, size_key, _, claim_key] = keys(shared, group);
    ::redis::pipe()
        .atomic()
        // A chord that is applied again is a new run of the same group.
        .del(claim_key)
        .ignore()
        .set_ex(size_key, size, seconds(ttl))
        .ignore()
        .exec_async(&mut shared.connection())
        .await
        .map_err(|e| redis_error("the size of a chord", &e))
}

pub(super) async fn extend(
    shared: &Shared,
    scripts: &JoinScripts,
    group: &str,
    task_id: &str,
    ttl: Duration,
) -> Result<(), Error> {
    let [_, diff, _, seen, _] = keys(shared, group);
    scripts
        .extend
        .key(diff)
        .key(seen)
        .arg(task_id)
        .arg(seconds(ttl))
        .invoke_async::<i64>(&mut shared.connection())
        .await
        .map(drop)
        .map_err(|e| redis_error("one more part of a chord", &e))
}

pub(super) async fn join(
    shared: &Shared,
    scripts: &JoinScripts,
    part: JoinPart,
    ttl: Duration,
) -> Result<Join, Error> {
    let claim = Uuid::new_v4().simple().to_string();
    let value = wide::to_json(&json!([1, part.task_id, part.state, part.result]));
    let [first, rest @ ..] = keys(shared, &part.group);
    let mut call = scripts.join.key(first);
    for key in rest {
        call.key(key);
    }
    call.arg(&part.task_id).arg(value).arg(part.index).arg(seconds(ttl));
    call.arg(&claim).arg(seconds(JOIN_CLAIM));
    let answer: Vec<Vec<u8>> = call
        .invoke_async(&mut shared.connection())
        .await
        .map_err(|e| redis_error("a part of a chord", &e))?;
    let (state, parts) =
        answer.split_first().map_or((&[][..], &[][..]), |(s, p)| (s.as_slice(), p));
    match state {
        b"1" => {
            let parts = parts
                .chunks_exact(2)
                .map(|pair| read_part(&part.group, &pair[0], &pair[1]))
                .collect::<Result<_, _>>()?;
            Ok(Join::Complete { claim, parts })
        }
        b"0" => Ok(Join::Waiting),
        _ => Ok(Join::Taken),
    }
}

/// A part as we or a Python worker wrote it: `[1, task id, state, result]`.
fn read_part(group: &str, value: &[u8], score: &[u8]) -> Result<JoinPart, Error> {
    let bad = |reason: String| Error::Refused {
        service: SERVICE,
        what: format!("a part of chord {group}"),
        reason,
    };
    let parsed = celery::parse_json(value).map_err(|error| bad(error.to_string()))?;
    let Value::Array(members) = parsed else { return Err(bad("it is no array".to_owned())) };
    let Ok([_, Value::String(task_id), Value::String(state), result]) =
        <[Value; 4]>::try_from(members)
    else {
        return Err(bad("it is not [1, task id, state, result]".to_owned()));
    };
    // Python writes "inf" for a task without a position.
    let score = std::str::from_utf8(score).ok().and_then(|text| text.parse::<f64>().ok());
    let index = score.filter(|score| score.is_finite()).map_or(i64::MAX, |score| score as i64);
    Ok(JoinPart { group: group.to_owned(), task_id, index, state, result })
}

pub(super) async fn finish(
    shared: &Shared,
    scripts: &JoinScripts,
    group: &str,
    claim: &str,
) -> Result<(), Error> {
    let [first, rest @ ..] = keys(shared, group);
    let mut call = scripts.finish.key(first);
    for key in rest {
        call.key(key);
    }
    call.arg(claim).arg(seconds(JOIN_DONE));
    call.invoke_async::<i64>(&mut shared.connection())
        .await
        .map(drop)
        .map_err(|e| redis_error("the end of a chord", &e))
}
