//! One event at a time: what each outcome, timer and reload decides.

use super::*;
use OutcomeState as End;
use TaskState::{
    Failed, Queued, Removed, Running, Scheduled, Skipped, Success, UpForRetry, UpstreamFailed,
};

#[test]
fn a_chain_runs_one_after_the_other_and_succeeds() {
    let mut b = Bench::new(dag(vec![task("a", &[]), task("b", &["a"])]));
    let changes = b.start();
    assert_eq!(named(&changes), [("a", Scheduled)]);
    let row = &changes.tasks[0].task;
    assert_eq!(
        (row.try_number, row.token, row.attempt_id),
        (1, 1, Some(AttemptId(Uuid::from_u128(1))))
    );
    assert_eq!(changes.tasks[0].priority, 2);
    let (verdict, changes) = b.end("a", End::Success, 5);
    assert_eq!(verdict, Verdict::Applied);
    assert_eq!(named(&changes), [("a", Success), ("b", Scheduled)]);
    assert_eq!(changes.tasks[0].task.end_date, Some(at(5)));
    assert_eq!(changes.run_state, None);
    let (_, changes) = b.end("b", End::Success, 6);
    assert_eq!(changes.run_state, Some((RunState::Success, "success")));
    assert!(b.plan.is_done());
}

#[test]
fn a_queued_run_is_admitted() {
    let mut b = Bench::new(dag(vec![]));
    b.plan.run.state = RunState::Queued;
    b.plan.run.start_date = None;
    assert!(b.plan.wake(at(9), &b.ids).is_empty(), "nothing moves before it is admitted");
    let changes = b.plan.start(at(9), &b.ids);
    assert_eq!(changes.run_state, Some((RunState::Success, "success")), "it has no tasks");
    assert_eq!(b.plan.run().start_date, Some(at(9)));
}

#[test]
fn the_same_outcome_twice_is_a_duplicate_and_an_old_one_is_stale() {
    let mut b = Bench::new(dag(vec![task("a", &[]), task("b", &["a"])]));
    b.start();
    let first = b.outcome("a", End::Lost, 1);
    b.plan.outcome(&first, at(1), &b.ids);
    assert_eq!(b.plan.outcome(&first, at(1), &b.ids), (Verdict::Stale, Changes::default()));
    let second = b.outcome("a", End::Success, 2);
    assert_eq!(b.plan.outcome(&second, at(2), &b.ids).0, Verdict::Applied);
    assert_eq!(b.plan.outcome(&second, at(2), &b.ids), (Verdict::Duplicate, Changes::default()));
    let mut unknown = second;
    unknown.task_id = "z".to_owned();
    assert_eq!(b.plan.outcome(&unknown, at(2), &b.ids).0, Verdict::Stale);
}

#[test]
fn empty_tasks_succeed_in_the_same_call() {
    let mut tasks = vec![task("a", &[]), task("b", &["a"]), task("c", &["b"])];
    tasks[0].runtime = Runtime::Empty;
    tasks[1].runtime = Runtime::Empty;
    let mut b = Bench::new(dag(tasks));
    let changes = b.start();
    assert_eq!(named(&changes), [("a", Success), ("b", Success), ("c", Scheduled)]);
    assert_eq!(
        (changes.tasks[1].task.attempt_id, changes.tasks[1].task.start_date),
        (None, Some(at(0)))
    );
}

#[test]
fn failures_are_retried_until_none_is_left() {
    let mut spec = task("a", &[]);
    spec.retries = 1;
    spec.retry_delay = 30.0;
    let mut b = Bench::new(dag(vec![spec, task("b", &["a"])]));
    b.start();
    let (_, changes) = b.end("a", End::TimedOut, 10);
    assert_eq!(named(&changes), [("a", UpForRetry)]);
    assert_eq!(changes.tasks[0].task.not_before, Some(at(40)));
    assert_eq!(b.plan.next_wake(), Some(at(40)));
    assert!(b.plan.wake(at(39), &b.ids).is_empty());
    let changes = b.plan.wake(at(40), &b.ids);
    assert_eq!(named(&changes), [("a", Scheduled)]);
    assert_eq!((changes.tasks[0].task.try_number, changes.tasks[0].task.token), (2, 2));
    assert_eq!(b.plan.next_wake(), None);
    let (_, changes) = b.end("a", End::Failed, 50);
    assert_eq!(named(&changes), [("a", Failed), ("b", UpstreamFailed)]);
    assert_eq!(changes.run_state, Some((RunState::Failed, "task_failure")));
}

