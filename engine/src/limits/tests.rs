//! Who may be queued under which limits.

use super::*;

fn candidate(dag: &str, run: u128, task: &str) -> Candidate {
    Candidate {
        dag_id: dag.to_owned(),
        run: Uuid::from_u128(run),
        task_id: task.to_owned(),
        pool: "p".to_owned(),
        pool_slots: 1,
        max_active_tasks: 16,
        per_run: false,
        max_active_tis_per_dag: None,
        max_active_tis_per_dagrun: None,
    }
}

fn limits(slots: i64) -> Limits {
    Limits { pools: BTreeMap::from([("p".to_owned(), slots)]), parallelism: None }
}

#[test]
fn a_blocked_candidate_does_not_block_those_behind_it() {
    let mut big = candidate("d", 1, "big");
    big.pool_slots = 3;
    let all = [candidate("d", 1, "a"), big.clone(), candidate("d", 1, "b")];
    let mut usage = Usage::default();
    assert_eq!(select(&all, &mut usage, &limits(3), 10), [0, 2]);
    assert_eq!(usage.pools["p"], 2);
    assert_eq!(blocked(&big, &usage, &limits(3)), Some(Blocked::PoolFull));
    assert_eq!(blocked(&big, &usage, &limits(2)), Some(Blocked::PoolTooSmall));
}

#[test]
fn pools_may_be_unlimited_or_missing() {
    let all: Vec<_> = (0..5).map(|i| candidate("d", 1, &format!("t{i}"))).collect();
    assert_eq!(select(&all, &mut Usage::default(), &limits(-1), 10).len(), 5);
    assert_eq!(select(&all, &mut Usage::default(), &limits(0), 10), [0; 0]);
    assert_eq!(select(&all, &mut Usage::default(), &Limits::default(), 10), [0; 0]);
    let none = blocked(&all[0], &Usage::default(), &Limits::default());
    assert_eq!(none, Some(Blocked::NoPool));
}

#[test]
fn max_active_tasks_counts_per_dag_or_per_run() {
    let make = |per_run| {
        let mut all = Vec::new();
        for run in [1, 2] {
            for task in ["a", "b"] {
                let mut c = candidate("d", run, task);
                c.max_active_tasks = 1;
                c.per_run = per_run;
                all.push(c);
            }
        }
        all
    };
    assert_eq!(select(&make(false), &mut Usage::default(), &limits(-1), 10), [0]);
    assert_eq!(select(&make(true), &mut Usage::default(), &limits(-1), 10), [0, 2]);
}

#[test]
fn instances_of_one_task_have_limits_over_runs_and_within_one() {
    let mut per_dag = candidate("d", 1, "a");
    per_dag.max_active_tis_per_dag = Some(1);
    let mut other_run = per_dag.clone();
    other_run.run = Uuid::from_u128(2);
    let both = [per_dag.clone(), other_run.clone()];
    assert_eq!(select(&both, &mut Usage::default(), &limits(-1), 10), [0]);
    for c in [&mut per_dag, &mut other_run] {
        c.max_active_tis_per_dag = None;
        c.max_active_tis_per_dagrun = Some(1);
    }
    let three = [per_dag.clone(), per_dag, other_run];
    assert_eq!(select(&three, &mut Usage::default(), &limits(-1), 10), [0, 2]);
}

#[test]
fn parallelism_and_max_end_the_selection() {
    let all: Vec<_> = (0..5).map(|i| candidate("d", 1, &format!("t{i}"))).collect();
    let mut limits = limits(-1);
    limits.parallelism = Some(3);
    let mut usage = Usage { total: 1, ..Usage::default() };
    assert_eq!(select(&all, &mut usage, &limits, 10), [0, 1]);
    assert_eq!(select(&all, &mut usage, &limits, 10), [0; 0]);
    assert_eq!(select(&all, &mut Usage::default(), &limits, 2), [0, 1]);
}
