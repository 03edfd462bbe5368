//! `queues list | purge | peek`, and `purge`.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::{Value, json};
use tradewind_broker::{Broker, Error};
use tradewind_proto::celery::Request;
use tradewind_proto::names::DEAD_LETTER_SUFFIX;
use tradewind_store::Store;

use super::time;
use crate::args::PurgeArgs;
use crate::config::Config;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, print, row};

/// Most messages that are shown at once.
const PEEK_MAX: usize = 1000;

/// Lists every queue that a DAG, a route or this configuration names, and those that the broker tells
/// of.
pub(crate) async fn list(context: &Context, format: Format) -> Result<(), Failure> {
    let broker = context.broker().await?;
    let mut queues = context.config.queues();
    queues.extend(of_dags(context).await?);
    let existing = broker.all_queues().await?.unwrap_or_default();
    queues.extend(existing.into_iter().filter(|queue| !queue.ends_with(DEAD_LETTER_SUFFIX)));
    let mut rows = Vec::new();
    // Redis does not know who consumes.
    let consumers = |count: u64| if broker.kind() == "redis" { Value::Null } else { json!(count) };
    for queue in queues {
        let stats = broker.stats(&queue).await?;
        let dead = broker.stats(&format!("{queue}{DEAD_LETTER_SUFFIX}")).await?;
        let oldest = if stats.ready == 0 { None } else { broker.oldest(&queue).await? };
        let age = oldest.map(|sent| context.clock.now().duration_since(sent).as_secs().max(0));
        rows.push(row([
            ("queue", json!(queue)),
            ("ready", json!(stats.ready)),
            ("unacked", json!(stats.unacked)),
            ("consumers", consumers(stats.consumers)),
            ("dead_letters", json!(dead.ready)),
            ("oldest_seconds", json!(age)),
        ]));
    }
    let columns = ["queue", "ready", "unacked", "consumers", "dead_letters", "oldest_seconds"];
    Ok(print(format, &columns, &rows)?)
}

/// Queues of DAGs. A fleet without a metadata store has none.
async fn of_dags(context: &Context) -> Result<BTreeSet<String>, Failure> {
    if !has_store(&context.config) {
        return Ok(BTreeSet::new());
    }
    let store: std::sync::Arc<dyn Store> = context.store().await?;
    let dags = store.dags(false).await?;
    let tasks = dags.iter().flat_map(|dag| dag.spec.tasks.iter());
    Ok(tasks.map(|task| task.queue.clone()).collect())
}

/// Whether there is a metadata store: one that is configured, or the default one that was made.
fn has_store(config: &Config) -> bool {
    let setting = config.setting("database", "url");
    setting.source != "default" || config.under_home("tradewind.db").exists()
}

/// Drops what is ready in queues, after a question.
pub(crate) async fn purge(context: &Context, args: &PurgeArgs) -> Result<(), Failure> {
    let mut queues: BTreeSet<String> = args.queues.iter().chain(&args.listed).cloned().collect();
    if queues.is_empty() {
        queues = context.config.queues();
    }
    queues.retain(|queue| !args.exclude_queues.contains(queue));
    if queues.is_empty() {
        return Err(Failure::usage("no queue is left to purge"));
    }
    let names = queues.iter().cloned().collect::<Vec<_>>().join(", ");
    if !args.force {
        confirm(&format!("Drop all messages that wait in {names}? There is no undo."))?;
    }
    let broker = context.broker().await?;
    let mut dropped = 0;
    for queue in &queues {
        dropped += broker.purge(queue).await?;
    }
    let (count, plural) = (queues.len(), if queues.len() == 1 { "" } else { "s" });
    if dropped == 0 {
        println!("No messages purged from {count} queue{plural}: {names}.");
    } else {
        let messages = if dropped == 1 { "message" } else { "messages" };
        println!("Purged {dropped} {messages} from {count} queue{plural}: {names}.");
    }
    Ok(())
}

fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody can be asked: repeat with --force")));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was dropped")),
    }
}

/// Shows the first messages of a queue.
pub(crate) async fn peek(
    broker: &dyn Broker,
    queue: &str,
    limit: usize,
    format: Format,
) -> Result<(), Failure> {
    let messages = broker.peek(queue, limit.min(PEEK_MAX)).await;
    let messages = messages.map_err(|error: Error| Failure::from(error))?;
    let mut rows = Vec::new();
    for message in &messages {
        let request = Request::decode(message);
        let (args, kwargs, problem) = match &request {
            Ok(request) => (json!(request.args_repr()), json!(request.kwargs_repr()), Value::Null),
            Err(bad) => (Value::Null, Value::Null, json!(bad.reason)),
        };
        let (eta, retries) =
            request.as_ref().map_or((None, 0), |request| (request.eta, request.retries));
        rows.push(row([
            ("id", json!(message.id())),
            ("task", json!(message.task())),
            ("args", args),
            ("kwargs", kwargs),
            ("priority", json!(message.priority)),
            ("retries", json!(retries)),
            ("eta", time(eta)),
            ("bytes", json!(message.body.len())),
            ("problem", problem),
        ]));
    }
    let columns =
        ["id", "task", "args", "kwargs", "priority", "retries", "eta", "bytes", "problem"];
    Ok(print(format, &columns, &rows)?)
}
