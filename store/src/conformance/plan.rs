//! Commits: what planners decide, compare-and-set, outcomes.

use tradewind_engine::model::Changes;
use tradewind_proto::execution::LeaseVerdict;
use tradewind_proto::state::{OutcomeState, RunState, TaskState};
use uuid::Uuid;

use super::kit::{
    Bench, LEASE, Must, claim_of, dag, entered, file, new_run, no_changes, open_limits, outcome,
    scheduled, start_of, t, word,
};
use crate::model::{Committed, RunCommit};

/// One commit ends an attempt, schedules the next task and queues it.
pub async fn a_hop(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[]), ("b", &["a"])]), "r", 0).await;
    let first = bench.queue(run, &["a"], 10).await.remove(0);
    assert_eq!((first.task_id.as_str(), first.token, first.try_number), ("a", 1, 1));
    assert_eq!((first.dag_id.as_str(), first.run_id.as_str(), first.run), ("d", "r", run));
    assert_eq!((first.queue.as_str(), first.queued_at), ("default", t(10)));
    let queued = bench.task(run, "a").await;
    assert_eq!((queued.state, queued.attempt_id), (TaskState::Queued, Some(first.attempt_id)));
    assert_eq!(word(&bench.claim(&first, 11).await), "granted");
    let (a, b) = (bench.task(run, "a").await, bench.task(run, "b").await);
    assert_eq!((a.state, a.start_date), (TaskState::Running, Some(t(11))));
    let mut done = outcome(&first, OutcomeState::Success, &[("return_value", "{\"n\":1}")]);
    done.message = "a NUL \0 in it".into();
    let tasks = vec![entered(&a, TaskState::Success, t(21)), scheduled(&b)];
    let report = bench.change(run, vec![done], tasks, 22).await;
    assert_eq!(report.dispatch.len(), 1);
    assert_eq!((report.dispatch[0].task_id.as_str(), report.more), ("b", false));
    let attempts = store.attempts(run).await.must();
    assert_eq!(attempts.len(), 2);
    assert_eq!(
        (attempts[0].outcome, attempts[0].ended_at),
        (Some(OutcomeState::Success), Some(t(22)))
    );
    assert_eq!((attempts[0].claimed_at, attempts[0].worker.as_str()), (Some(t(11)), "celery@one"));
    assert_eq!((attempts[1].outcome, attempts[1].queued_at), (None, t(22)));
    let listed = store.task_instances(run).await.must();
    assert_eq!((listed[0].state, listed[0].pid), (TaskState::Success, 4711));
    assert_eq!((listed[0].hostname.as_str(), listed[0].queued_at), ("one", Some(t(10))));
    assert!(listed[0].message.starts_with("a NUL "), "{:?}", listed[0].message);
    assert_eq!(
        (listed[1].state, listed[1].attempt_id),
        (TaskState::Queued, attempts[1].attempt_id.into())
    );
}

/// A run that moved on is skipped; the batch's others are applied. Two commits on one run follow
/// one another.
pub async fn conflicts_spare_the_others(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[])]);
    let (one, two) = (bench.started(&spec, "r1", 0).await, bench.started(&spec, "r2", 1).await);
    let commit = async |run, expected_version| {
        let tasks = bench.waiting_changes(run, &["a"]).await;
        let changes = Changes { tasks, ..Changes::default() };
        RunCommit { run, expected_version, finished: Vec::new(), changes }
    };
    let batch = vec![
        commit(one, 0).await,
        commit(two, 1).await,
        no_changes(Uuid::now_v7(), 0),
        no_changes(two, 2),
    ];
    let report = store.commit(batch, &open_limits(), t(5)).await.must();
    let (conflict, done) = (Committed::Conflict, |version| Committed::Done { version });
    assert_eq!(report.results, [conflict, done(2), conflict, done(3)]);
    assert_eq!(report.dispatch.iter().map(|d| d.run).collect::<Vec<_>>(), [two]);
    assert_eq!(bench.task(one, "a").await.state, TaskState::None);
    assert_eq!(bench.load(one).await.run.version, 1);
    assert_eq!(bench.load(two).await.run.version, 3);
}

