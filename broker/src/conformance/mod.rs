//! What every queue driver must do, as one async function per case.
//!
//! A driver's test file implements [`Harness`] and calls [`crate::broker_conformance`] and, for
//! drivers with a server, [`crate::broker_outage_conformance`]. A case that a driver cannot do is
//! listed with its reason in [`UNSUPPORTED`]; it is then not run.

#![allow(missing_docs, reason = "case names say what they check")]

pub mod consuming;
pub mod content;
pub mod graves;
pub mod outage;
pub mod routing;
pub mod settling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::HEADER_SENT_AT;
use uuid::Uuid;

use crate::{Broker, BrokerOptions, Consumer, Delivery, Payload};

/// (driver, case, why): what a driver cannot do.
pub const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("memory", "malformed_arrives_as_such", "messages never leave the process as bytes"),
    (
        "memory",
        "malformed_letters_are_listed_and_come_back_as_bytes",
        "messages never leave the process as bytes",
    ),
    ("memory", "unknown_queue_is_unroutable", "a queue exists from its first message on"),
    ("rabbitmq", "all_queues_are_told", TELLS_NO_QUEUES),
    ("rabbitmq", "strict_order_empties_the_first_queue_first", ORDERS_WHAT_IS_HERE),
    ("rabbitmq", "weights_are_shares", ORDERS_WHAT_IS_HERE),
    ("rabbitmq/quorum", "all_queues_are_told", TELLS_NO_QUEUES),
    ("rabbitmq/quorum", "strict_order_empties_the_first_queue_first", ORDERS_WHAT_IS_HERE),
    ("rabbitmq/quorum", "weights_are_shares", ORDERS_WHAT_IS_HERE),
    (
        "rabbitmq/quorum",
        "the_oldest_message_is_told",
        "looking would move the message to the queue's end",
    ),
    ("rabbitmq/quorum", "priority_goes_first", "quorum queues know no priorities before 4.0"),
    (
        "rabbitmq/quorum",
        "what_is_given_back_keeps_its_place",
        "a quorum queue puts what comes back behind what is ready",
    ),
    ("redis", "unknown_queue_is_unroutable", "a list exists from its first message on"),
    ("redis", "a_delivery_from_before_the_outage_is_stale", "leases outlive connections"),
];

const TELLS_NO_QUEUES: &str = "AMQP has no list of queues; the management API has";
const ORDERS_WHAT_IS_HERE: &str =
    "the server fills the prefetch from all queues; only what has arrived is handed out in order";

/// How long anything may take that should happen soon.
pub const SOON: Duration = Duration::from_secs(10);
/// How long to look for something that must not happen.
pub const QUIET: Duration = Duration::from_millis(300);

/// What a driver's tests provide.
#[async_trait]
pub trait Harness: Send + Sync {
    /// As [`Broker::kind`], with `/variant` where a driver has several.
    fn kind(&self) -> &'static str;
    /// A broker object of its own on the same queues, with priorities on.
    async fn open(&self) -> Arc<dyn Broker>;
    /// As [`Harness::open`], with options changed.
    async fn open_with(
        &self,
        change: &(dyn for<'o> Fn(&'o mut BrokerOptions) + Sync),
    ) -> Arc<dyn Broker>;
    /// Puts bytes that are no valid message into a queue.
    async fn inject_malformed(&self, queue: &str);
    /// Kills the server (`kill -9`).
    async fn kill(&self);
    /// Starts it again on its port and data.
    async fn restart(&self);
    /// Cuts all links; none can be made until [`Harness::restore`].
    async fn cut(&self);
    /// Lets links be made again.
    async fn restore(&self);
}

/// Whether a case is to be run.
pub fn supported(driver: &str, case: &str) -> bool {
    !UNSUPPORTED.iter().any(|(d, c, _)| *d == driver && *c == case)
}

