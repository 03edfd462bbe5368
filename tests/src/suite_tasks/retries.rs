//! Tasks that run again.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tradewind_worker::fleet::{Backoff, Context, Failure, Retry, RetryPolicy, TaskError, Tasks};

use super::{named, raise};

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    return_value: Value,
}

#[derive(Deserialize)]
struct Pair {
    foo: i64,
    bar: i64,
}

#[derive(Deserialize)]
struct Labelled {
    foo: i64,
    bar: i64,
    #[serde(default)]
    label: Value,
}

#[derive(Deserialize)]
struct Unpickleable {
    foo: Value,
    #[serde(rename = "bar")]
    _bar: Value,
    #[serde(default)]
    retry_kwargs: Map<String, Value>,
}

/// `*args, expires=…, max_retries=1, countdown=0.1`: only the keywords matter.
fn once(context: &Context) -> Result<(), TaskError> {
    if context.retries() > 0 {
        return Ok(());
    }
    let kwargs = &context.request().kwargs;
    let number = |name: &str, default: f64| kwargs.get(name).map_or(Some(default), Value::as_f64);
    let retry = Retry {
        // None: the task's own wait, as for `countdown=None` in Python.
        countdown: number("countdown", 0.1).and_then(|s| Duration::try_from_secs_f64(s).ok()),
        max_retries: number("max_retries", 1.0).map(|count| count as u32),
        ..Retry::default()
    };
    Err(TaskError::Retry(Box::new(retry)))
}

pub(super) fn register(tasks: &mut Tasks) {
    with_others(tasks);
    tasks.add("auto_retry_class_task", async |context: Context, (): ()| match context.retries() {
        0 => Err(TaskError::fail("ValueError", "")),
        retries => Ok(retries),
    });
    tasks.options("auto_retry_class_task", |options| {
        options.retry = RetryPolicy {
            max: 1,
            delay: Duration::from_secs(1),
            backoff: Backoff::FullJitter,
            on: vec!["ValueError".to_owned()],
            ..RetryPolicy::default()
        };
        options.acks_late = false;
    });
    tasks.add(&named("retry"), async |context: Context, Wanted { return_value }: Wanted| {
        if !return_value.is_null() && context.retries() >= 3 {
            return Ok(return_value);
        }
        Err(again(Duration::from_secs(5), 3, raise("ExpectedException", Vec::new())))
    });
    tasks.add(&named("retry_unpickleable"), async |_, call: Unpickleable| -> Result<(), _> {
        let number = |name: &str| call.retry_kwargs.get(name).and_then(Value::as_f64);
        let wait = Duration::from_secs_f64(number("countdown").unwrap_or(1.0));
        let most = number("max_retries").unwrap_or(3.0) as u32;
        Err(again(wait, most, raise("UnpickleableException", vec![call.foo])))
    });
    for name in ["retry_once", "retry_once_ignore_result", "retry_once_with_result"] {
        tasks.add_raw(&named(name), |context| {
            Box::pin(async move { once(&context).map(|()| json!(context.retries())) })
        });
    }
    tasks.options(&named("retry_once_ignore_result"), |options| options.ignore_result = true);
    tasks.add_raw(&named("retry_once_priority"), |context| {
        Box::pin(async move { once(&context).map(|()| json!(context.request().priority)) })
    });
    tasks.add_raw(&named("retry_once_headers"), |context| {
        Box::pin(async move { once(&context).map(|()| json!(context.request().headers)) })
    });
}

fn soon() -> Retry {
    Retry { countdown: Some(Duration::ZERO), max_retries: Some(1), ..Retry::default() }
}

fn with_others(tasks: &mut Tasks) {
    tasks.add(&named("retry_with_args_after_kwargs"), async |context: Context, call: Labelled| {
        if context.retries() == 0 {
            let args = Some(vec![json!(call.foo + 1), json!(call.bar + 1)]);
            return Err(TaskError::Retry(Box::new(Retry { args, ..soon() })));
        }
        let retries = context.retries();
        Ok(json!({
            "foo": call.foo, "bar": call.bar, "label": call.label, "retries": retries, "is_eager": false,
        }))
    });
    tasks.add(&named("retry_with_kwargs_after_args"), async |context: Context, call: Pair| {
        if context.retries() == 0 {
            let kwargs = Some(Map::from_iter([("foo".to_owned(), json!(call.foo + 1))]));
            return Err(TaskError::Retry(Box::new(Retry { kwargs, ..soon() })));
        }
        let retries = context.retries();
        Ok(json!({"foo": call.foo, "bar": call.bar, "retries": retries, "is_eager": false}))
    });
}

fn again(wait: Duration, most: u32, because: TaskError) -> TaskError {
    let because = match because {
        TaskError::Fail(failure) => failure,
        other => Failure::new("Exception", format!("{other:?}")),
    };
    TaskError::Retry(Box::new(Retry {
        countdown: Some(wait),
        max_retries: Some(most),
        because: Some(because),
        ..Retry::default()
    }))
}
