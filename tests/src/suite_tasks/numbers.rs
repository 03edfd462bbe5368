//! Sums and products, with Python's view of numbers.

use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tradewind_worker::fleet::{Context, StopReason, TaskError, Tasks};

use super::named;

#[derive(Deserialize)]
struct Add {
    x: Value,
    y: Value,
    #[serde(default)]
    z: Value,
}

#[derive(Deserialize)]
struct Paused {
    numbers: Vec<Value>,
    #[serde(default = "one")]
    pause_time: f64,
}

fn one() -> f64 {
    1.0
}

#[derive(Deserialize)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Deserialize)]
struct Pair {
    x: Value,
    y: Value,
}

#[derive(Deserialize)]
struct One {
    x: Value,
}

#[derive(Deserialize)]
struct Data {
    data: Point,
}

#[derive(Deserialize)]
struct Nums {
    nums: Vec<Value>,
}

pub(super) fn register(tasks: &mut Tasks) {
    tasks.add(&named("identity"), async |_, One { x }: One| Ok(x));
    tasks.add(&named("add"), async |_, Add { x, y, z }: Add| {
        let both = plus(&x, &y)?;
        if z.is_null() || z == json!(0) { Ok(both) } else { plus(&both, &z) }
    });
    for name in ["add_not_typed", "add_ignore_result", "add_with_result"] {
        tasks.add(&named(name), async |_, Pair { x, y }: Pair| plus(&x, &y));
    }
    tasks.options(&named("add_ignore_result"), |options| options.ignore_result = true);
    tasks.add(&named("mul"), async |_, Point { x, y }: Point| Ok(x.wrapping_mul(y)));
    tasks.add(&named("tsum"), async |_, Nums { nums }: Nums| sum(&nums));
    tasks.add(&named("xsum"), async |_, Nums { nums }: Nums| {
        let inner = nums.iter().map(|one| match one {
            Value::Array(list) => sum(list),
            other => Ok(other.clone()),
        });
        sum(&inner.collect::<Result<Vec<_>, _>>()?)
    });
    tasks.add(&named("delayed_sum"), async |context, call: Paused| {
        pause(&context, call.pause_time).await?;
        sum(&call.numbers)
    });
    tasks.add(&named("delayed_sum_with_soft_guard"), async |context, call: Paused| {
        tokio::select! {
            biased;
            reason = context.cancelled() => match reason {
                StopReason::SoftTimeLimit => Ok(json!(0)),
                other => Err(other.into()),
            },
            () = tokio::time::sleep(seconds(call.pause_time)) => sum(&call.numbers),
        }
    });
    for name in ["add_pydantic", "add_pydantic_string_annotations"] {
        tasks.add(&named(name), async |_, Data { data }: Data| {
            Ok(json!({"result": data.x + data.y}))
        });
    }
    tasks.add(&named("write_to_file_and_return_int"), async |_, (path, i): (String, Value)| {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        file.write_all(format!("{i}\n").as_bytes())?;
        Ok(i)
    });
}

/// Python's `+` of numbers, texts and lists.
pub(super) fn plus(x: &Value, y: &Value) -> Result<Value, TaskError> {
    match (x, y) {
        (Value::String(x), Value::String(y)) => Ok(json!(format!("{x}{y}"))),
        (Value::Array(x), Value::Array(y)) => Ok(json!([x.as_slice(), y.as_slice()].concat())),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(json!(a.wrapping_add(b))),
            _ => Ok(json!(a.as_f64().unwrap_or(f64::NAN) + b.as_f64().unwrap_or(f64::NAN))),
        },
        _ => {
            let text = format!("unsupported operand type(s) for +: {x} and {y}");
            Err(TaskError::fail("TypeError", text))
        }
    }
}

pub(super) fn sum(numbers: &[Value]) -> Result<Value, TaskError> {
    numbers.iter().try_fold(json!(0), |total, number| plus(&total, number))
}

pub(super) fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count).unwrap_or_default()
}

/// Sleeps, and hears of it when it is to stop.
pub(super) async fn pause(context: &Context, count: f64) -> Result<(), TaskError> {
    tokio::select! {
        biased;
        reason = context.cancelled() => Err(reason.into()),
        () = tokio::time::sleep(seconds(count)) => Ok(()),
    }
}