#[test]
fn a_worker_clock_ahead_does_not_stretch_the_retry_delay() {
    let mut spec = task("a", &[]);
    spec.retries = 1;
    spec.retry_delay = 30.0;
    let mut b = Bench::new(dag(vec![spec]));
    b.start();
    let ahead = b.outcome("a", End::Failed, 9_000);
    b.plan.outcome(&ahead, at(10), &b.ids);
    assert_eq!(b.plan.next_wake(), Some(at(40)));
}

#[test]
fn some_failures_are_final() {
    for end in [End::FailedNoRetry, End::Cancelled] {
        let mut spec = task("a", &[]);
        spec.retries = 3;
        let mut b = Bench::new(dag(vec![spec]));
        b.start();
        let (_, changes) = b.end("a", end, 1);
        assert_eq!(changes.run_state, Some((RunState::Failed, "task_failure")), "{end}");
    }
}

#[test]
fn lost_attempts_have_their_own_budget() {
    let mut spec = task("a", &[]);
    spec.retries = 1;
    let mut b = Bench::new(dag(vec![spec]));
    b.start();
    for lost in 1..=5 {
        let (_, changes) = b.end("a", End::Lost, lost);
        let row = &changes.tasks[0].task;
        assert_eq!((row.state, row.try_number, row.token), (Scheduled, 1, lost + 1));
    }
    b.end("a", End::Lost, 6);
    assert_eq!(b.state("a"), UpForRetry, "the sixth loss uses up the try");
    b.plan.wake(at(1000), &b.ids);
    let (_, changes) = b.end("a", End::Lost, 1001);
    assert_eq!(named(&changes), [("a", Failed)]);
}

#[test]
fn a_handed_back_attempt_is_the_same_try() {
    let mut b = Bench::new(dag(vec![task("a", &[])]));
    b.start();
    let (_, changes) = b.end("a", End::HandedBack, 1);
    let row = &changes.tasks[0].task;
    assert_eq!((row.state, row.try_number, row.token, row.lost_count), (Scheduled, 1, 2, 0));
}

#[test]
fn a_branch_skips_directly_what_it_did_not_choose() {
    let join = with_rule(task("join", &["left", "right"]), TriggerRule::NoneFailedMinOneSuccess);
    let mut b = Bench::new(dag(vec![
        task("pick", &[]),
        task("left", &["pick"]),
        task("right", &["pick"]),
        task("below", &["right"]),
        join,
    ]));
    b.start();
    let (_, changes) = b.end_skipping("pick", End::Success, 1, &["right", "gone"]);
    assert_eq!(
        named(&changes),
        [("pick", Success), ("right", Skipped), ("left", Scheduled), ("below", Skipped)]
    );
    assert!(b.plan.task("right").expect("a task").skip_requested);
    assert!(!b.plan.task("below").expect("a task").skip_requested);
    b.end("left", End::Success, 2);
    assert_eq!(b.state("join"), Scheduled);
}

#[test]
fn a_requested_skip_is_respected_after_clearing() {
    let mut b = Bench::new(dag(vec![task("pick", &[]), task("x", &["pick"])]));
    b.start();
    b.end_skipping("pick", End::Success, 1, &["x"]);
    let row = &mut b.plan.tasks[1];
    row.state = TaskState::None;
    b.plan.run.state = RunState::Running;
    b.reload();
    let changes = b.start();
    assert_eq!(named(&changes), [("x", Skipped)]);
}

#[test]
fn a_task_that_is_skipped_while_it_runs_is_cancelled() {
    let eager = with_rule(task("eager", &["pick"]), TriggerRule::Always);
    let mut b = Bench::new(dag(vec![task("pick", &[]), eager]));
    b.start();
    let attempt = b.plan.task("eager").expect("a task").attempt_id.expect("an attempt");
    let (_, changes) = b.end_skipping("pick", End::Success, 1, &["eager"]);
    assert_eq!(changes.cancel, [attempt]);
    assert_eq!(changes.run_state, Some((RunState::Success, "success")));
    assert_eq!(b.end("eager", End::Cancelled, 2).0, Verdict::Duplicate);
}