/// Four planners commit on the same version: one is right.
pub async fn two_schedulers_commit_once(bench: &Bench) {
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let reports = bench
        .at_once(4, |_, store| async move {
            let snapshot = store.load_run(run).await.must().expect("exists");
            let tasks = vec![scheduled(&snapshot.tasks[0])];
            let changes = Changes { tasks, ..Changes::default() };
            let commit = RunCommit { run, expected_version: 1, finished: Vec::new(), changes };
            store.commit(vec![commit], &open_limits(), t(5)).await.must()
        })
        .await;
    let done = reports.iter().filter(|r| r.results[0] == Committed::Done { version: 2 }).count();
    assert_eq!(done, 1, "{reports:?}");
    assert_eq!(reports.iter().map(|r| r.dispatch.len()).sum::<usize>(), 1, "{reports:?}");
    assert_eq!(bench.store().attempts(run).await.must().len(), 1);
}

/// An end that is recorded already stays as it is, and an old attempt's says nothing.
pub async fn finishing_is_idempotent(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let first = bench.queue(run, &["a"], 10).await.remove(0);
    bench.claim(&first, 11).await;
    let lost = outcome(&first, OutcomeState::Lost, &[]);
    let again = scheduled(&bench.task(run, "a").await);
    let second = bench.change(run, vec![lost], vec![again], 22).await.dispatch.remove(0);
    assert_eq!(second.token, 2);
    bench.claim(&second, 23).await;
    let mut late = outcome(&first, OutcomeState::Success, &[("return_value", "1")]);
    late.message = "too late".into();
    bench.change(run, vec![late], Vec::new(), 24).await;
    let attempts = store.attempts(run).await.must();
    assert_eq!(
        (attempts[0].outcome, attempts[0].ended_at),
        (Some(OutcomeState::Lost), Some(t(22)))
    );
    assert_eq!(attempts[1].outcome, None);
    let listed = store.task_instances(run).await.must();
    assert_eq!((listed[0].state, listed[0].message.as_str()), (TaskState::Running, ""));
    let done = outcome(&second, OutcomeState::Success, &[("return_value", "2"), ("k", "3")]);
    let task = entered(&bench.task(run, "a").await, TaskState::Success, t(25));
    bench.change(run, vec![done.clone()], vec![task], 25).await;
    bench.change(run, vec![done], Vec::new(), 26).await;
    let ended = store.attempts(run).await.must().pop().expect("two attempts");
    assert_eq!((ended.outcome, ended.ended_at), (Some(OutcomeState::Success), Some(t(25))));
}

/// Decided otherwise while its message is on the way: nobody may run it, nobody publishes it again.
pub async fn skipped_while_queued(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let queued = bench.queue(run, &["a"], 10).await.remove(0);
    let skipped = entered(&bench.task(run, "a").await, TaskState::Skipped, t(11));
    bench.change(run, Vec::new(), vec![skipped], 11).await;
    assert_eq!(word(&bench.claim(&queued, 12).await), "stale");
    let attempt = store.attempts(run).await.must().remove(0);
    assert_eq!((attempt.outcome, attempt.ended_at), (Some(OutcomeState::Cancelled), Some(t(11))));
    assert!(store.unsent(t(100), 10).await.must().is_empty());
    assert_eq!(bench.task(run, "a").await.state, TaskState::Skipped);
}

/// A running attempt that is cancelled is told so, holds on until it has ended, and gives way to a
/// new one.
pub async fn cancelled_while_running(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let first = bench.queue(run, &["a"], 10).await.remove(0);
    bench.claim(&first, 11).await;
    assert_eq!(bench.beat(&first, 12).await, LeaseVerdict::Continue);
    let decided = entered(&bench.task(run, "a").await, TaskState::Failed, t(13));
    let expected_version = bench.load(run).await.run.version;
    let cancel = vec![first.attempt_id];
    let changes = Changes { tasks: vec![decided], run_state: None, cancel };
    let commit = RunCommit { run, expected_version, finished: Vec::new(), changes };
    store.commit(vec![commit], &open_limits(), t(13)).await.must();
    assert_eq!(bench.beat(&first, 14).await, LeaseVerdict::Cancel);
    assert_eq!(store.attempts(run).await.must()[0].ended_at, None);
    let second = bench.queue(run, &["a"], 15).await.remove(0);
    let attempts = store.attempts(run).await.must();
    assert_eq!(
        (attempts[0].outcome, attempts[0].ended_at),
        (Some(OutcomeState::Cancelled), Some(t(15)))
    );
    assert_eq!((attempts[1].attempt_id, attempts[1].ended_at), (second.attempt_id, None));
    assert_eq!(bench.beat(&first, 16).await, LeaseVerdict::Stale);
    assert_eq!(word(&bench.claim(&second, 17).await), "granted");
    bench.change(run, vec![outcome(&first, OutcomeState::Cancelled, &[])], Vec::new(), 18).await;
    assert_eq!(bench.task(run, "a").await.state, TaskState::Running);
}

