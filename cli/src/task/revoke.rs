//! `task revoke`: durable where the fleet shares facts, and told to the workers that are online.

use std::time::Duration;

use serde_json::{Value, json};
use tradewind_broker::coordination::Revoked;
use tradewind_proto::celery::ControlRequest;

use super::call;
use crate::args::TaskRevokeArgs;
use crate::context::Context;
use crate::failure::Failure;

/// How long a revoked id is remembered: Celery's three hours would be too short for a task that is
/// far in the future.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);

pub(crate) async fn revoke(context: &Context, args: TaskRevokeArgs) -> Result<(), Failure> {
    let limit = call::limit(args.timeout)?;
    let coordinator = context.coordinator().await?;
    let revoked: Vec<Revoked> =
        args.ids.iter().map(|id| Revoked { id: id.clone(), terminate: args.terminate }).collect();
    let shared = coordinator.shared();
    if shared {
        coordinator.revoke(&revoked, REMEMBERED).await?;
    }
    let request = ControlRequest {
        method: "revoke".to_owned(),
        arguments: arguments(&args),
        ..ControlRequest::default()
    };
    let bus = context.bus().await?;
    let replies = bus.ask(request, limit, None).await;
    bus.close().await;
    let told = match replies {
        Ok(replies) => replies.len(),
        // What is written down holds without the broadcast.
        Err(error) if shared => {
            eprintln!("workers could not be told ({error}); they look when they take the task");
            0
        }
        Err(error) => return Err(error.into()),
    };
    let tasks = if args.ids.len() == 1 { "task" } else { "tasks" };
    let nodes = if told == 1 { "worker" } else { "workers" };
    println!("{} {tasks} revoked; {told} {nodes} answered", args.ids.len());
    if !shared && told == 0 {
        return Err(Failure::unavailable(
            "no worker answered and there is no place to write it down; set [state] url to redis:// \
             or postgres:// so that revoked tasks are remembered by all",
        ));
    }
    Ok(())
}

fn arguments(args: &TaskRevokeArgs) -> serde_json::Map<String, Value> {
    let arguments =
        json!({"task_id": args.ids, "terminate": args.terminate, "signal": args.signal});
    match arguments {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
