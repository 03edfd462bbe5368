//! Runs `tests/python/fuzz.py` against a Rust worker and judges what became of its messages.

use std::time::{Duration, Instant};

use tradewind_broker::client::{Client, ClientOptions};

use crate::celery::{Setting, Version};

const LIMIT: Duration = Duration::from_secs(90);
const PAGE: usize = 500;

/// At least `count` bad messages, mixed with as many good ones.
///
/// # Panics
/// When a good message does not complete, a bad one is not a dead letter with a reason, one is neither, or
/// the worker ends.
pub async fn fuzz(setting: &Setting, seed: u64, count: usize) {
    let mut worker = setting.rust_worker("celery@rust", &[]);
    let args = [seed.to_string(), count.to_string()];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let sent = setting.script(Version::V5_7, "celery@rust", "fuzz.py", &args);
    let number = |name: &str| usize::try_from(sent[name].as_u64().expect("a number")).expect("few");
    let (bad, odd) = (number("bad"), number("odd"));
    let good = sent["good"].as_array().expect("ids");
    println!("seed {seed}: {} good, {bad} bad and {odd} odd messages", good.len());

    let mut options = ClientOptions::new(setting.broker.clone());
    options.result_url = Some(setting.results.clone());
    let client = Client::connect(options).await.expect("a client");
    for id in good {
        let handle = client.handle(id.as_str().expect("an id"));
        let sum: i64 = handle.result(LIMIT).await.unwrap_or_else(|error| {
            panic!("a good message did not complete: {error}\n{}", worker.log())
        });
        assert_eq!(sum, 3);
    }
    let begun = Instant::now();
    loop {
        let stats = client.broker().stats(&setting.queue).await.expect("stats");
        if (stats.ready, stats.unacked) == (0, 0) {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "messages stay in the queue: {stats:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (mut letters, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = client.broker().dead_letters(&setting.queue, PAGE, after.as_deref()).await;
        let page = page.expect("dead letters");
        after = page.last().map(|letter| letter.id.clone());
        let full = page.len() == PAGE;
        letters.extend(page);
        if !full {
            break;
        }
    }
    let silent: Vec<_> = letters.iter().filter(|letter| letter.reason.is_empty()).collect();
    assert!(silent.is_empty(), "dead letters without a reason: {silent:?}");
    let range = bad..=bad + odd;
    assert!(range.contains(&letters.len()), "{} dead letters, not {range:?}", letters.len());
    assert!(worker.alive(), "the worker goes on:\n{}", worker.log());
}
