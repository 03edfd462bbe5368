//! What a world has to do: random small DAGs, limits, schedules and triggers, all from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tradewind_proto::dag::{DagSpec, TriggerRule};

use crate::rng::Rng;
use crate::time::at;

/// Queues in use.
pub(crate) const QUEUES: [&str; 2] = ["default", "heavy"];
const POOLS: [&str; 2] = ["default_pool", "narrow"];
const MINUTE_US: i64 = 60_000_000;

/// The rules drawn beside `all_success`, which is half of all.
const RULES: [TriggerRule; 12] = [
    TriggerRule::AllFailed,
    TriggerRule::AllDone,
    TriggerRule::AllSkipped,
    TriggerRule::OneSuccess,
    TriggerRule::OneFailed,
    TriggerRule::OneDone,
    TriggerRule::NoneFailed,
    TriggerRule::NoneFailedMinOneSuccess,
    TriggerRule::NoneSkipped,
    TriggerRule::AllDoneMinOneSuccess,
    TriggerRule::AllDoneSetupSuccess,
    TriggerRule::Always,
];

/// A run that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub(crate) at_ms: u64,
    pub(crate) dag_id: String,
    pub(crate) run_id: String,
    pub(crate) logical_date: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) dags: BTreeMap<String, Arc<DagSpec>>,
    pub(crate) triggers: Vec<Trigger>,
    /// Slots of every pool.
    pub(crate) pool_slots: i64,
    /// Of the whole deployment; 0 = none.
    pub(crate) parallelism: u32,
    pub(crate) schedulers: usize,
    pub(crate) workers: usize,
    /// Virtual milliseconds of faults.
    pub(crate) chaos_ms: u64,
}

impl Workload {
    /// Draws a workload.
    pub(crate) fn draw(rng: &Rng) -> Self {
        let chaos_ms = rng.range(40_000, 100_000);
        let mut dags = BTreeMap::new();
        for n in 0..rng.range(2, 4) {
            let spec = draw_dag(rng, n);
            dags.insert(spec.dag_id.clone(), Arc::new(spec));
        }
        let names: Vec<String> = dags.keys().cloned().collect();
        let triggers = (0..rng.range(3, 7)).filter_map(|n| {
            // Never on a tick of a schedule.
            let logical = i64::try_from(n).unwrap_or(0) * 1_000_000 + 500_003;
            Some(Trigger {
                at_ms: rng.range(0, chaos_ms),
                dag_id: rng.pick(&names)?.clone(),
                run_id: format!("manual__{n}"),
                logical_date: rng.chance(500).then(|| at(logical)),
            })
        });
        let mut triggers: Vec<Trigger> = triggers.collect();
        triggers.sort_by_key(|trigger| trigger.at_ms);
        Self {
            triggers,
            dags,
            pool_slots: i64::from(rng.small(2, 6)),
            parallelism: if rng.chance(300) { rng.small(3, 8) } else { 0 },
            schedulers: rng.index(3) + 1,
            workers: rng.index(3) + 2,
            chaos_ms,
        }
    }

    /// A DAG of the workload.
    pub(crate) fn dag(&self, dag_id: &str) -> &DagSpec {
        &self.dags[dag_id]
    }
}

fn draw_dag(rng: &Rng, n: u64) -> DagSpec {
    let v3 = rng.chance(400);
    let mut dag = json!({
        "dag_id": format!("dag{n}"),
        "fileloc": format!("dag{n}.py"),
        "generation": if v3 { "3" } else { "2" },
        "max_active_runs": rng.range(1, 3),
        "max_active_tasks": rng.range(1, 6),
        "max_active_tasks_per_run": v3,
        "fail_fast": rng.chance(150),
        "dagrun_timeout": if rng.chance(120) { json!(rng.range(10, 40)) } else { Value::Null },
        "catchup": true,
        "tasks": draw_tasks(rng),
    });
    let interval = !v3;
    let schedule = match n {
        0 => json!({"kind": "cron", "expr": format!("*/{} * * * *", rng.range(1, 2)),
            "timezone": "UTC", "interval": interval}),
        1 => json!({"kind": "delta", "seconds": rng.range(20, 70), "interval": interval}),
        _ => json!({"kind": "none"}),
    };
    if n < 2 {
        let start = -i64::try_from(rng.range(60, 200)).unwrap_or(60) * 1_000_000;
        dag["start_date"] = json!(at(start));
        dag["end_date"] = json!(at(MINUTE_US * i64::try_from(rng.range(0, 1)).unwrap_or(0)));
    }
    dag["schedule"] = schedule;
    // The members are those of `DagSpec`; a mistake here must stop every simulation at once.
    serde_json::from_value(dag).expect("a DAG that the workload drew is valid")
}

fn draw_tasks(rng: &Rng) -> Vec<Value> {
    let count = rng.index(11) + 2;
    let density = rng.small(100, 450);
    (0..count)
        .map(|n| {
            let upstream: Vec<String> =
                (0..n).filter(|_| rng.chance(density)).map(|up| format!("t{up:02}")).collect();
            draw_task(rng, n, &upstream)
        })
        .collect()
}

fn draw_task(rng: &Rng, n: usize, upstream: &[String]) -> Value {
    let rule = match rng.pick(&RULES) {
        Some(rule) if rng.chance(450) => *rule,
        _ => TriggerRule::AllSuccess,
    };
    let maybe = |permille, value: Value| if rng.chance(permille) { value } else { Value::Null };
    json!({
        "task_id": format!("t{n:02}"),
        "operator": "SimOperator",
        "runtime": if rng.chance(120) { "empty" } else { "native" },
        "upstream": upstream,
        "trigger_rule": rule.as_str(),
        "queue": QUEUES[usize::from(rng.chance(300))],
        "pool": POOLS[usize::from(rng.chance(400))],
        "pool_slots": rng.range(1, 2),
        "priority_weight": rng.range(1, 10),
        "retries": rng.range(0, 2),
        "retry_delay": rng.range(1, 40) as f64 / 10.0,
        "retry_exponential_backoff": maybe(200, json!(2.0)),
        "max_retry_delay": 8.0,
        "execution_timeout": maybe(150, json!(rng.range(1, 5))),
        "max_active_tis_per_dag": maybe(150, json!(rng.range(1, 2))),
        "max_active_tis_per_dagrun": maybe(100, json!(1)),
    })
}
