//! Claims, leases, losses.

use tradewind_proto::AttemptId;
use tradewind_proto::execution::LeaseVerdict;
use tradewind_proto::state::{OutcomeState, RunState, TaskState};
use uuid::Uuid;

use super::kit::{
    Bench, LEASE, Must, claim_of, dag, entered, new_run, open_limits, outcome, scheduled, start_of,
    t, word,
};
use crate::model::{Claim, Dispatch, RunCommit};

async fn queued(bench: &Bench) -> (Uuid, Dispatch) {
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let dispatch = bench.queue(run, &["a"], 10).await.remove(0);
    (run, dispatch)
}

/// Eight workers got the message: one may run it.
pub async fn one_of_many_claims(bench: &Bench) {
    let (run, d) = queued(bench).await;
    let claims = bench
        .at_once(8, |i, store| {
            let request = claim_of(&d, Uuid::from_u128(i as u128), Uuid::now_v7());
            async move { store.claim(&request, LEASE, t(11)).await.must().remove(0) }
        })
        .await;
    let mut words: Vec<_> = claims.iter().map(word).collect();
    words.sort_unstable();
    assert_eq!(words[7], "granted");
    assert_eq!(words[..7], ["duplicate"; 7]);
    let attempts = bench.store().attempts(run).await.must();
    assert_eq!((attempts.len(), attempts[0].lease_until), (1, Some(t(21))));
}

/// Every answer, and that a repeated call is no duplicate delivery.
pub async fn claim_verdicts(bench: &Bench) {
    let (run, d) = queued(bench).await;
    let (me, nonce) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let wrong = Dispatch { token: d.token + 1, ..d.clone() };
    assert_eq!(word(&bench.claim_as(&wrong, me, nonce, 11).await), "stale");
    let unknown = Dispatch { attempt_id: AttemptId(Uuid::now_v7()), ..d.clone() };
    assert_eq!(word(&bench.claim_as(&unknown, me, nonce, 11).await), "stale");
    assert_eq!(word(&bench.claim_as(&d, me, nonce, 11).await), "granted");
    assert_eq!(word(&bench.claim_as(&d, me, nonce, 13).await), "granted");
    let lease = bench.store().attempts(run).await.must()[0].lease_until;
    assert_eq!(lease, Some(t(23)));
    assert_eq!(word(&bench.claim_as(&d, me, Uuid::from_u128(3), 13).await), "duplicate");
    assert_eq!(word(&bench.claim_as(&d, Uuid::from_u128(9), nonce, 13).await), "duplicate");
    let task = bench.task(run, "a").await;
    let failed = outcome(&d, OutcomeState::Failed, &[]);
    let second = bench.change(run, vec![failed], vec![scheduled(&task)], 14).await;
    assert_eq!(word(&bench.claim_as(&d, me, nonce, 15).await), "duplicate", "it has ended");
    let second = &second.dispatch[0];
    let both = {
        let mut request = claim_of(second, me, nonce);
        request.items.push(request.items[0].clone());
        request.items[1].attempt_id = unknown.attempt_id;
        request
    };
    let claims = bench.store().claim(&both, LEASE, t(16)).await.must();
    assert_eq!(claims.iter().map(word).collect::<Vec<_>>(), ["granted", "stale"]);
    assert!(bench.store().claim(&claim_of_none(), LEASE, t(16)).await.must().is_empty());
}

fn claim_of_none() -> tradewind_proto::execution::ClaimRequest {
    tradewind_proto::execution::ClaimRequest {
        worker: "w".into(),
        instance: Uuid::nil(),
        hostname: "h".into(),
        items: Vec::new(),
    }
}

/// Renewed while heartbeats come; marked and reported until the loss is committed once they do not.
pub async fn leases(bench: &Bench) {
    let store = bench.store();
    let (run, d) = queued(bench).await;
    assert_eq!(bench.beat(&d, 10).await, LeaseVerdict::Stale, "not claimed");
    bench.claim(&d, 11).await;
    assert_eq!(bench.beat(&d, 19).await, LeaseVerdict::Continue);
    let wrong = Dispatch { token: 0, ..d.clone() };
    assert_eq!(bench.beat(&wrong, 19).await, LeaseVerdict::Stale);
    assert!(store.expired_leases(t(29), 10).await.must().is_empty());
    let expired = store.expired_leases(t(30), 10).await.must();
    assert_eq!(expired.len(), 1);
    assert_eq!((expired[0].attempt_id, expired[0].token, expired[0].run), (d.attempt_id, 1, run));
    assert_eq!((expired[0].worker.as_str(), expired[0].claimed_at), ("celery@one", t(11)));
    assert_eq!(bench.beat(&d, 31).await, LeaseVerdict::Stale, "marked");
    assert_eq!(store.expired_leases(t(32), 10).await.must(), expired, "until the end is committed");
    assert!(store.expired_leases(t(32), 0).await.must().is_empty());
    let lost = outcome(&d, OutcomeState::Lost, &[]);
    let again = scheduled(&bench.task(run, "a").await);
    let second = bench.change(run, vec![lost], vec![again], 33).await.dispatch.remove(0);
    assert!(store.expired_leases(t(99), 10).await.must().is_empty());
    assert_eq!(bench.beat(&d, 34).await, LeaseVerdict::Stale);
    assert_eq!(word(&bench.claim(&second, 35).await), "granted");
    assert_eq!(bench.task(run, "a").await.state, TaskState::Running);
}

