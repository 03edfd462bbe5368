//! Tasks that return what they see of their own request.

use serde::Deserialize;
use serde_json::{Value, json};
use tradewind_proto::celery::{Signature, wire_time};
use tradewind_worker::fleet::{Context, TaskError, Tasks};

use super::named;

/// Declared by the suite with limits of 60 and 45 seconds.
const LIMITED: &str = "task_with_declared_time_limits";

#[derive(Deserialize)]
struct Ids {
    i: Value,
}

#[derive(Deserialize)]
struct Collect {
    res: Value,
    i: Value,
}

pub(super) fn register(tasks: &mut Tasks) {
    tasks.add(&named("ids"), async |context: Context, Ids { i }: Ids| Ok(ids(&context, i)));
    tasks.add(&named("collect_ids"), async |context: Context, Collect { res, i }: Collect| {
        Ok(json!([res, ids(&context, i)]))
    });
    tasks.add(&named("return_priority"), async |context: Context, _args: Vec<Value>| {
        Ok(format!("Priority: {}", context.request().priority))
    });
    tasks.add(&named("return_request_eta"), async |context: Context, (): ()| {
        Ok(context.request().eta.map(wire_time))
    });
    for name in ["return_request_time_limits", LIMITED] {
        tasks.add(&named(name), async |context: Context, (): ()| {
            let request = context.request();
            Ok(json!({
                "time_limit": request.time_limit.map(whole),
                "soft_time_limit": request.soft_time_limit.map(whole),
            }))
        });
    }
    tasks.add(&named("replaced_with_me"), async |_, (): ()| Ok(true));
    tasks.add(&named("print_unicode"), async |_, _args: Vec<Value>| Ok(Value::Null));
    tasks.add(&named("return_exception"), async |_, (error,): (Value,)| Ok(json!([error, true])));
    // Canvas as plain data: what a worker in Python would build, and what it would read back.
    for (name, value) in nested() {
        tasks.add_raw(&named(&format!("return_nested_signature_{name}")), move |_| {
            Box::pin(std::future::ready(Ok(value.clone())))
        });
    }
    tasks.add(&named("rebuild_signature"), async |_, (canvas,): (Value,)| rebuild(canvas));
}

fn ids(context: &Context, i: Value) -> Value {
    let request = context.request();
    json!([request.root_id, request.parent_id, i])
}

fn whole(seconds: f64) -> Value {
    if seconds.fract() == 0.0 { json!(seconds as i64) } else { json!(seconds) }
}

/// Every canvas in every other one; its calls lack arguments, and are never sent.
fn nested() -> Vec<(String, Value)> {
    let add = || Signature::new(named("add"));
    let wrap = |kind: &str, inner: Signature| match kind {
        "chain" => Signature::chain([inner]),
        "group" => Signature::group([inner]),
        _ => Signature::chord([inner], add()),
    };
    let kinds = ["chain", "group", "chord"];
    let pairs = kinds.iter().flat_map(|outer| kinds.iter().map(move |inner| (*outer, *inner)));
    pairs
        .map(|(outer, inner)| {
            (format!("{outer}_{inner}"), wrap(outer, wrap(inner, add())).to_value())
        })
        .collect()
}

/// Reads a canvas with all that is in it.
fn rebuild(canvas: Value) -> Result<(), TaskError> {
    let signature =
        Signature::from_value(canvas).map_err(|text| TaskError::fail("TypeError", text))?;
    let lists = ["tasks", "header"].iter().filter_map(|name| signature.kwargs.get(*name));
    let inner = lists.flat_map(|list| match list {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    });
    inner.chain(signature.kwargs.get("body").cloned()).try_for_each(rebuild)
}
