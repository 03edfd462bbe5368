//! What an event costs the planner: it must not grow with the run. `cargo bench -p tradewind-engine`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use serde_json::{Value, json};
use tradewind_engine::model::{RunInfo, RunSnapshot, TaskInstance};
use tradewind_engine::{CompiledDag, PlanOptions, RunPlan};
use tradewind_proto::clock::Ids;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::{OutcomeState, RunState, RunType, TaskState};
use tradewind_proto::workload::{Outcome, OutcomeHead};
use uuid::Uuid;

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Ids for Counting {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

/// `first` → `width` tasks → `last`.
fn fan(width: usize) -> Arc<CompiledDag> {
    let middle: Vec<String> = (0..width).map(|i| format!("m{i}")).collect();
    let task = |name: &str, upstream: &[String]| -> Value {
        json!({"task_id": name, "operator": "BashOperator", "runtime": "bash", "upstream": upstream})
    };
    let mut tasks = vec![task("first", &[])];
    tasks.extend(middle.iter().map(|name| task(name, &["first".to_owned()])));
    tasks.push(task("last", &middle));
    let spec = json!({"dag_id": "fan", "fileloc": "fan.py", "generation": "3", "tasks": tasks});
    let spec: DagSpec = serde_json::from_value(spec).expect("a DAG");
    Arc::new(CompiledDag::new(Arc::new(spec)).expect("no cycle"))
}

fn instance(task_id: &str) -> TaskInstance {
    TaskInstance {
        task_id: task_id.to_owned(),
        map_index: -1,
        state: TaskState::None,
        try_number: 0,
        max_tries: 0,
        token: 0,
        attempt_id: None,
        start_date: None,
        end_date: None,
        not_before: None,
        lost_count: 0,
        skip_requested: false,
    }
}

fn snapshot(dag: &CompiledDag) -> RunSnapshot {
    let run = RunInfo {
        id: Uuid::nil(),
        dag_id: "fan".to_owned(),
        run_id: "r".to_owned(),
        run_type: RunType::Manual,
        state: RunState::Running,
        logical_date: None,
        run_after: Timestamp::UNIX_EPOCH,
        start_date: Some(Timestamp::UNIX_EPOCH),
        version_hash: String::new(),
        version: 0,
    };
    let tasks = dag.spec.tasks.iter().map(|task| instance(&task.task_id)).collect();
    RunSnapshot { run, tasks, past: Vec::new() }
}

fn success(plan: &RunPlan, task_id: &str) -> Outcome {
    let task = plan.task(task_id).expect("a task");
    let head = OutcomeHead {
        attempt_id: task.attempt_id.expect("an attempt"),
        token: task.token,
        run: Uuid::nil(),
        task_id: task_id.to_owned(),
        map_index: -1,
        worker: "w".to_owned(),
    };
    Outcome::new(head, OutcomeState::Success, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one outcome in a fan");
    for width in [10, 1_000, 10_000] {
        let dag = fan(width);
        let ids = Counting::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut plan = RunPlan::new(Arc::clone(&dag), snapshot(&dag), PlanOptions::default());
        plan.start(now, &ids);
        let first = success(&plan, "first");
        plan.outcome(&first, now, &ids);
        group.bench_function(BenchmarkId::from_parameter(width), |bencher| {
            bencher.iter_batched_ref(
                || (plan.clone(), success(&plan, "m0")),
                |(plan, outcome)| black_box(plan.outcome(outcome, now, &ids)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
