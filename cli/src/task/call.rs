//! The words of `task send` as a request. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tradewind_proto::celery::{Request, wide};

use crate::admin::parse_date;
use crate::args::TaskSendArgs;
use crate::failure::Failure;

/// Longest task id that every result backend can store.
const ID_CHARS_MAX: usize = 155;
/// Furthest countdown or expiry, seconds: ten years.
const SECONDS_MAX: f64 = 10.0 * 366.0 * 86_400.0;

/// Builds the request that the arguments describe.
pub(super) fn request(args: &TaskSendArgs, id: String, now: Timestamp) -> Result<Request, Failure> {
    if args.name.is_empty() {
        return Err(Failure::usage("the task name is empty"));
    }
    if id.is_empty() || id.chars().count() > ID_CHARS_MAX {
        return Err(Failure::usage(format!("--id must have 1 to {ID_CHARS_MAX} characters")));
    }
    let mut request = Request::new(args.name.clone(), id);
    request.args = match json("--args", &args.args)? {
        Value::Array(items) => items,
        _ => return Err(Failure::usage("--args must be a JSON array, as in '[1, 2]'")),
    };
    request.kwargs = match json("--kwargs", &args.kwargs)? {
        Value::Object(map) => map,
        _ => return Err(Failure::usage("--kwargs must be a JSON object, as in '{\"x\": 1}'")),
    };
    request.eta = match (&args.eta, args.countdown) {
        (Some(eta), _) => Some(parse_date(eta)?),
        (None, Some(seconds)) => Some(after("--countdown", now, seconds)?),
        (None, None) => None,
    };
    request.expires = match &args.expires {
        Some(text) => Some(match text.parse::<f64>() {
            Ok(seconds) => after("--expires", now, seconds)?,
            Err(_) => parse_date(text)?,
        }),
        None => None,
    };
    for (option, limit) in
        [("--time-limit", args.time_limit), ("--soft-time-limit", args.soft_time_limit)]
    {
        if limit.is_some_and(|seconds| !(seconds > 0.0 && seconds <= SECONDS_MAX)) {
            return Err(Failure::usage(format!("{option} must be more than 0 seconds")));
        }
    }
    request.time_limit = args.time_limit;
    request.soft_time_limit = args.soft_time_limit;
    request.ignore_result = args.ignore_result;
    Ok(request)
}

fn json(option: &str, text: &str) -> Result<Value, Failure> {
    wide::from_slice(text.as_bytes())
        .map_err(|error| Failure::usage(format!("{option} is not valid JSON: {error}")))
}

fn after(option: &str, now: Timestamp, seconds: f64) -> Result<Timestamp, Failure> {
    let refuse = || Failure::usage(format!("{option} {seconds} is out of range"));
    if !seconds.is_finite() || seconds.abs() > SECONDS_MAX {
        return Err(refuse());
    }
    now.checked_add(SignedDuration::from_secs_f64(seconds)).map_err(|_| refuse())
}

/// A limit given in seconds.
pub(super) fn limit(seconds: f64) -> Result<Duration, Failure> {
    if seconds > 0.0 && seconds <= SECONDS_MAX {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Failure::usage(format!("--timeout {seconds} is not valid: use more than 0 seconds")))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::args::{Cli, Command, FleetCommand, TaskCommand};

    fn read(words: &[&str]) -> Result<Request, Failure> {
        let words = ["tradewind", "task", "send", "t.add"].into_iter().chain(words.iter().copied());
        let cli = Cli::try_parse_from(words).expect("parsed");
        let Command::Fleet(FleetCommand::Task(TaskCommand::Send(args))) = cli.command else {
            panic!("another command")
        };
        request(&args, "id".to_owned(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn words_become_a_request() {
        let request = read(&[
            "--args",
            "[1, 2]",
            "--kwargs",
            r#"{"x": null}"#,
            "--countdown",
            "1.5",
            "--expires",
            "60",
            "--time-limit",
            "9",
        ])
        .expect("valid");
        assert_eq!((request.task.as_str(), request.id.as_str()), ("t.add", "id"));
        assert_eq!(request.args, [json!(1), json!(2)]);
        assert_eq!(request.kwargs.get("x"), Some(&Value::Null));
        assert_eq!(request.eta.map(|at| at.as_millisecond()), Some(1500));
        assert_eq!(request.expires.map(|at| at.as_second()), Some(60));
        assert_eq!(request.time_limit, Some(9.0));
        let at = read(&["--eta", "2024-01-31T10:00"]).expect("valid").eta.expect("a time");
        assert_eq!(at.to_string(), "2024-01-31T10:00:00Z");
    }

    #[test]
    fn refusals_name_the_option() {
        for (words, expected) in [
            (&["--args", "{}"][..], "--args must be a JSON array"),
            (&["--args", "[1"], "--args is not valid JSON"),
            (&["--kwargs", "[]"], "--kwargs must be a JSON object"),
            (&["--countdown", "1e300"], "--countdown"),
            (&["--expires", "soon"], "is not a date"),
            (&["--time-limit", "0"], "--time-limit"),
        ] {
            let error = read(words).expect_err("refused");
            assert!(error.text.contains(expected) && error.code == 2, "{error}");
        }
    }
}
