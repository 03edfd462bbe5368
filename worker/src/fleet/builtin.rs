//! Tasks that every Celery worker knows.

use futures::FutureExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tradewind_proto::celery::{Request, Signature};

use super::context::Context;
use super::error::TaskError;
use super::registry::{Outcome, Tasks};
use super::state::Seen;

/// Most items of one `celery.map`.
const MAP_MAX: usize = 100_000;

/// Most chunks of one `celery.chunks`.
const CHUNKS_MAX: usize = 10_000;

pub(crate) fn register(tasks: &mut Tasks) {
    tasks.add("celery.ping", async |_context, (): ()| Ok("pong"));
    tasks.add_raw("celery.accumulate", |context| {
        std::future::ready(accumulate(context.request())).boxed()
    });
    tasks.add_raw("celery.map", |context| map(context, false).boxed());
    tasks.add_raw("celery.starmap", |context| map(context, true).boxed());
    tasks.add_raw("celery.chunks", |context| chunks(context).boxed());
    tasks.add("celery.backend_cleanup", async |context: Context, (): ()| {
        if let Some(results) = &context.services().results {
            results.sweep().await?;
        }
        Ok(())
    });
    for (name, kind) in
        [("celery.chain", "chain"), ("celery.group", "group"), ("celery.chord", "chord")]
    {
        tasks.add_raw(name, move |context| canvas(context, kind).boxed());
    }
}

/// `celery.accumulate(*args, index=None)`.
fn accumulate(request: &Request) -> Outcome {
    let args = Value::Array(request.args.clone());
    match request.kwargs.get("index").and_then(Value::as_u64) {
        None => Ok(args),
        Some(index) => usize::try_from(index)
            .ok()
            .and_then(|index| request.args.get(index).cloned())
            .ok_or_else(|| TaskError::fail("IndexError", "tuple index out of range")),
    }
}

#[derive(Deserialize)]
struct MapArgs {
    task: Signature,
    it: Vec<Value>,
}

/// `celery.map(task, it)`: runs the task here for each item and returns all results.
async fn map(context: Context, star: bool) -> Outcome {
    let request = context.request();
    let MapArgs { task, it } = super::args::read(&request.args, &request.kwargs)
        .map_err(|error| TaskError::fail("TypeError", error.0))?;
    if it.len() > MAP_MAX {
        let text = format!("{} items, at most {MAP_MAX}; use chunks", it.len());
        return Err(TaskError::fail("ValueError", text));
    }
    let tasks = context.services().tasks.clone();
    let Some(registered) = tasks.get(&task.task) else {
        return Err(TaskError::Fail(not_registered(&task.task)));
    };
    let mut results = Vec::with_capacity(it.len());
    for item in it {
        let args = match item {
            Value::Array(args) if star => args,
            other => vec![other],
        };
        let args = [task.args.clone(), args].concat();
        let inner = Request {
            task: task.task.clone(),
            args,
            kwargs: task.kwargs.clone(),
            embed: tradewind_proto::celery::Embed::default(),
            ..request.clone()
        };
        let seen = Seen {
            request: inner,
            queue: context.queue().into(),
            redelivered: context.is_redelivered(),
            received: tradewind_proto::Timestamp::UNIX_EPOCH,
        };
        results.push(registered.call(context.stand_in(seen)).await?);
    }
    Ok(Value::Array(results))
}

#[derive(Deserialize)]
struct ChunksArgs {
    task: Value,
    it: Vec<Value>,
    n: usize,
}

/// `celery.chunks(task, it, n)`: sends a group of `celery.starmap`, each with at most `n` items, and returns
/// the group's result tuple.
async fn chunks(context: Context) -> Outcome {
    let request = context.request();
    let ChunksArgs { task, it, n } = super::args::read(&request.args, &request.kwargs)
        .map_err(|error| TaskError::fail("TypeError", error.0))?;
    let parts = it.chunks(n.max(1));
    if n == 0 || it.is_empty() || parts.len() > CHUNKS_MAX {
        let found = format!("{} items in chunks of {n}", it.len());
        let text =
            format!("{found}: use at least one item, n >= 1, and at most {CHUNKS_MAX} chunks");
        return Err(TaskError::fail("ValueError", text));
    }
    let part = |items: &[Value]| {
        Signature::new("celery.starmap").kwarg("task", task.clone()).kwarg("it", json!(items))
    };
    let group = Signature::group(parts.map(part));
    Ok(json!(context.send(group).await?.to_value()))
}

pub(super) fn not_registered(task: &str) -> super::error::Failure {
    super::error::Failure::new("NotRegistered", task).module("celery.exceptions")
}

/// A canvas that was sent as a task of its own: it is applied.
async fn canvas(context: Context, kind: &'static str) -> Outcome {
    let request = context.request();
    let mut kwargs: Map<String, Value> = request.kwargs.clone();
    let names: &[&str] = if kind == "chord" { &["header", "body"] } else { &["tasks"] };
    for (name, value) in names.iter().zip(&request.args) {
        kwargs.insert((*name).to_owned(), value.clone());
    }
    let signature = Signature {
        task: request.task.clone(),
        kwargs,
        subtask_type: Some(kind.to_owned()),
        ..Signature::default()
    };
    Ok(json!(context.send(signature).await?.to_value()))
}