#[test]
fn a_timed_out_run_skips_and_cancels() {
    let mut spec = dag(vec![task("a", &[]), task("b", &["a"]), task("c", &[])]);
    spec.dagrun_timeout = Some(60.0);
    let mut b = Bench::new(spec);
    b.start();
    b.end("c", End::Success, 5);
    assert_eq!(b.plan.next_wake(), Some(at(60)));
    assert!(b.plan.wake(at(59), &b.ids).is_empty());
    let changes = b.plan.wake(at(60), &b.ids);
    assert_eq!(named(&changes), [("a", Skipped), ("b", Skipped)]);
    assert_eq!(changes.run_state, Some((RunState::Failed, "timed_out")));
    assert_eq!(changes.cancel.len(), 1);
    assert_eq!(b.plan.next_wake(), None);
    assert_eq!(b.end("a", End::Success, 61).0, Verdict::Duplicate);
}

#[test]
fn a_run_that_can_make_no_progress_is_deadlocked() {
    let never = with_rule(task("never", &["gone"]), TriggerRule::AllSkipped);
    let mut b = Bench::new(dag(vec![task("gone", &[]), never]));
    b.plan.tasks[0].state = Removed;
    b.reload();
    let changes = b.start();
    assert_eq!(changes.run_state, Some((RunState::Failed, "all_tasks_deadlocked")));
}

fn past(task_id: &str, state: Option<TaskState>, downstream_done: bool) -> PastTask {
    PastTask { task_id: task_id.to_owned(), state, downstream_done, has_previous_run: true }
}

#[test]
fn depends_on_past_waits_without_deadlock() {
    let mut a = task("a", &[]);
    a.depends_on_past = true;
    let spec = dag(vec![a]);
    for (state, waits) in [
        (Some(Running), true),
        (Some(Failed), true),
        (Some(TaskState::None), true),
        (Some(Success), false),
        (Some(Skipped), false),
        (None, false),
    ] {
        let mut b = Bench::with_past(spec.clone(), vec![past("a", state, false)]);
        let changes = b.start();
        assert_eq!(changes.is_empty(), waits, "{state:?}");
        assert_eq!(b.plan.waits_on_past(), waits, "{state:?}");
    }
    let mut b = Bench::with_past(spec.clone(), vec![past("a", Some(Running), false)]);
    b.start();
    b.plan.set_past(vec![past("a", Some(Success), false)]);
    assert_eq!(named(&b.start()), [("a", Scheduled)], "the previous run went on");
    let mut first = past("a", None, false);
    first.has_previous_run = false;
    assert!(!Bench::with_past(spec, vec![first]).start().is_empty());
}

#[test]
fn wait_for_downstream_looks_further() {
    let mut a = task("a", &[]);
    a.wait_for_downstream = true;
    let spec = dag(vec![a]);
    let mut b = Bench::with_past(spec.clone(), vec![past("a", Some(Success), false)]);
    assert!(b.start().is_empty());
    let mut b = Bench::with_past(spec, vec![past("a", Some(Success), true)]);
    assert_eq!(named(&b.start()), [("a", Scheduled)]);
}

#[test]
fn fail_fast_stops_all_but_teardowns() {
    let mut down = with_rule(task("down", &["b"]), TriggerRule::AllDone);
    down.is_teardown = true;
    let mut spec = dag(vec![task("a", &[]), task("b", &[]), task("after", &["a"]), down]);
    spec.fail_fast = true;
    let mut b = Bench::new(spec);
    b.start();
    let (_, changes) = b.end("a", End::Failed, 1);
    assert_eq!(
        named(&changes),
        [("a", Failed), ("b", Skipped), ("after", Skipped), ("down", Scheduled)]
    );
    assert_eq!(changes.cancel.len(), 1, "b held an attempt");
    let (_, changes) = b.end("down", End::Success, 2);
    assert_eq!(changes.run_state, Some((RunState::Failed, "task_failure")));
}

#[test]
fn a_takeover_decides_nothing_twice() {
    let mut b = Bench::new(dag(vec![task("a", &[]), task("b", &["a"])]));
    b.start();
    b.plan.tasks[0].state = Queued;
    b.reload();
    assert!(b.start().is_empty());
    assert_eq!(b.end("a", End::Success, 1).0, Verdict::Applied);
    b.reload();
    assert!(b.start().is_empty());
}

