//! Runs `tests/python/fuzz.py` against a Rust worker and judges what became of its messages.

use std::time::{Duration, Instant};

use serde_json::Value;
use tradewind_broker::DeadLetter;
use tradewind_broker::client::{Client, ClientOptions, TaskCall};
use tradewind_proto::names::DEAD_LETTER_SUFFIX;

use crate::celery::{Setting, Version};

const LIMIT: Duration = Duration::from_secs(90);
/// Messages sent in one go.
const PAGE: usize = 500;
/// Dead letters in one page. Large: RabbitMQ reads a queue from its start for each.
const LETTERS: usize = 50_000;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a queue may take until it is empty.
const EMPTY_WITHIN: Duration = Duration::from_secs(600);

/// At least `count` bad messages, mixed with as many good ones.
///
/// # Panics
/// When a good message does not complete, a bad one is not a dead letter with a reason, one is neither, or
/// the worker ends.
pub async fn fuzz(setting: &Setting, seed: u64, count: usize) {
    let mut worker = setting.rust_worker("celery@rust", &[]);
    let sent = Sent::send(setting, seed, count, &[]);
    println!(
        "seed {seed}: {} good, {} bad and {} odd messages",
        sent.good.len(),
        sent.bad,
        sent.odd
    );
    let client = client(setting).await;
    for id in &sent.good {
        let sum: i64 = client.handle(id).result(LIMIT).await.unwrap_or_else(|error| {
            panic!("a good message did not complete: {error}\n{}", worker.log())
        });
        assert_eq!(sum, 3);
    }
    empty(&client, &setting.queue).await;
    let letters = buried(&client, &setting.queue, sent.bad).await;
    let silent: Vec<_> = letters.iter().filter(|letter| letter.reason.is_empty()).collect();
    assert!(silent.is_empty(), "dead letters without a reason: {silent:?}");
    let range = sent.bad..=sent.bad + sent.odd;
    assert!(range.contains(&letters.len()), "{} dead letters, not {range:?}", letters.len());
    assert!(worker.alive(), "the worker goes on:\n{}", worker.log());
}

/// All dead letters, once there are so many: on Redis what a worker has in hand is counted nowhere.
async fn buried(client: &Client, queue: &str, least: usize) -> Vec<DeadLetter> {
    let (begun, grave) = (Instant::now(), format!("{queue}{DEAD_LETTER_SUFFIX}"));
    while client.broker().stats(&grave).await.expect("stats").ready < least as u64 {
        assert!(begun.elapsed() < LIMIT, "there are fewer dead letters than bad messages");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    letters(client, queue).await
}

async fn letters(client: &Client, queue: &str) -> Vec<DeadLetter> {
    let (mut letters, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = client.broker().dead_letters(queue, LETTERS, after.as_deref()).await;
        let page = page.expect("dead letters");
        after = page.last().map(|letter| letter.id.clone());
        let full = page.len() == LETTERS;
        letters.extend(page);
        if !full {
            return letters;
        }
    }
}

/// What the script has sent.
struct Sent {
    good: Vec<String>,
    bad: usize,
    odd: usize,
}

impl Sent {
    fn send(setting: &Setting, seed: u64, count: usize, more: &[&str]) -> Self {
        let args = [seed.to_string(), count.to_string()];
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let sent = setting.script(Version::V5_7, "celery@rust", "fuzz.py", &args);
        let number = |name: &str| usize::try_from(sent[name].as_u64().expect("a number"));
        let ids = sent["good"].as_array().expect("ids").iter().filter_map(Value::as_str);
        Self {
            good: ids.map(str::to_owned).collect(),
            bad: number("bad").expect("few"),
            odd: number("odd").expect("few"),
        }
    }
}

async fn client(setting: &Setting) -> Client {
    let mut options = ClientOptions::new(setting.broker.clone());
    options.result_url = Some(setting.results.clone());
    options.default_queue.clone_from(&setting.queue);
    Client::connect(options).await.expect("a client")
}

async fn empty(client: &Client, queue: &str) {
    let begun = Instant::now();
    loop {
        let stats = client.broker().stats(queue).await.expect("stats");
        if (stats.ready, stats.unacked) == (0, 0) {
            return;
        }
        assert!(begun.elapsed() < EMPTY_WITHIN, "messages stay in the queue: {stats:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How fast one worker empties a queue, in messages per second.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// All of them good.
    pub good: f64,
    /// As many, of which about half are bad or odd; none of them is of megabytes.
    pub mixed: f64,
}

/// Measures what bad messages cost the good ones among them: the same number of messages waits for one
/// worker, once all good and once mixed.
///
/// # Panics
/// When a queue is not emptied.
pub async fn rates(mixed: &Setting, good: &Setting, seed: u64, count: usize) -> Rates {
    let (to_mixed, to_good) = (client(mixed).await, client(good).await);
    // No worker has made it yet, and AMQP drops what leads nowhere.
    let queue = std::slice::from_ref(&mixed.queue);
    to_mixed.broker().declare(queue).await.expect("a queue");
    let sent = Sent::send(mixed, seed, count, &["small"]);
    let all = sent.good.len() + sent.bad + sent.odd;
    let mut left = all;
    while left > 0 {
        let some = left.min(PAGE);
        let calls = (0..some).map(|_| TaskCall::new("fleet.add").args((1, 2))).collect();
        for sent in to_good.send_many(calls).await {
            sent.expect("sent");
        }
        left -= some;
    }
    Rates { good: emptied(good, &to_good, all).await, mixed: emptied(mixed, &to_mixed, all).await }
}

async fn emptied(setting: &Setting, client: &Client, count: usize) -> f64 {
    let begun = Instant::now();
    let _worker = setting.rust_worker("celery@rust", &[("FLEET_EVENTS", "0")]);
    empty(client, &setting.queue).await;
    count as f64 / begun.elapsed().as_secs_f64()
}