/// After an outage of our own, leases that ran out meanwhile go on, those marked do not.
pub async fn extending_leases(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[]), ("b", &[]), ("c", &[])]);
    let run = bench.started(&spec, "r", 0).await;
    let queued = bench.queue(run, &["a", "b", "c"], 10).await;
    bench.claim(&queued[0], 0).await;
    assert_eq!(store.expired_leases(t(11), 10).await.must().len(), 1);
    bench.claim(&queued[1], 11).await;
    assert_eq!(store.extend_leases(t(81)).await.must(), 1);
    assert_eq!(store.extend_leases(t(81)).await.must(), 0, "another scheduler adds nothing");
    assert_eq!(store.extend_leases(t(60)).await.must(), 0, "and none makes it shorter");
    let expired = store.expired_leases(t(80), 10).await.must();
    assert_eq!(expired.iter().map(|e| e.attempt_id).collect::<Vec<_>>(), [queued[0].attempt_id]);
    assert_eq!(bench.beat(&queued[1], 80).await, LeaseVerdict::Continue);
}

/// Context that the claim carries: the run, the hop, the newest earlier successful interval.
pub async fn what_a_grant_knows(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[]), ("b", &[]), ("c", &["a", "b"])]);
    for (run_id, at, state) in [
        ("ok", 0, RunState::Success),
        ("bad", 60, RunState::Failed),
        ("later", 600, RunState::Success),
    ] {
        let run = bench.started(&spec, run_id, at).await;
        let expected_version = 1;
        let changes = tradewind_engine::model::Changes {
            run_state: Some((state, "test")),
            ..Default::default()
        };
        let commit = RunCommit { run, expected_version, finished: Vec::new(), changes };
        store.commit(vec![commit], &open_limits(), t(9)).await.must();
    }
    let mut new = new_run("d", "now", 120);
    new.conf.insert("k".into(), 1.into());
    let run = store.trigger(new, t(120)).await.must();
    store.start_runs(vec![start_of(&spec, run.id)], t(121)).await.must();
    let snapshot = bench.load(run.id).await;
    let ended = |i: usize, at| entered(&snapshot.tasks[i], TaskState::Success, t(at));
    let changes = vec![ended(0, 130), ended(1, 125), scheduled(&snapshot.tasks[2])];
    let d = bench.change(run.id, Vec::new(), changes, 131).await.dispatch.remove(0);
    let Claim::Granted(grant) = bench.claim(&d, 132).await else { panic!("refused") };
    assert_eq!((grant.task_id.as_str(), grant.map_index, grant.try_number), ("c", -1, 1));
    assert_eq!((grant.queued_at, grant.upstream_ended_at), (t(131), Some(t(130))));
    assert_eq!(grant.prev_success_interval, Some((t(0), t(60))));
    let row = store.run("d", "now").await.must().expect("exists");
    assert_eq!(grant.run, row);
    assert_eq!(grant.run.start_date, Some(t(121)));
    let listed = store.task_instances(run.id).await.must();
    assert_eq!((listed[2].worker.as_str(), listed[2].start_date), ("celery@one", Some(t(132))));
}

/// Heartbeats are how workers are known.
pub async fn workers_are_listed(bench: &Bench) {
    let store = bench.store();
    let (_, d) = queued(bench).await;
    bench.claim(&d, 11).await;
    bench.beat(&d, 12).await;
    bench.beat(&d, 13).await;
    let workers = store.workers(t(13)).await.must();
    assert_eq!(workers.len(), 1);
    assert_eq!(
        (workers[0].worker.as_str(), workers[0].slots, workers[0].running),
        ("celery@one", 4, 1)
    );
    assert_eq!(
        (workers[0].queues.as_slice(), workers[0].heartbeat_at),
        (&["default".to_owned()][..], t(13))
    );
    assert!(store.workers(t(14)).await.must().is_empty());
}
