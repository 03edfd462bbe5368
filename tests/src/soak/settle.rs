//! Finds out what became of every task of a soak.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use tradewind_broker::StoredResult;
use tradewind_broker::client::Client;

use super::offer::waiting;
use super::trouble::Trouble;
use super::{Account, Kind, Letters, Queues, Sent};

/// Tasks, or dead letters, looked up in one go.
const BATCH: usize = 500;
/// How long nothing may change before what is missing counts as lost: several leases, and the longest wait
/// between two tries to reach a server.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Most lost ids in the account.
const MISSING_MAX: usize = 10;

/// Waits until every task has ended, or nothing has changed for long.
pub(super) async fn settle(
    client: &Client,
    queues: &Queues,
    sent: &[Sent],
    account: &mut Account,
    trouble: &Trouble,
) {
    account.offered = sent.len();
    // Poison and what nobody can read end as dead letters; the others have results.
    let is_letter = |one: &&Sent| matches!(one.kind, Kind::Poison | Kind::Unreadable);
    let (doomed, mut open): (Vec<&Sent>, Vec<&Sent>) = sent.iter().partition(is_letter);
    let dead: BTreeSet<&str> = of_kind(&doomed, Kind::Poison);
    let mut changed = (Instant::now(), (usize::MAX, 0, 0));
    while changed.0.elapsed() < PATIENCE {
        let left = waiting(client, queues).await;
        // Looking up a million results that are not there yet would only slow the workers down.
        if left == 0 || changed.0.elapsed() > PATIENCE / 2 {
            open = look(client, open, account).await;
        }
        account.letters = letters(client, queues, &dead).await;
        if open.is_empty() && account.letters.sum() >= doomed.len() {
            break;
        }
        let now = (open.len(), account.letters.sum(), left);
        if now != changed.1 {
            changed = (Instant::now(), now);
        }
        let letters = account.letters.sum();
        trouble.tell(|| format!("{left} wait, {} not ended, {letters} dead letters", open.len()));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // Who waits for a task that was taken for poison is told that it failed.
    account.lost = open.len() + doomed.len().saturating_sub(account.letters.sum());
    account.missing = open.iter().take(MISSING_MAX).map(|one| one.id.clone()).collect();
}

fn of_kind<'a>(sent: &[&'a Sent], kind: Kind) -> BTreeSet<&'a str> {
    sent.iter().filter(|one| one.kind == kind).map(|one| one.id.as_str()).collect()
}

/// Counts those that have ended; the others.
async fn look<'a>(client: &Client, open: Vec<&'a Sent>, account: &mut Account) -> Vec<&'a Sent> {
    let mut left = Vec::new();
    for batch in open.chunks(BATCH) {
        let looks = batch.iter().map(|one| client.results().get(&one.id));
        for (one, found) in batch.iter().zip(join_all(looks).await) {
            let Some(stored) = found.ok().flatten() else {
                left.push(*one);
                continue;
            };
            match (stored.state.as_str(), one.kind) {
                ("SUCCESS", Kind::Retrying) => {
                    account.succeeded += 1;
                    account.retried += usize::from(was_retried(&stored));
                }
                ("SUCCESS", _) => account.succeeded += 1,
                ("FAILURE", Kind::Failing) => account.failed += 1,
                // Taken for poison: counted as the letter that it is.
                ("FAILURE", _) => {}
                _ => left.push(*one),
            }
        }
    }
    left
}

/// `fleet.retry_once` returns how often it was retried.
fn was_retried(stored: &StoredResult) -> bool {
    let meta: Value = serde_json::from_slice(&stored.meta).unwrap_or_default();
    meta["result"] == 1
}

async fn letters(client: &Client, queues: &Queues, poison: &BTreeSet<&str>) -> Letters {
    let (mut found, mut seen) = (Letters::default(), BTreeSet::new());
    for queue in [&queues.main, &queues.ward] {
        let mut after = None::<String>;
        loop {
            let page = client.broker().dead_letters(queue, BATCH, after.as_deref()).await;
            let page = page.unwrap_or_default();
            for letter in &page {
                if letter.task_id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
                    found.again += 1;
                    continue;
                }
                let known = letter.task_id.as_deref().is_some_and(|id| poison.contains(id));
                match (letter.reason.as_str(), known) {
                    // With the evidence: who died of it.
                    (why, true) if why.contains("workers: celery@victim") => found.poison += 1,
                    (why, false) if why.starts_with("poison") => found.innocent += 1,
                    (why, false) if why.contains("JSON") => found.unreadable += 1,
                    _ => found.other += 1,
                }
            }
            match page.last() {
                Some(last) if page.len() == BATCH => after = Some(last.id.clone()),
                _ => break,
            }
        }
    }
    found
}

/// How many numbers were written more than once.
pub(super) fn twice(ticks: &Path) -> usize {
    let text = std::fs::read_to_string(ticks).unwrap_or_default();
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        *runs.entry(line).or_default() += 1;
    }
    runs.values().filter(|count| **count > 1).count()
}
