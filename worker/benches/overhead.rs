//! What one attempt costs, from publishing its message to reading its outcome. Prints; run with
//! `cargo bench -p tradewind-worker`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use serde_json::Value;
use support::{Rig, bash, python};
use tradewind_proto::state::OutcomeState;

const DAG: &str = r#"
from datetime import datetime
from airflow import DAG
from airflow.operators.python import PythonOperator
with DAG("demo", start_date=datetime(2026, 1, 1), schedule=None):
    PythonOperator(task_id="one", python_callable=lambda: 1)
"#;
const ROUNDS: usize = 200;

async fn measure(rig: &mut Rig, what: &str, task: Value) {
    rig.run_one(task.clone()).await;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let done = rig.run_one(task.clone()).await;
        assert_eq!(done.state(), OutcomeState::Success, "{}", done.message);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        rig.submit(task.clone()).await;
    }
    for _ in 0..ROUNDS {
        rig.outcome().await;
    }
    let rate = ROUNDS as f64 / begun.elapsed().as_secs_f64();
    println!("{what}: p50 {p50:?}, p99 {p99:?} alone; {rate:.0}/s with 8 slots");
}

#[tokio::main]
async fn main() {
    let mut rig = Rig::with_dag(DAG).await;
    measure(&mut rig, "bash true", bash("true")).await;
    measure(&mut rig, "python one", python("one")).await;
    rig.stop().await;
}