/// The planner's word "queued" from before a claim does not undo the claim.
pub async fn a_claim_is_no_new_version(bench: &Bench) {
    let run = bench.started(&dag("d", &[("a", &[]), ("b", &[])]), "r", 0).await;
    let queued = bench.queue(run, &["a"], 10).await.remove(0);
    let before = bench.load(run).await;
    assert_eq!(word(&bench.claim(&queued, 11).await), "granted");
    assert_eq!(bench.load(run).await.run.version, before.run.version);
    let mut seen = before.tasks[0].clone();
    seen.skip_requested = true;
    let change = tradewind_engine::model::TaskChange { task: seen, priority: 7 };
    bench.change(run, Vec::new(), vec![change], 12).await;
    let task = bench.task(run, "a").await;
    assert_eq!((task.state, task.start_date), (TaskState::Running, Some(t(11))));
    assert!(task.skip_requested);
    assert_eq!(bench.store().attempts(run).await.must()[0].ended_at, None);
}

/// What the previous run looks like to tasks that depend on it.
pub async fn depending_on_the_past(bench: &Bench) {
    let store = bench.store();
    let mut spec = dag("d", &[("a", &[]), ("b", &["a"]), ("c", &[])]);
    spec.tasks[0].depends_on_past = true;
    spec.tasks[0].wait_for_downstream = true;
    store.sync_file(file(&spec), t(0)).await.must();
    let one = store.trigger(new_run("d", "r1", 0), t(0)).await.must().id;
    let two = bench.started(&spec, "r2", 60).await;
    let past = bench.load(two).await.past.remove(0);
    assert_eq!((past.task_id.as_str(), past.state), ("a", Some(TaskState::None)));
    assert!(past.has_previous_run && !past.downstream_done, "not even started");
    store.start_runs(vec![start_of(&spec, one)], t(1)).await.must();
    let first = bench.load(one).await;
    assert_eq!(first.past.len(), 1);
    assert_eq!((first.past[0].state, first.past[0].has_previous_run), (None, false));
    let done = |i: usize, state| entered(&first.tasks[i], state, t(5));
    bench.change(one, Vec::new(), vec![done(0, TaskState::Success)], 5).await;
    let past = bench.load(two).await.past.remove(0);
    assert_eq!((past.state, past.downstream_done), (Some(TaskState::Success), false));
    bench.change(one, Vec::new(), vec![done(1, TaskState::Skipped)], 6).await;
    let past = bench.load(two).await.past.remove(0);
    assert_eq!((past.state, past.downstream_done), (Some(TaskState::Success), true));
}

/// A run's end is dated and leaves the lists of what is active.
pub async fn runs_end(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let run_state = Some((RunState::Failed, "task_failure"));
    let changes = Changes { run_state, ..Changes::default() };
    let commit = RunCommit { run, expected_version: 1, finished: Vec::new(), changes };
    store.commit(vec![commit], &open_limits(), t(30)).await.must();
    let row = store.run("d", "r").await.must().expect("exists");
    assert_eq!(
        (row.state, row.start_date, row.end_date),
        (RunState::Failed, Some(t(0)), Some(t(30)))
    );
    assert!(store.running_runs().await.must().is_empty());
    let again = Changes { run_state: Some((RunState::Running, "")), ..Changes::default() };
    let commit = RunCommit { run, expected_version: 2, finished: Vec::new(), changes: again };
    store.commit(vec![commit], &open_limits(), t(40)).await.must();
    let row = store.run("d", "r").await.must().expect("exists");
    assert_eq!((row.start_date, row.end_date), (Some(t(0)), None));
    let first = bench.queue(run, &["a"], 41).await.remove(0);
    let request = claim_of(&first, Uuid::nil(), Uuid::now_v7());
    assert_eq!(word(&store.claim(&request, LEASE, t(42)).await.must()[0]), "granted");
}