/// Defines one test per case; `$make` is an async function that returns a [`Harness`].
#[macro_export]
macro_rules! broker_conformance {
    ($make:path) => {
        $crate::broker_conformance!(@run $make, consuming:
            messages_arrive_in_order, a_batch_has_at_most_max,
            large_batches_of_any_size_arrive_in_order, prefetch_is_never_exceeded, a_changed_prefetch_loses_nothing,
            pause_gives_back, what_is_given_back_keeps_its_place,
            a_closed_consumer_gives_back_and_returned_ones_stay_settleable,
            two_consumers_share, a_full_queue_does_not_block_another,
            a_cancelled_wait_loses_nothing, priority_goes_first, an_idle_consumer_wakes_fast);
        $crate::broker_conformance!(@run $make, settling:
            ack_removes, release_redelivers_flagged, requeue_at_delays,
            requeue_at_survives_the_consumer, dead_letter_keeps_reason_and_message,
            malformed_arrives_as_such, a_second_settle_is_an_error,
            a_dropped_delivery_comes_back, a_dropped_consumer_gives_back, extend_keeps_it);
        $crate::broker_conformance!(@run $make, content:
            unknown_queue_is_unroutable, stats_peek_and_purge, a_mebibyte_arrives,
            headers_arrive_as_sent, properties_arrive_as_sent, a_large_body_is_refused,
            many_report_each, a_bad_queue_name_is_refused, a_closed_broker_says_so,
            the_incarnation_is_stable);
        $crate::broker_conformance!(@run $make, routing:
            queues_are_added_and_cancelled, a_cancelled_queues_messages_go_back,
            strict_order_empties_the_first_queue_first, weights_are_shares,
            a_routing_key_reaches_the_bound_queues, a_key_that_reaches_no_queue_is_unroutable,
            all_queues_are_told, messages_say_when_they_were_sent, the_oldest_message_is_told);
        $crate::broker_conformance!(@run $make, graves:
            dead_letters_are_listed_page_by_page, replayed_letters_are_as_they_were,
            letters_are_selected_by_id, malformed_letters_are_listed_and_come_back_as_bytes);
    };
    (@run $make:path, $group:ident: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let harness = $make().await;
                if $crate::conformance::supported(
                    $crate::conformance::Harness::kind(&harness),
                    stringify!($case),
                ) {
                    $crate::conformance::$group::$case(&harness).await;
                }
            }
        )+
    };
}

/// As [`broker_conformance`], for cases that kill the server or cut the link: `$make` must return a
/// harness with a server of its own.
#[macro_export]
macro_rules! broker_outage_conformance {
    ($make:path) => {
        $crate::broker_conformance!(@run $make, outage:
            a_killed_server_loses_nothing, a_cut_link_is_mended,
            publishing_while_it_is_away_can_be_retried,
            a_delivery_from_before_the_outage_is_stale);
    };
}

/// A queue name that no other test uses.
pub fn queue(name: &str) -> String {
    format!("{name}-{}", &Uuid::new_v4().simple().to_string()[..10])
}

/// A message that carries `n`.
pub fn message(n: u64) -> TaskMessage {
    TaskMessage::json("tests.case", Uuid::new_v4(), &json!([n]), &json!({}))
}

/// The number of a message made by [`message`].
pub fn number(delivery: &Delivery) -> u64 {
    let message = content_of(delivery);
    let body: serde_json::Value = serde_json::from_slice(&message.body).expect("json body");
    body[0][0].as_u64().expect("a number")
}

pub fn content_of(delivery: &Delivery) -> &TaskMessage {
    match delivery.payload() {
        Payload::Message(message) => message,
        Payload::Malformed { reason, .. } | Payload::Refused { reason, .. } => {
            panic!("no message: {reason}")
        }
    }
}

/// A message without the time that its first publisher noted.
pub fn as_sent(message: &TaskMessage) -> TaskMessage {
    let mut message = message.clone();
    message.headers.remove(HEADER_SENT_AT);
    message
}

/// The next batch; retryable errors are tried again until the deadline.
pub async fn batch(consumer: &mut dyn Consumer, max: usize) -> Vec<Delivery> {
    let wait = async {
        loop {
            match consumer.next_batch(max).await {
                Ok(batch) => return batch,
                Err(error) => assert!(error.is_retryable(), "cannot be retried: {error}"),
            }
        }
    };
    tokio::time::timeout(SOON * 3, wait).await.expect("a delivery before the deadline")
}

/// The next message.
pub async fn one(consumer: &mut dyn Consumer) -> Delivery {
    batch(consumer, 1).await.pop().expect("a batch is never empty")
}

/// The next `count` messages, acked, by number and in order of arrival.
pub async fn drain(consumer: &mut dyn Consumer, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        for mut delivery in batch(consumer, count - numbers.len()).await {
            numbers.push(number(&delivery));
            delivery.ack().await.expect("ack");
        }
    }
    numbers
}

/// Whether nothing arrives for a while.
pub async fn quiet(consumer: &mut dyn Consumer) -> bool {
    tokio::time::timeout(QUIET, consumer.next_batch(1)).await.is_err()
}

/// Waits until a queue has this many ready messages.
pub async fn ready(broker: &dyn Broker, queue: &str, count: u64) {
    let wait = async {
        loop {
            if broker.stats(queue).await.expect("stats").ready == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(SOON, wait).await.is_ok();
    assert!(reached, "{queue} has {:?}, not {count} ready", broker.stats(queue).await);
}

/// Publishes `count` numbered messages.
pub async fn fill(broker: &dyn Broker, queue: &str, count: u64) {
    let batch = (0..count)
        .map(|n| crate::Outgoing { queue: queue.to_owned(), message: message(n) })
        .collect();
    for result in broker.publish_many(batch).await {
        result.expect("published");
    }
}

/// How often each number is there.
pub fn tally(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<u64, usize> {
    let mut tally = BTreeMap::new();
    for number in numbers {
        *tally.entry(number).or_default() += 1;
    }
    tally
}
