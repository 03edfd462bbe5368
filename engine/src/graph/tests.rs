//! Graphs, cycles, weights and setup scopes.

use std::collections::BTreeSet;

use tradewind_proto::dag::{TriggerRule, WeightRule};

use super::*;
use crate::testing::{dag, task};

fn graph(tasks: Vec<TaskSpec>) -> Graph {
    Graph::new(&dag(tasks)).expect("a valid graph")
}

#[test]
fn a_cycle_is_named_task_by_task() {
    let spec = dag(vec![
        task("x", &[]),
        task("a", &["x", "c"]),
        task("b", &["a"]),
        task("c", &["b"]),
        task("d", &["c"]),
    ]);
    let Err(GraphError::Cycle { tasks }) = Graph::new(&spec) else { panic!("a cycle") };
    assert_eq!(tasks.len(), 4);
    assert_eq!(tasks.first(), tasks.last());
    for pair in tasks.windows(2) {
        let down = spec.tasks.iter().find(|t| t.task_id == pair[1]).expect("a task");
        assert!(down.upstream.contains(&pair[0]), "{} -> {} is an edge", pair[0], pair[1]);
    }
}

#[test]
fn a_self_dependency_is_a_cycle() {
    let error = Graph::new(&dag(vec![task("a", &["a"])])).expect_err("a cycle");
    assert_eq!(error.to_string(), "the tasks form a cycle: a -> a");
}

#[test]
fn unknown_and_duplicate_tasks_are_refused() {
    let unknown = Graph::new(&dag(vec![task("a", &["b"])])).expect_err("unknown upstream");
    assert!(matches!(unknown, GraphError::UnknownUpstream { upstream, .. } if upstream == "b"));
    let twice = Graph::new(&dag(vec![task("a", &[]), task("a", &[])])).expect_err("duplicate");
    assert!(matches!(twice, GraphError::DuplicateTask { task_id } if task_id == "a"));
}

#[test]
fn the_order_has_upstreams_first() {
    let g =
        graph(vec![task("d", &["b", "c"]), task("c", &["a"]), task("b", &["a"]), task("a", &[])]);
    assert_eq!(g.topological(), [3, 1, 2, 0]);
    assert_eq!(g.leaves().collect::<Vec<_>>(), [0]);
    assert_eq!(g.ancestors(0), BTreeSet::from([1, 2, 3]));
    assert_eq!(g.descendants(3), BTreeSet::from([0, 1, 2]));
}

#[test]
fn weights_count_each_relative_once() {
    let mut tasks =
        vec![task("a", &[]), task("b", &["a"]), task("c", &["a"]), task("d", &["b", "c"])];
    for (i, t) in tasks.iter_mut().enumerate() {
        t.priority_weight = 10_i32.pow(u32::try_from(i).expect("small"));
    }
    let g = graph(tasks.clone());
    assert_eq!((0..4).map(|i| g.priority(i)).collect::<Vec<_>>(), [1111, 1010, 1100, 1000]);
    for t in &mut tasks {
        t.weight_rule = WeightRule::Upstream;
    }
    tasks[2].weight_rule = WeightRule::Absolute;
    let g = graph(tasks);
    assert_eq!((0..4).map(|i| g.priority(i)).collect::<Vec<_>>(), [1, 11, 100, 1111]);
}

#[test]
fn weights_are_right_beyond_one_block_and_clamped() {
    let names: Vec<String> = (0..200).map(|i| format!("t{i}")).collect();
    let mut tasks = vec![task(&names[0], &[])];
    tasks.extend((1..200).map(|i| task(&names[i], &[&names[i - 1]])));
    let g = graph(tasks.clone());
    assert_eq!((g.priority(0), g.priority(100), g.priority(199)), (200, 100, 1));
    for t in &mut tasks {
        t.priority_weight = i32::MAX;
    }
    assert_eq!(graph(tasks).priority(0), i32::MAX);
}

#[test]
fn teardowns_do_not_decide_the_run() {
    let mut down = task("down", &["work"]);
    down.is_teardown = true;
    let tasks = vec![task("work", &[]), down];
    let g = graph(tasks.clone());
    assert_eq!(g.effective_leaves().collect::<Vec<_>>(), [0]);
    let mut strict = tasks.clone();
    strict[1].on_failure_fail_dagrun = true;
    assert_eq!(graph(strict).effective_leaves().collect::<Vec<_>>(), [1]);
    let mut only = tasks;
    only[0].is_teardown = true;
    assert_eq!(graph(only).effective_leaves().collect::<Vec<_>>(), [1]);
}

#[test]
fn setups_gate_what_their_teardowns_close() {
    // s -> a -> b -> t(teardown of s); s -> t; b -> after
    let mut s = task("s", &[]);
    s.is_setup = true;
    let mut t = task("t", &["s", "b"]);
    t.is_teardown = true;
    t.trigger_rule = TriggerRule::AllDoneSetupSuccess;
    let g = graph(vec![s, task("a", &["s"]), task("b", &["a"]), t, task("after", &["b"])]);
    assert_eq!(g.setup().gates(2), [0], "b is between s and t");
    assert_eq!(g.setup().gates(1), [0; 0], "a depends on s directly");
    assert_eq!(g.setup().gates(4), [0; 0], "after is beyond the teardown's scope");
    assert_eq!(g.setup().scope(3), [1], "t also waits for a");
    assert_eq!(g.setup().in_scope_of(1), [3]);
}

#[test]
fn clearing_forgets_skips_below_what_runs_again() {
    let g = graph(vec![task("a", &[]), task("b", &["a"]), task("c", &["b"]), task("d", &[])]);
    assert_eq!(g.skips_to_forget(&BTreeSet::from([0, 2, 3])), BTreeSet::from([2]));
    assert_eq!(g.skips_to_forget(&BTreeSet::from([2])), BTreeSet::new());
}
