//! The tasks of `tests/python/fleet_app.py`, in Rust, under the same names.

use std::io::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tradewind_worker::fleet::{Context, Failure, Retry, TaskError, Tasks};

/// A number as Python has them: whole ones stay whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    fn with(self, other: Self, whole: fn(i64, i64) -> i64, real: fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Self::Whole(whole(a, b)),
            (a, b) => Self::Real(real(a.real(), b.real())),
        }
    }

    fn real(self) -> f64 {
        match self {
            // Exact below 2^53; sums of tests are small.
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Pair {
    x: Number,
    y: Number,
}

#[derive(Debug, Deserialize)]
struct Mark {
    path: String,
    word: Value,
    #[serde(default)]
    seconds: f64,
}

/// All of them.
pub fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.add("fleet.noop", async |_, (): ()| Ok(Value::Null));
    tasks.add("fleet.add", async |_, p: Pair| Ok(p.x.with(p.y, i64::wrapping_add, |a, b| a + b)));
    tasks.add("fleet.mul", async |_, p: Pair| Ok(p.x.with(p.y, i64::wrapping_mul, |a, b| a * b)));
    tasks.add("fleet.tsum", async |_, (numbers,): (Vec<Number>,)| {
        let zero = Number::Whole(0);
        Ok(numbers.into_iter().fold(zero, |a, b| a.with(b, i64::wrapping_add, |a, b| a + b)))
    });
    // JSON as it is: Python's whole numbers have no bounds.
    tasks.add("fleet.echo", async |_, (value,): (Box<RawValue>,)| Ok(value));
    tasks.add("fleet.return_kwargs", async |_, kwargs: serde_json::Map<String, Value>| Ok(kwargs));
    tasks.add("fleet.sleep", async |context, (seconds,): (Number,)| {
        sleep(&context, seconds.real()).await?;
        Ok(seconds)
    });
    tasks.add("fleet.fail", async |_, (text,): (String,)| -> Result<(), _> {
        Err(TaskError::fail("ValueError", text))
    });
    tasks.add("fleet.retry_once", async |context, (): ()| match context.retries() {
        0 => Err(again(200, 3, None)),
        retries => Ok(retries),
    });
    tasks.add("fleet.retry_always", async |_, (): ()| -> Result<(), _> {
        Err(again(100, 2, Some(Failure::new("KeyError", "never"))))
    });
    tasks.add("fleet.progress", async |context, (seconds,): (Number,)| {
        context.progress(json!({"done": 1, "total": 2})).await?;
        sleep(&context, seconds.real()).await?;
        Ok("done")
    });
    tasks.add("fleet.ids", async |context, (number,): (Value,)| Ok(ids(&context, number)));
    tasks.add("fleet.collect_ids", async |context, (before, number): (Value, Value)| {
        Ok(json!([before, ids(&context, number)]))
    });
    tasks.add("fleet.priority", async |context, (): ()| Ok(context.request().priority));
    tasks.add("fleet.mark", async |context, mark: Mark| {
        write(&mark, "begin", &context)?;
        sleep(&context, mark.seconds).await?;
        write(&mark, "done", &context)?;
        Ok(mark.word)
    });
    tasks.add("fleet.tick", async |_, (path, number): (String, u64)| -> Result<(), TaskError> {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        file.write_all(format!("{number}\n").as_bytes())?;
        Ok(())
    });
    // Poison: whoever runs it dies at once, as of a fault in native code.
    tasks.add("fleet.die", async |_, (): ()| -> Result<(), _> { std::process::abort() });
    tasks
}

fn again(milliseconds: u64, most: u32, because: Option<Failure>) -> TaskError {
    let countdown = Some(Duration::from_millis(milliseconds));
    TaskError::Retry(Box::new(Retry {
        countdown,
        max_retries: Some(most),
        because,
        ..Retry::default()
    }))
}

async fn sleep(context: &Context, seconds: f64) -> Result<(), TaskError> {
    tokio::select! {
        biased;
        reason = context.cancelled() => Err(reason.into()),
        () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => Ok(()),
    }
}

fn ids(context: &Context, number: Value) -> Value {
    let request = context.request();
    json!([number, request.root_id, request.parent_id])
}

fn write(mark: &Mark, state: &str, context: &Context) -> Result<(), TaskError> {
    let word = mark.word.as_str().map_or_else(|| mark.word.to_string(), str::to_owned);
    let mut file = std::fs::File::options().create(true).append(true).open(&mark.path)?;
    // One write: several processes append to the same file.
    file.write_all(format!("{word} {state} {}\n", context.worker()).as_bytes())?;
    Ok(())
}
