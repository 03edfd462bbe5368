//! The hot path, measured: from an outcome in the inbox to the downstream's message at a consumer.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::time::{Duration, Instant};

use common::{World, dag};
use tradewind_broker::{Broker as _, Payload};
use tradewind_proto::sign::KeyRing;
use tradewind_proto::state::OutcomeState;
use tradewind_store::SqliteStore;

const LENGTH: usize = 200;

/// On SQLite with its file on disk. The bound is for an unoptimized build on a busy machine: it
/// catches a hop that waits for a poll, not a slow one.
#[tokio::test(flavor = "multi_thread")]
async fn a_hop_waits_for_no_poll() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("t.db")).unwrap();
    let world = World::on(store, "2026-11-21T00:00:00Z").await;
    let names: Vec<String> = (0..LENGTH).map(|i| format!("t{i:03}")).collect();
    let ups: Vec<Vec<&str>> = (0..LENGTH)
        .map(|i| i.checked_sub(1).map(|up| names[up].as_str()).into_iter().collect())
        .collect();
    let tasks: Vec<(&str, &[&str])> =
        names.iter().zip(&ups).map(|(name, ups)| (name.as_str(), ups.as_slice())).collect();
    world.add(dag("chain", &tasks)).await;
    let scheduler = world.scheduler();
    let mut ring = KeyRing::default();
    ring.insert(world.key.public());
    let mut consumer = world.broker.consume(&["default".to_owned()], 8).await.unwrap();
    world.trigger("chain", "r1").await;
    let mut hops = Vec::new();
    let mut sent: Option<Instant> = None;
    for _ in 0..LENGTH {
        let mut batch = consumer.next_batch(1).await.unwrap();
        hops.extend(sent.map(|at| at.elapsed()));
        let mut delivery = batch.pop().unwrap();
        let Payload::Message(message) = delivery.payload() else { panic!("garbage") };
        let workload = ring.open(&message.body).unwrap();
        let claimed = world.claim(&workload).await.unwrap();
        delivery.ack().await.unwrap();
        let outcome = world.outcome(&workload, &claimed, OutcomeState::Success);
        sent = Some(Instant::now());
        world.send(&outcome).await;
    }
    hops.sort();
    let (p50, p99) = (hops[hops.len() / 2], hops[hops.len() * 99 / 100]);
    println!("outcome sent -> next message received: p50 {p50:?}, p99 {p99:?}, n {}", hops.len());
    assert!(p50 < Duration::from_millis(50), "p50 {p50:?}");
    scheduler.stop().await;
}
