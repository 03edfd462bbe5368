//! `inspect`, `control`, `status`: send a command, wait for answers, print them.

use std::time::Duration;

use serde_json::{Map, Value};
use tradewind_broker::{ControlBus, Reply};
use tradewind_proto::celery::ControlRequest;

use super::commands::{self, Kind};
use super::reply;
use crate::args::{ControlArgs, InspectArgs, OutputArgs, RemoteArgs, StatusArgs};
use crate::config::redact_url;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Row, print, row};

/// Longest wait for answers.
const TIMEOUT_MAX: f64 = 86_400.0;

pub(crate) async fn inspect(context: &Context, args: InspectArgs) -> Result<(), Failure> {
    let RemoteArgs { output, .. } = args.remote;
    let Some(name) = args.command.filter(|_| !args.list) else {
        return list(Kind::Inspect, output);
    };
    let command = commands::find(Kind::Inspect, &name).map_err(Failure::usage)?;
    let arguments = commands::arguments(command, &args.args).map_err(Failure::usage)?;
    let replies = ask(context, command.name, arguments, &args.remote).await?;
    if args.remote.json {
        println!("{}", by_node(&replies));
        return Ok(());
    }
    show(&replies, output, true, true)
}

pub(crate) async fn control(context: &Context, args: ControlArgs) -> Result<(), Failure> {
    let RemoteArgs { output, .. } = args.remote;
    let Some(name) = args.command.filter(|_| !args.list) else {
        return list(Kind::Control, output);
    };
    let command = commands::find(Kind::Control, &name).map_err(Failure::usage)?;
    let arguments = commands::arguments(command, &args.args).map_err(Failure::usage)?;
    if command.is_silent() {
        let bus = context.bus().await?;
        let sent = bus.broadcast(request(command.name, arguments, &args.remote)).await;
        bus.close().await;
        sent.map_err(|error| unreachable_broker(context, &error))?;
        if args.remote.json || output.output == Some(Format::Json) {
            println!("[]");
        } else {
            println!("{} was sent; workers do not answer it", command.name);
        }
        return Ok(());
    }
    let replies = ask(context, command.name, arguments, &args.remote).await?;
    if args.remote.json {
        let each: Vec<Value> = replies.iter().map(|r| by_node(std::slice::from_ref(r))).collect();
        println!("{}", Value::Array(each));
    } else {
        show(&replies, output, true, false)?;
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
    show(&replies, args.remote.output, false, true)
}

/// Prints answers: as a listing if a format is asked for, else as Celery does.
fn show(replies: &[Reply], output: OutputArgs, body: bool, count: bool) -> Result<(), Failure> {
    if let Some(format) = output.output {
        let columns = ["worker", "status", "reply"];
        let columns = if body { &columns[..] } else { &columns[..2] };
        let rows: Vec<Row> = replies.iter().map(|each| reply::row(each, body)).collect();
        return Ok(print(format, columns, &rows)?);
    }
    for each in replies {
        print!("{}", reply::text(each, body));
    }
    if count {
        print!("{}", reply::count(replies.len()));
    }
    Ok(())
}

fn list(kind: Kind, output: OutputArgs) -> Result<(), Failure> {
    let all = commands::all(kind);
    let Some(format) = output.output else {
        for command in all {
            let usage = format!("{} {}", command.name, command.usage);
            println!("{:<64} {}", usage.trim_end(), command.help);
        }
        return Ok(());
    };
    let cells = |command: &commands::Command| {
        let (name, usage, help) = (command.name, command.usage, command.help);
        row([("command", name.into()), ("arguments", usage.into()), ("help", help.into())])
    };
    let rows: Vec<Row> = all.map(cells).collect();
    Ok(print(format, &["command", "arguments", "help"], &rows)?)
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
