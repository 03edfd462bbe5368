//! `task result`: what became of a task.

use std::sync::Arc;

use serde_json::{Value, json};
use tradewind_broker::{ResultBackend, StoredResult};
use tradewind_proto::celery::{Meta, state, wide};

use super::call;
use crate::args::TaskResultArgs;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn result(context: &Context, args: &TaskResultArgs) -> Result<(), Failure> {
    let limit = call::limit(args.timeout)?;
    if args.id.is_empty() {
        return Err(Failure::usage("the task id is empty"));
    }
    let results: Arc<dyn ResultBackend> = context.results().await?;
    if results.kind() == "rpc" {
        return Err(Failure::usage(
            "results of rpc:// go to the process that sent the task and to nobody else; set \
             [results] url to redis:// or postgres:// to read them from anywhere",
        ));
    }
    let found = if args.wait {
        results.wait(&args.id, limit).await?
    } else {
        results.get(&args.id).await?
    };
    let Some(found) = found else {
        if args.wait {
            let text = format!("task {} has not ended within {} s", args.id, args.timeout);
            return Err(Failure::unavailable(text));
        }
        if args.json {
            println!("{}", json!({"task_id": args.id, "status": state::PENDING, "result": null}));
            return Ok(());
        }
        return Err(Failure::new(format!(
            "task {} has no result: it has not ended, is unknown, or its result has expired",
            args.id
        )));
    };
    if args.json {
        let meta = wide::from_slice(&found.meta).map_err(|e| unreadable(&found, e))?;
        println!("{}", wide::to_json(&meta));
        return Ok(());
    }
    print_ended(&found, args.traceback)
}

/// Prints what a task returned, or fails with what went wrong.
pub(super) fn print_ended(found: &StoredResult, traceback: bool) -> Result<(), Failure> {
    let meta = Meta::from_bytes(&found.meta).map_err(|reason| unreadable(found, reason))?;
    if traceback {
        println!("{}", meta.traceback.unwrap_or_default());
        return Ok(());
    }
    match meta.status.as_str() {
        state::SUCCESS => {
            match &meta.result {
                Value::String(text) => println!("{text}"),
                other => println!("{}", wide::to_json(other)),
            }
            Ok(())
        }
        state::FAILURE | state::REVOKED => {
            let why = meta.exception().map_or_else(|| meta.result.to_string(), |e| e.text());
            Err(Failure::new(format!("{}: {why}", meta.status)))
        }
        other => Err(Failure::new(format!("task {} is {other}: {}", found.task_id, meta.result))),
    }
}

fn unreadable(found: &StoredResult, reason: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the result of task {} cannot be read: {reason}", found.task_id))
}
