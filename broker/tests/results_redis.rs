//! The result conformance suite on Redis with an append-only file.

mod results;

use std::sync::Mutex;

use results::Served;
use tradewind_broker::ResultOptions;
use tradewind_services::{Redis, RedisOptions, shared};

fn open(url: &str) -> (String, ResultOptions) {
    (url.to_owned(), ResultOptions::default())
}

async fn on_shared() -> Served {
    Served::shared(shared::redis_url(), open)
}

async fn on_own() -> Served {
    let server = Redis::start(RedisOptions { appendonly: true }).expect("a server");
    let url = server.url().to_owned();
    let server = Mutex::new(server);
    Served::own(url, open, move || {
        server.lock().expect("the server").restart().expect("a restart");
    })
}

tradewind_broker::result_conformance! {
    on_shared => [
        a_result_is_read_elsewhere,
        a_result_is_read_here,
        a_forgotten_result_is_gone,
        a_lower_token_is_superseded,
        a_lower_token_is_superseded_across_processes,
        the_first_end_of_an_attempt_stands,
        an_open_state_is_replaced,
        wait_wakes_at_once,
        wait_passes_over_open_states,
        wait_times_out,
        results_expire,
        a_large_result_comes_back_unchanged,
        a_result_over_the_limit_is_refused,
        parts_come_by_position,
        a_repeated_part_counts_once,
        one_of_concurrent_parts_completes,
        an_abandoned_claim_is_taken_over,
        a_join_that_is_extended_waits_for_more,
        a_finished_join_stays_finished,
        inbox_keeps_order,
        inbox_batches_are_bounded,
        inboxes_are_separate,
        inbox_wakes_at_once,
        acked_items_stay_gone,
        cancelled_reads_lose_nothing,
        two_readers_share_without_duplicates,
        ten_thousand_small_bodies,
        a_body_of_one_mebibyte,
        items_of_a_dropped_reader_come_again_at_once,
        items_of_a_cut_reader_come_again,
        items_of_a_silent_reader_come_again,
        a_cut_reader_reads_on,
        a_cut_wait_still_ends,
    ],
    on_own => [
        results_survive_a_restart,
        inbox_items_survive_a_restart,
        readers_and_waits_go_on_after_a_restart,
    ];
    cannot: [
    ]
}

/// What a Celery 5 worker writes, and how it announces it.
const CELERY: &str = r#"{"status": "SUCCESS", "result": [1, "zwei"], "traceback": null, "children": [], "date_done": "2026-11-20T10:11:12.131415+00:00", "task_id": "ID"}"#;

#[tokio::test]
async fn a_result_that_celery_wrote_is_read_and_waited_for() {
    let url = shared::redis_url();
    let (backend_url, options) = open(&url);
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend =
        tradewind_broker::open_results(&backend_url, &options, clock).await.expect("no error");
    let id = tradewind_services::unique("celery");
    let key = format!("celery-task-meta-{id}");
    let meta = CELERY.replace("ID", &id);
    let client = redis::Client::open(url).expect("no error");
    let mut link = client.get_multiplexed_async_connection().await.expect("no error");
    let write = async {
        let mut both = redis::pipe();
        both.cmd("SETEX").arg(&key).arg(86_400).arg(&meta).ignore();
        both.cmd("PUBLISH").arg(&key).arg(&meta).ignore();
        both.query_async::<()>(&mut link).await.expect("no error");
    };
    let limit = std::time::Duration::from_secs(20);
    let (found, ()) = tokio::join!(backend.wait(&id, limit), write);
    let found = found.expect("no error").expect("the result");
    assert_eq!((found.token, found.state.as_str()), (0, "SUCCESS"));
    assert_eq!(found.meta, meta.into_bytes());
}