#[test]
fn an_outcome_right_after_a_load_sees_the_whole_run() {
    let mut b = Bench::new(dag(vec![task("a", &[]), task("c", &[])]));
    b.plan.tasks[0].state = Running;
    b.plan.tasks[0].token = 1;
    b.plan.tasks[0].attempt_id = Some(AttemptId(Uuid::from_u128(99)));
    b.reload();
    let (_, changes) = b.end("a", End::Success, 1);
    assert_eq!(named(&changes), [("a", Success), ("c", Scheduled)], "no false deadlock");
    assert_eq!(changes.run_state, None);
}

#[test]
fn rows_of_tasks_that_the_dag_lost_are_removed() {
    let mut b = Bench::new(dag(vec![task("a", &[])]));
    let mut stray = b.plan.tasks[0].clone();
    stray.task_id = "old".to_owned();
    stray.state = Running;
    stray.attempt_id = Some(AttemptId(Uuid::from_u128(9)));
    b.plan.strays.push(stray);
    let changes = b.start();
    assert_eq!(named(&changes), [("old", Removed), ("a", Scheduled)]);
    assert_eq!(changes.cancel, [AttemptId(Uuid::from_u128(9))]);
}

#[test]
fn teardowns_wait_for_the_scope_and_run_after_failures() {
    let mut s = task("s", &[]);
    s.is_setup = true;
    let quick = with_rule(task("quick", &["slow", "fast"]), TriggerRule::OneSuccess);
    let mut t = with_rule(task("t", &["s", "quick"]), TriggerRule::AllDoneSetupSuccess);
    t.is_teardown = true;
    let mut b = Bench::new(dag(vec![s, task("slow", &["s"]), task("fast", &["s"]), quick, t]));
    b.start();
    b.end("s", End::Success, 1);
    b.end("fast", End::Success, 2);
    b.end("quick", End::Failed, 3);
    assert_eq!(b.state("t"), TaskState::None, "slow is still running");
    b.end("slow", End::Success, 4);
    assert_eq!(b.state("t"), Scheduled);
    let (_, changes) = b.end("t", End::Success, 5);
    assert_eq!(changes.run_state, Some((RunState::Failed, "task_failure")), "quick decides");
}

#[test]
fn a_run_that_has_ended_takes_a_late_outcome_but_starts_nothing() {
    let mut spec = task("a", &[]);
    spec.retries = 5;
    let mut b = Bench::new(dag(vec![spec, task("b", &["a"])]));
    b.start();
    b.plan.run.state = RunState::Failed;
    let (verdict, changes) = b.end("a", End::Failed, 1);
    assert_eq!(verdict, Verdict::Applied);
    assert_eq!(named(&changes), [("a", Failed)]);
    assert_eq!(changes.run_state, None);
}

#[test]
fn an_event_costs_what_depends_on_it() {
    let mut tasks: Vec<_> = (0..2000).map(|i| task(&format!("t{i}"), &[])).collect();
    tasks.push(task("end", &["t7"]));
    let mut b = Bench::new(dag(tasks));
    assert_eq!(b.start().tasks.len(), 2000);
    let (_, changes) = b.end("t7", End::Success, 1);
    assert_eq!(named(&changes), [("t7", Success), ("end", Scheduled)]);
}

/// Both of its upstreams end by one event; in which order they are looked at must not matter.
#[test]
fn a_failure_further_up_is_seen_before_a_skip_next_to_it() {
    let one = |name, ups: &[&str]| with_rule(task(name, ups), TriggerRule::OneSuccess);
    let tasks = vec![
        task("failed", &[]),
        task("skipped", &[]),
        one("a", &["skipped"]),
        one("b", &["a", "failed"]),
    ];
    let mut b = Bench::new(dag([tasks, vec![task("last", &["skipped", "b"])]].concat()));
    b.start();
    b.end("failed", End::FailedNoRetry, 1);
    b.end("skipped", End::Skipped, 2);
    assert_eq!(b.state("a"), Skipped);
    assert_eq!((b.state("b"), b.state("last")), (UpstreamFailed, UpstreamFailed));
}
