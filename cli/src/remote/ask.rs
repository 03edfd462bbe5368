//! `inspect`, `control`, `status`: send a command, wait for answers, print them.

use std::time::Duration;

use serde_json::{Map, Value};
use tradewind_broker::{ControlBus, Reply};
use tradewind_proto::celery::ControlRequest;

use super::commands::{self, Kind};
use super::reply;
use crate::args::{ControlArgs, InspectArgs, RemoteArgs, StatusArgs};
use crate::config::redact_url;
use crate::context::Context;
use crate::failure::Failure;

/// Longest wait for answers.
const TIMEOUT_MAX: f64 = 86_400.0;

pub(crate) async fn inspect(context: &Context, args: InspectArgs) -> Result<(), Failure> {
    let Some(name) = args.command.filter(|_| !args.list) else { return list(Kind::Inspect) };
    let command = commands::find(Kind::Inspect, &name).map_err(Failure::usage)?;
    let arguments = commands::arguments(command, &args.args).map_err(Failure::usage)?;
    let replies = ask(context, command.name, arguments, &args.remote).await?;
    if args.remote.json {
        println!("{}", by_node(&replies));
        return Ok(());
    }
    for each in &replies {
        print!("{}", reply::text(each, true));
    }
    print!("{}", reply::count(replies.len()));
    Ok(())
}

pub(crate) async fn control(context: &Context, args: ControlArgs) -> Result<(), Failure> {
    let Some(name) = args.command.filter(|_| !args.list) else { return list(Kind::Control) };
    let command = commands::find(Kind::Control, &name).map_err(Failure::usage)?;
    let arguments = commands::arguments(command, &args.args).map_err(Failure::usage)?;
    if command.is_silent() {
        let bus = context.bus().await?;
        let sent = bus.broadcast(request(command.name, arguments, &args.remote)).await;
        bus.close().await;
        sent.map_err(|error| unreachable_broker(context, &error))?;
        println!("{} was sent; workers do not answer it", command.name);
        return Ok(());
    }
    let replies = ask(context, command.name, arguments, &args.remote).await?;
    if args.remote.json {
        let each: Vec<Value> = replies.iter().map(|r| by_node(std::slice::from_ref(r))).collect();
        println!("{}", Value::Array(each));
    } else {
        for each in &replies {
            print!("{}", reply::text(each, true));
        }
    }
    if replies.iter().all(|each| reply::is_error(&each.value)) {
        return Err(Failure::new(format!("no node could do `{}`", command.name)));
    }
    Ok(())
}

pub(crate) async fn status(context: &Context, args: StatusArgs) -> Result<(), Failure> {
    let replies = ask(context, "ping", Map::new(), &args.remote).await?;
    if args.remote.json {
        println!("{}", by_node(&replies));
        return Ok(());
    }
    for each in &replies {
        print!("{}", reply::text(each, false));
    }
    print!("{}", reply::count(replies.len()));
    Ok(())
}

fn list(kind: Kind) -> Result<(), Failure> {
    for command in commands::all(kind) {
        println!(
            "{:<64} {}",
            format!("{} {}", command.name, command.usage).trim_end(),
            command.help
        );
    }
    Ok(())
}

fn by_node(replies: &[Reply]) -> Value {
    replies.iter().map(|each| (each.node.clone(), each.value.clone())).collect()
}

fn request(method: &str, arguments: Map<String, Value>, args: &RemoteArgs) -> ControlRequest {
    let nodes = &args.destination;
    ControlRequest {
        method: method.to_owned(),
        arguments,
        destination: (!nodes.is_empty()).then(|| nodes.clone()),
        ..ControlRequest::default()
    }
}

/// Asks and waits. Nobody answering is a failure (exit 69), as a health check needs it.
async fn ask(
    context: &Context,
    method: &str,
    arguments: Map<String, Value>,
    args: &RemoteArgs,
) -> Result<Vec<Reply>, Failure> {
    if !(args.timeout > 0.0 && args.timeout <= TIMEOUT_MAX) {
        return Err(Failure::usage(format!(
            "--timeout {} is not valid: use more than 0 and at most {TIMEOUT_MAX} seconds",
            args.timeout
        )));
    }
    let bus = context.bus().await?;
    let replies = asked(bus.as_ref(), request(method, arguments, args), args).await;
    bus.close().await;
    let mut replies = replies.map_err(|error| unreachable_broker(context, &error))?;
    if replies.is_empty() {
        return Err(Failure::unavailable(format!(
            "Error: No nodes replied within time constraint: {} to `{method}` in {} s on {}. \
             Is a worker running on this broker?",
            match args.destination.as_slice() {
                [] => "nobody answered".to_owned(),
                nodes => format!("{} did not answer", nodes.join(", ")),
            },
            args.timeout,
            redact_url(context.config.text("broker", "url"))
        )));
    }
    replies.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(replies)
}

async fn asked(
    bus: &dyn ControlBus,
    request: ControlRequest,
    args: &RemoteArgs,
) -> Result<Vec<Reply>, tradewind_broker::Error> {
    let expected = Some(args.destination.len()).filter(|nodes| *nodes > 0);
    bus.ask(request, Duration::from_secs_f64(args.timeout), expected).await
}

fn unreachable_broker(context: &Context, error: &tradewind_broker::Error) -> Failure {
    Failure::unavailable(format!(
        "Error: could not talk to the broker {}: {error}",
        redact_url(context.config.text("broker", "url"))
    ))
}