#[tokio::test]
async fn a_result_that_we_wrote_has_celerys_key_members_channel_and_expiry() {
    use futures::StreamExt;

    let url = shared::redis_url();
    let (backend_url, options) = open(&url);
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend =
        tradewind_broker::open_results(&backend_url, &options, clock).await.expect("no error");
    let id = tradewind_services::unique("ours");
    let key = format!("celery-task-meta-{id}");
    let client = redis::Client::open(url).expect("no error");
    let mut news = client.get_async_pubsub().await.expect("no error");
    news.subscribe(&key).await.expect("no error");
    let meta = CELERY.replace("ID", &id);
    let result = tradewind_broker::StoredResult {
        task_id: id.clone(),
        token: 12,
        state: "SUCCESS".to_owned(),
        meta: meta.clone().into_bytes(),
        reply_to: None,
    };
    backend.put(result, std::time::Duration::from_secs(600)).await.expect("no error");
    let mut link = client.get_multiplexed_async_connection().await.expect("no error");
    let stored: String =
        redis::cmd("GET").arg(&key).query_async(&mut link).await.expect("no error");
    let ttl_s: i64 = redis::cmd("TTL").arg(&key).query_async(&mut link).await.expect("no error");
    let told: String =
        news.on_message().next().await.expect("no error").get_payload().expect("no error");
    assert_eq!(told, stored);
    assert!((590..=600).contains(&ttl_s), "{ttl_s}");
    let mut expected: serde_json::Value = serde_json::from_str(&meta).expect("no error");
    expected["tradewind_token"] = 12.into();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stored).expect("no error"), expected);
}

/// Results that are stored together: each gets its own answer, and neither a key of another type nor one
/// that the fence refuses disturbs the rest.
#[tokio::test]
async fn a_burst_is_stored_in_few_calls_with_an_answer_each() {
    const BURST: usize = 600;
    let server = Redis::start(RedisOptions { appendonly: false }).expect("a server");
    let (url, options) = open(server.url());
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend = tradewind_broker::open_results(&url, &options, clock).await.expect("a backend");
    let day = std::time::Duration::from_secs(86_400);
    let result = |number: usize, token: i64| tradewind_broker::StoredResult {
        task_id: format!("burst-{number}"),
        token,
        state: "SUCCESS".to_owned(),
        meta: CELERY.replace("ID", &format!("burst-{number}")).into_bytes(),
        reply_to: None,
    };
    backend.put(result(1, 7), day).await.expect("a newer attempt's result");
    let client = redis::Client::open(server.url()).expect("a client");
    let mut link = client.get_multiplexed_async_connection().await.expect("a link");
    let mut strange = redis::cmd("LPUSH");
    strange.arg("celery-task-meta-burst-2").arg("a list");
    strange.query_async::<()>(&mut link).await.expect("a key of another type");
    let mut reset = redis::cmd("CONFIG");
    reset.arg("RESETSTAT").query_async::<()>(&mut link).await.expect("no error");

    let puts = (0..BURST).map(|number| backend.put(result(number, 3), day));
    let answers = futures::future::join_all(puts).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let expected = match number {
            1 => tradewind_broker::Put::Superseded,
            _ => tradewind_broker::Put::Stored,
        };
        assert_eq!(answer.expect("an answer"), expected, "result {number}");
    }
    for (number, token) in [(0, 3), (1, 7), (2, 3), (BURST - 1, 3)] {
        let found = backend.get(&format!("burst-{number}")).await.expect("no error");
        assert_eq!(found.map(|found| found.token), Some(token), "result {number}");
    }
    let mut info = redis::cmd("INFO");
    let stats: String = info.arg("commandstats").query_async(&mut link).await.expect("no error");
    let calls =
        stats.split("cmdstat_evalsha:calls=").nth(1).and_then(|text| text.split(',').next());
    let calls: usize = calls.and_then(|calls| calls.parse().ok()).expect("a number of calls");
    // How many gather while a call is under way depends on the machine; one by one it would be all of them.
    assert!(calls <= BURST / 20, "{calls} script calls for {BURST} results");
}

