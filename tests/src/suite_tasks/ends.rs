//! Tasks that end in another way than by a result: failures, rejections, long sleeps.

use serde::Deserialize;
use serde_json::{Value, json};
use tradewind_worker::fleet::{Context, TaskError, Tasks};

use super::{named, numbers, raise};

#[derive(Deserialize)]
struct Sleep {
    i: f64,
}

pub(super) fn register(tasks: &mut Tasks) {
    tasks.add(&named("fail"), async |_, args: Vec<Value>| -> Result<(), _> { Err(expected(args)) });
    tasks.add(
        &named("fail_unpickleable"),
        async |_, (first, _second): (Value, Value)| -> Result<(), _> {
            Err(raise("UnpickleableException", vec![first]))
        },
    );
    tasks.add(&named("raise_error"), async |_, _args: Vec<Value>| -> Result<(), _> {
        Err(TaskError::fail("ValueError", "deliberate error"))
    });
    tasks.add(&named("sleeping"), async |context: Context, Sleep { i }: Sleep| {
        numbers::pause(&context, i).await
    });
    tasks.add(&named("reject_then_succeed"), async |context: Context, (): ()| {
        match context.is_redelivered() {
            true => Ok("second-pass"),
            false => Err(TaskError::Reject { requeue: true, reason: "first pass".to_owned() }),
        }
    });
    tasks.add(&named("reject_without_requeue"), async |_, (): ()| -> Result<(), _> {
        Err(TaskError::reject("rejected"))
    });
}

/// The suite's `ExpectedException`.
pub(super) fn expected(args: Vec<Value>) -> TaskError {
    raise("ExpectedException", [vec![json!("Task expected to fail")], args].concat())
}
