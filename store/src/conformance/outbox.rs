//! What is to be published, once and again.

use std::time::Duration;

use tradewind_proto::AttemptId;

use super::kit::{Bench, Must, dag, t};
use crate::model::Dispatch;

fn ids(dispatches: &[Dispatch]) -> Vec<AttemptId> {
    dispatches.iter().map(|d| d.attempt_id).collect()
}

/// Unsent until marked; gone when claimed.
pub async fn published_once(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[]), ("b", &[])]), "r", 0).await;
    let queued = bench.queue(run, &["a", "b"], 10).await;
    assert!(store.unsent(t(10), 10).await.must().is_empty(), "too young");
    assert_eq!(store.unsent(t(11), 10).await.must(), queued);
    assert_eq!(store.unsent(t(11), 1).await.must().len(), 1);
    store.mark_sent(&[queued[0].attempt_id, AttemptId(uuid::Uuid::now_v7())], t(12)).await.must();
    assert_eq!(ids(&store.unsent(t(99), 10).await.must()), ids(&queued[1..]));
    bench.claim(&queued[1], 13).await;
    assert!(store.unsent(t(99), 10).await.must().is_empty());
}

/// After base, 2 × base, 4 × base; all at once when the broker has lost everything.
pub async fn published_again_with_backoff(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[]), ("b", &[]), ("c", &[])]), "r", 0).await;
    let queued = bench.queue(run, &["a", "b", "c"], 10).await;
    let base = Duration::from_secs(10);
    let due =
        async |all, limit, at| ids(&store.republishable(base, all, limit, t(at)).await.must());
    assert_eq!(due(true, 10, 11).await, [], "never published");
    store.mark_sent(&[queued[0].attempt_id], t(20)).await.must();
    assert_eq!(due(false, 10, 30).await, []);
    assert_eq!(due(false, 10, 31).await, [queued[0].attempt_id]);
    assert_eq!(due(false, 10, 51).await, [], "twice as long");
    assert_eq!(due(false, 10, 52).await, [queued[0].attempt_id]);
    assert_eq!(due(false, 10, 92).await, []);
    assert_eq!(due(false, 10, 93).await, [queued[0].attempt_id]);
    store.mark_sent(&[queued[1].attempt_id, queued[2].attempt_id], t(94)).await.must();
    bench.claim(&queued[2], 95).await;
    let (one, two) = (due(true, 1, 96).await, due(true, 1, 96).await);
    assert_eq!(due(true, 1, 96).await, [], "all of them are through");
    let mut both = [one, two].concat();
    both.sort();
    let mut expected = ids(&queued[..2]);
    expected.sort();
    assert_eq!(both, expected);
}