/// A take that the server carried out and whose reply got lost: the living reader must still come by
/// the item, because its lease never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_lost_reply_are_not_stranded() {
    let server = Redis::start(RedisOptions { appendonly: false }).expect("a server");
    let proxy = tradewind_services::Proxy::start(server.port()).expect("a proxy");
    let (url, options) = open(&proxy.url(server.url()));
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend = tradewind_broker::open_results(&url, &options, clock).await.expect("a backend");
    let client = redis::Client::open(server.url()).expect("a client");
    let mut link = client.get_multiplexed_async_connection().await.expect("a link");

    let mut inbox = backend.open_inbox("lost").await.expect("an inbox");
    // The first take teaches the server the script; the one that gets lost must be a single request.
    backend.send("lost", vec![b"first".to_vec()]).await.expect("a send");
    let first = inbox.next_batch(1).await.expect("the first item");
    inbox.ack(&[first[0].tag.clone()]).await.expect("an ack");
    backend.send("lost", vec![b"precious".to_vec()]).await.expect("a send");
    server.freeze();
    // The request reaches the frozen server's socket; there is nothing that could tell us when.
    let asked = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(asked, inbox.next_batch(1)).await.is_err());
    proxy.cut();
    server.thaw();
    let mut held: Vec<String> = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while held.is_empty() && std::time::Instant::now() < deadline {
        let mut keys = redis::cmd("KEYS");
        keys.arg("tradewind:inbox:lost:held:*");
        held = keys.query_async(&mut link).await.expect("the keys");
    }
    assert_eq!(held.len(), 1, "the server did not carry out the take");

    proxy.restore();
    let reading = async {
        loop {
            match inbox.next_batch(1).await {
                Ok(batch) => return batch,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
    let limit = std::time::Duration::from_secs(20);
    let batch = tokio::time::timeout(limit, reading).await.expect("the item");
    assert_eq!(batch[0].body, b"precious");
}

/// A chord whose parts end on Python and on our workers: one set of keys, read by both.
#[tokio::test]
async fn a_chord_is_shared_with_python_workers() {
    use tradewind_broker::{Join, JoinPart};

    let ttl = std::time::Duration::from_secs(600);
    let url = shared::redis_url();
    let (backend_url, options) = open(&url);
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend =
        tradewind_broker::open_results(&backend_url, &options, clock).await.expect("no error");
    let group = tradewind_services::unique("group");
    let key = |part: &str| format!("celery-taskset-meta-{group}.{part}");
    let client = redis::Client::open(url).expect("no error");
    let mut link = client.get_multiplexed_async_connection().await.expect("no error");
    // What Celery 5.7 leaves: the size, a part with the bare NaN of Python, one more of unknown place.
    let mut python = redis::pipe();
    python.cmd("SETEX").arg(key("s")).arg(600).arg(2).ignore();
    python.cmd("INCR").arg(key("t")).ignore();
    for (place, task, result) in [("1", "b", "NaN"), ("+inf", "z", "\"last\"")] {
        let part = format!("[1, \"{task}\", \"SUCCESS\", {result}]");
        python.cmd("ZADD").arg(key("j")).arg(place).arg(part).ignore();
        python.cmd("SADD").arg(key("d")).arg(format!("{task}:{place}")).ignore();
    }
    python.query_async::<()>(&mut link).await.expect("no error");

    let ours = |index, task: &str, result| JoinPart {
        group: group.clone(),
        task_id: task.to_owned(),
        index,
        state: "SUCCESS".to_owned(),
        result,
    };
    // Python counted this one before it was delivered here again.
    let again = backend.join(ours(1, "b", 7.into()), ttl).await.expect("no error");
    assert_eq!(again, Join::Waiting);
    let joined = backend.join(ours(0, "a", 5.into()), ttl).await.expect("no error");
    let Join::Complete { claim, parts } = joined else { panic!("not complete but {joined:?}") };
    let found: Vec<_> = parts.iter().map(|p| (p.index, p.task_id.as_str(), &p.result)).collect();
    let last = serde_json::json!("last");
    let expected =
        [(0, "a", &5.into()), (1, "b", &serde_json::Value::Null), (i64::MAX, "z", &last)];
    assert_eq!(found, expected);

    let part: Vec<String> = redis::cmd("ZRANGE")
        .arg(key("j"))
        .arg(0)
        .arg(0)
        .query_async(&mut link)
        .await
        .expect("no error");
    let part: serde_json::Value = serde_json::from_str(&part[0]).expect("what Python can read");
    assert_eq!(part, serde_json::json!([1, "a", "SUCCESS", 5]));
    let held: String =
        redis::cmd("GET").arg(key("c")).query_async(&mut link).await.expect("no error");
    assert_eq!(held, claim);
    backend.finish_join(&group, &claim).await.expect("no error");
    let done: String =
        redis::cmd("GET").arg(key("c")).query_async(&mut link).await.expect("no error");
    assert_eq!(done, "done");
    let left: u8 = redis::cmd("EXISTS")
        .arg(&["j", "t", "s", "d"].map(key))
        .query_async(&mut link)
        .await
        .expect("no error");
    assert_eq!(left, 0);
}
