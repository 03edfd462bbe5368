//! Tasks that leave marks in Redis, where the suite looks for them.

use redis::AsyncCommands as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tradewind_worker::fleet::{Context, TaskError, Tasks};

use super::{named, numbers};

#[derive(Deserialize)]
struct Echo {
    message: Value,
    #[serde(default = "echo_key")]
    redis_key: String,
}

fn echo_key() -> String {
    "redis-echo".to_owned()
}

#[derive(Deserialize)]
struct GroupId {
    _before: Value,
    #[serde(default = "group_key")]
    redis_key: String,
}

fn group_key() -> String {
    "redis-group-ids".to_owned()
}

#[derive(Deserialize)]
struct Count {
    #[serde(default = "count_key")]
    redis_key: String,
}

fn count_key() -> String {
    "redis-count".to_owned()
}

#[derive(Deserialize)]
struct Record {
    values: Vec<Value>,
    redis_key: String,
}

#[derive(Deserialize)]
struct Labelled {
    request_id: String,
    label: String,
}

pub(super) fn register(tasks: &mut Tasks) {
    tasks.add(&named("redis_echo"), async |_, Echo { message, redis_key }: Echo| {
        push(&redis_key, &text(&message)).await
    });
    tasks.add(&named("redis_echo_group_id"), async |context: Context, call: GroupId| {
        push(&call.redis_key, context.request().group.as_deref().unwrap_or_default()).await
    });
    tasks.add(&named("redis_count"), async |_, Count { redis_key }: Count| count(&redis_key).await);
    tasks.add(&named("sum_and_record"), async |context: Context, call: Record| {
        let Record { values, redis_key } = call;
        let total = numbers::sum(&values)?;
        push(&redis_key, context.id()).await?;
        Ok(total)
    });
    // A foreign worker calls both kinds of errback in the old way: with the id of the failed task.
    for name in ["errback_old_style", "errback_new_style"] {
        tasks.add(&named(name), async |_, (request_id,): (String,)| {
            count(&request_id).await?;
            Ok(request_id)
        });
    }
    for name in ["errback_old_style_with_args", "errback_new_style_with_args"] {
        tasks.add(&named(name), async |_, Labelled { request_id, label }: Labelled| {
            push(&request_id, &label).await
        });
    }
}

/// As redis-py writes a value; bytes come as kombu writes them in JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(typed) if typed.get("__type__") == Some(&json!("bytes")) => {
            typed.get("__value__").map(text).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

/// The Redis that the suite's `get_redis_connection` names.
async fn connection() -> Result<redis::aio::MultiplexedConnection, TaskError> {
    let variable = |name: &str, default: &str| {
        std::env::var(name).ok().filter(|text| !text.is_empty()).unwrap_or(default.to_owned())
    };
    let (host, port) = (variable("REDIS_HOST", "localhost"), variable("REDIS_PORT", "6379"));
    let client = redis::Client::open(format!("redis://{host}:{port}/0"))?;
    Ok(client.get_multiplexed_async_connection().await?)
}

pub(super) async fn push(key: &str, message: &str) -> Result<Value, TaskError> {
    let _length: i64 = connection().await?.rpush(key, message).await?;
    Ok(json!(null))
}

async fn count(key: &str) -> Result<Value, TaskError> {
    let _count: i64 = connection().await?.incr(key, 1).await?;
    Ok(json!(null))
}
