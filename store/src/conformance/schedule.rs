//! When DAGs are due, and moving their schedules forward.

use tradewind_proto::state::{RunState, RunType};

use super::kit::{Bench, Must, dag, new_run, t};
use crate::model::{Advance, DueDag, NewRun, NextRun, RunFilter};

fn next(at: i64) -> NextRun {
    let (start, end) = (t(at), t(at + 60));
    NextRun { logical_date: start, interval_start: start, interval_end: end, run_after: end }
}

fn run_for(due: &NextRun, run_id: &str) -> NewRun {
    NewRun {
        run_type: RunType::Scheduled,
        logical_date: Some(due.logical_date),
        interval: Some((due.interval_start, due.interval_end)),
        run_after: due.run_after,
        ..new_run("d", run_id, 0)
    }
}

fn advance(due: &DueDag, create: Option<NewRun>, next: Option<NextRun>) -> Advance {
    let (dag_id, schedule_epoch) = (due.dag_id.clone(), due.schedule_epoch);
    Advance { dag_id, schedule_epoch, create, next }
}

/// The only due DAG.
async fn due(bench: &Bench, at: i64) -> Option<DueDag> {
    let mut due = bench.store().due_dags(t(at), 10).await.must();
    assert!(due.len() < 2);
    due.pop()
}

/// Not computed → computed → due → run created → next.
pub async fn due_until_advanced(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[])]);
    bench.sync(&spec).await;
    assert_eq!(store.next_due().await.must(), None, "not computed is not a known time");
    let new = due(bench, 0).await.expect("a new DAG wants attention");
    assert_eq!((new.next, new.last, new.active_runs), (None, None, 0));
    assert_eq!(*new.spec, spec);
    assert!(store.advance(advance(&new, None, Some(next(0))), t(0)).await.must());
    assert_eq!(store.next_due().await.must(), Some(t(60)));
    assert!(due(bench, 59).await.is_none());
    assert_eq!(store.dag("d").await.must().expect("known").next_run, Some(next(0)));
    let now = due(bench, 60).await.expect("due");
    assert_eq!(now.next, Some(next(0)));
    let step = advance(&now, Some(run_for(&next(0), "r0")), Some(next(60)));
    assert!(store.advance(step.clone(), t(61)).await.must());
    assert!(!store.advance(step, t(61)).await.must(), "an old epoch moves nothing");
    let run = store.run("d", "r0").await.must().expect("created");
    assert_eq!(
        (run.state, run.queued_at, run.run_type),
        (RunState::Queued, t(61), RunType::Scheduled)
    );
    assert_eq!(run.version_hash, spec.version_hash());
    let later = due(bench, 1000).await.expect("due");
    assert_eq!((later.last, later.active_runs), (Some((t(0), t(60))), 1));
    assert!(store.advance(advance(&later, None, None), t(1000)).await.must());
    assert!(due(bench, 100_000).await.is_none(), "no next run");
    assert_eq!(store.next_due().await.must(), None);
}

/// Eight schedulers see the same due run: one creates it.
pub async fn two_schedulers_advance_once(bench: &Bench) {
    let store = bench.store();
    bench.sync(&dag("d", &[])).await;
    let new = due(bench, 0).await.expect("new");
    assert!(store.advance(advance(&new, None, Some(next(0))), t(0)).await.must());
    let seen = due(bench, 60).await.expect("due");
    let moved = bench
        .at_once(8, |_, store| {
            let step = advance(&seen, Some(run_for(&next(0), "r0")), Some(next(60)));
            async move { store.advance(step, t(60)).await.must() }
        })
        .await;
    assert_eq!(moved.iter().filter(|m| **m).count(), 1, "{moved:?}");
    assert_eq!(store.runs(RunFilter::default()).await.must().len(), 1);
}

/// A run that somebody triggered for the same logical date is not made twice, and time goes on.
pub async fn an_existing_run_is_left_alone(bench: &Bench) {
    let store = bench.store();
    bench.sync(&dag("d", &[])).await;
    store.trigger(new_run("d", "by hand", 0), t(1)).await.must();
    let new = due(bench, 2).await.expect("new");
    let step = advance(&new, Some(run_for(&next(0), "r0")), Some(next(60)));
    assert!(store.advance(step, t(2)).await.must());
    let runs = store.runs(RunFilter::default()).await.must();
    assert_eq!(runs.iter().map(|r| r.run_id.as_str()).collect::<Vec<_>>(), ["by hand"]);
    let later = due(bench, 120).await.expect("due");
    assert_eq!((later.next, later.last), (Some(next(60)), Some((t(0), t(60)))));
}

/// A new version and an unpause make the next run unknown, and older epochs void.
pub async fn changes_are_computed_anew(bench: &Bench) {
    let store = bench.store();
    bench.sync(&dag("d", &[])).await;
    let first = due(bench, 0).await.expect("new");
    assert!(store.advance(advance(&first, None, Some(next(0))), t(0)).await.must());
    assert!(due(bench, 0).await.is_none());
    bench.sync(&dag("d", &[("a", &[])])).await;
    let second = due(bench, 0).await.expect("a new version");
    assert_eq!(second.next, None);
    assert_ne!(second.schedule_epoch, first.schedule_epoch);
    assert!(store.advance(advance(&second, None, Some(next(0))), t(0)).await.must());
    store.set_paused("d", true).await.must();
    assert!(due(bench, 60).await.is_none(), "paused");
    assert_eq!(store.next_due().await.must(), None);
    store.set_paused("d", false).await.must();
    let third = due(bench, 0).await.expect("unpaused");
    assert_eq!(third.next, None);
    assert!(!store.advance(advance(&second, None, None), t(0)).await.must());
}
