//! `dlq list | show | replay | drop`: messages that were given up.

use serde_json::json;
use tradewind_broker::{Broker, DeadLetter, ResultBackend, Selection};
use tradewind_proto::celery::wide;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::{DEAD_LETTER_SUFFIX, HEADER_DEAD_ID};

use super::time;
use crate::args::DlqSelectArgs;
use crate::failure::Failure;
use crate::output::{Format, print, row};

/// Letters read per call, and looked at for `show`: many, as RabbitMQ reads a queue from its start for each.
const PAGE: usize = 10_000;
/// Bytes of a body that are shown.
const BODY_SHOWN_MAX: usize = 64 * 1024;

pub(crate) async fn list(
    broker: &dyn Broker,
    queue: &str,
    limit: usize,
    after: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let letters = broker.dead_letters(queue, limit, after).await?;
    let rows: Vec<_> = letters
        .iter()
        .map(|letter| {
            row([
                ("id", json!(letter.id)),
                ("task", json!(letter.task)),
                ("task_id", json!(letter.task_id)),
                ("queue", json!(letter.queue)),
                ("at", time(letter.at)),
                ("bytes", json!(letter.bytes)),
                ("reason", json!(letter.reason)),
            ])
        })
        .collect();
    Ok(print(format, &["id", "task", "task_id", "queue", "at", "bytes", "reason"], &rows)?)
}

pub(crate) async fn show(broker: &dyn Broker, queue: &str, id: &str) -> Result<(), Failure> {
    let letter = find(broker, queue, id).await?;
    let message = message(broker, queue, &letter).await?;
    let mut shown = json!({
        "id": letter.id, "task": letter.task, "task_id": letter.task_id, "queue": letter.queue,
        "at": time(letter.at), "reason": letter.reason, "bytes": letter.bytes,
    });
    if let Some(message) = message {
        shown["content_type"] = json!(message.content_type);
        shown["headers"] = json!(message.headers);
        let body = &message.body[..message.body.len().min(BODY_SHOWN_MAX)];
        // JSON is shown as such; of anything else what can be read, and of numbers that JSON readers round.
        shown["body"] = wide::from_slice(&message.body)
            .ok()
            .filter(|body| !wide::is_in(body))
            .unwrap_or_else(|| json!(String::from_utf8_lossy(body)));
    }
    println!("{}", serde_json::to_string_pretty(&shown).unwrap_or_default());
    Ok(())
}

async fn find(broker: &dyn Broker, queue: &str, id: &str) -> Result<DeadLetter, Failure> {
    let letters = broker.dead_letters(queue, PAGE, None).await?;
    let named = |letter: &DeadLetter| letter.id == id || letter.task_id.as_deref() == Some(id);
    letters.into_iter().find(named).ok_or_else(|| {
        Failure::not_found(format!(
            "queue {queue:?} has no dead letter {id:?} among its first {PAGE}; `tradewind dlq list {queue}` \
             lists them"
        ))
    })
}

/// The message of a letter; none if it is far behind or was no message.
async fn message(
    broker: &dyn Broker,
    queue: &str,
    letter: &DeadLetter,
) -> Result<Option<TaskMessage>, Failure> {
    let plain = queue.strip_suffix(DEAD_LETTER_SUFFIX).unwrap_or(queue);
    let messages = broker.peek(&format!("{plain}{DEAD_LETTER_SUFFIX}"), PAGE).await?;
    Ok(messages.into_iter().find(|message| {
        let own = message.header_str(HEADER_DEAD_ID);
        own == Some(&letter.id) || (own.is_none() && message.id() == letter.task_id.as_deref())
    }))
}

pub(crate) async fn replay(
    broker: &dyn Broker,
    results: &dyn ResultBackend,
    args: &DlqSelectArgs,
) -> Result<(), Failure> {
    forget(broker, results, args).await?;
    let count = broker.replay(&args.queue, &selection(args)).await?;
    ended("put back", args, count)
}

/// Drops the results that say why the letters are dead: an end is never overwritten, so theirs would
/// hide how they end now.
async fn forget(
    broker: &dyn Broker,
    results: &dyn ResultBackend,
    args: &DlqSelectArgs,
) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let letters = broker.dead_letters(&args.queue, PAGE, after.as_deref()).await?;
        for letter in &letters {
            let Some(task_id) = &letter.task_id else { continue };
            if args.all || args.ids.contains(&letter.id) || args.ids.contains(task_id) {
                results.forget(task_id).await?;
            }
        }
        match letters.last() {
            Some(last) if letters.len() == PAGE => after = Some(last.id.clone()),
            _ => return Ok(()),
        }
    }
}

pub(crate) async fn drop_letters(broker: &dyn Broker, args: &DlqSelectArgs) -> Result<(), Failure> {
    let count = broker.drop_dead(&args.queue, &selection(args)).await?;
    ended("removed", args, count)
}

fn selection(args: &DlqSelectArgs) -> Selection {
    if args.all { Selection::All } else { Selection::ids(args.ids.iter().cloned()) }
}

fn ended(what: &str, args: &DlqSelectArgs, count: u64) -> Result<(), Failure> {
    if count == 0 && !args.all {
        return Err(Failure::not_found(format!(
            "queue {:?} has no such dead letter; `tradewind dlq list {}` lists them",
            args.queue, args.queue
        )));
    }
    println!("{count} dead letter{} {what}", if count == 1 { "" } else { "s" });
    Ok(())
}
