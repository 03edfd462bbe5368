//! The result conformance suite on RabbitMQ reply queues.

mod results;

use std::sync::Mutex;

use results::Served;
use tradewind_broker::ResultOptions;
use tradewind_services::{Rabbit, shared};

fn open(url: &str) -> (String, ResultOptions) {
    let options = ResultOptions { broker_url: Some(url.to_owned()), ..ResultOptions::default() };
    ("rpc://".to_owned(), options)
}

async fn on_shared() -> Served {
    Served::shared(shared::amqp_url(), open)
}

async fn on_own() -> Served {
    let server = Rabbit::start().expect("a server");
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
        the_first_end_of_an_attempt_stands,
        an_open_state_is_replaced,
        wait_wakes_at_once,
        wait_passes_over_open_states,
        wait_times_out,
        a_large_result_comes_back_unchanged,
        a_result_over_the_limit_is_refused,
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
    ],
    on_own => [
        inbox_items_survive_a_restart,
        readers_and_waits_go_on_after_a_restart,
    ];
    cannot: [
        parts_come_by_position = "replies go to one asker; Celery has no chords there either",
        a_repeated_part_counts_once = "replies go to one asker; Celery has no chords there either",
        one_of_concurrent_parts_completes = "replies go to one asker; Celery has no chords there either",
        an_abandoned_claim_is_taken_over = "replies go to one asker; Celery has no chords there either",
        a_join_that_is_extended_waits_for_more = "replies go to one asker; Celery has no chords there either",
        a_finished_join_stays_finished = "replies go to one asker; Celery has no chords there either",
        a_lower_token_is_superseded_across_processes = "a worker does not see what others sent to the reply queue; the client fences on arrival",
        results_expire = "a reply lives a day in its client's memory, whatever the ttl",
        results_survive_a_restart = "replies live in the memory of their client",
        a_cut_wait_still_ends = "the reply queue ends with its client's link, and a result sent meanwhile with it",
    ]
}

/// A reply as a Celery worker publishes it: no token, no headers of ours.
#[tokio::test]
async fn a_reply_that_celery_sent_is_read() {
    use lapin::options::BasicPublishOptions;
    use lapin::{BasicProperties, Connection, ConnectionProperties};

    let url = shared::amqp_url();
    let (backend_url, options) = open(&url);
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend =
        tradewind_broker::open_results(&backend_url, &options, clock).await.expect("no error");
    let id = tradewind_services::unique("celery");
    let meta = format!(
        r#"{{"status": "FAILURE", "result": {{"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}}, "traceback": "Traceback", "children": [], "date_done": null, "task_id": "{id}"}}"#
    );
    let link = Connection::connect(&url, ConnectionProperties::default()).await.expect("no error");
    let channel = link.create_channel().await.expect("no error");
    let properties = BasicProperties::default()
        .with_correlation_id(id.as_str().into())
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(1);
    let reply_to = backend.reply_to().expect("a reply queue");
    let publishing = channel.basic_publish(
        "".into(),
        reply_to.into(),
        BasicPublishOptions::default(),
        meta.as_bytes(),
        properties,
    );
    publishing.await.expect("no error").await.expect("no error");
    let limit = std::time::Duration::from_secs(20);
    let found = backend.wait(&id, limit).await.expect("no error").expect("the reply");
    assert_eq!((found.token, found.state.as_str()), (0, "FAILURE"));
    assert_eq!(found.meta, meta.into_bytes());
}

/// A result as Celery's own backend sends it, but for the header with the token.
#[tokio::test]
async fn a_result_has_the_properties_of_celerys() {
    use lapin::options::{BasicGetOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;
    use lapin::{Connection, ConnectionProperties};

    let url = shared::amqp_url();
    let (backend_url, options) = open(&url);
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let backend =
        tradewind_broker::open_results(&backend_url, &options, clock).await.expect("no error");
    let queue = tradewind_services::unique("replies");
    let link = Connection::connect(&url, ConnectionProperties::default()).await.expect("no error");
    let channel = link.create_channel().await.expect("no error");
    let declared = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let declaring = channel.queue_declare(queue.as_str().into(), declared, FieldTable::default());
    declaring.await.expect("no error");
    let result = tradewind_broker::StoredResult {
        task_id: "an id".to_owned(),
        token: 3,
        state: "SUCCESS".to_owned(),
        meta: br#"{"status": "SUCCESS"}"#.to_vec(),
        reply_to: Some(queue.clone()),
    };
    backend.put(result, std::time::Duration::from_secs(60)).await.expect("no error");
    let got = channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
    let got = got.await.expect("no error").expect("the result is confirmed").delivery;
    let sent = got.properties;
    assert_eq!(sent.correlation_id().as_ref().map(ToString::to_string).as_deref(), Some("an id"));
    assert_eq!((*sent.delivery_mode(), *sent.timestamp()), (Some(1), None));
}
