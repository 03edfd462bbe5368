//! A chain of tasks run as fast as the store allows, for measurements.

use std::time::{Duration, Instant};

use tradewind_engine::model::Changes;
use tradewind_proto::state::{OutcomeState, TaskState};

use super::kit::{Bench, Must, dag, entered, open_limits, outcome, scheduled, t};
use crate::model::RunCommit;

/// Runs the `n`-th chain of `length` tasks; returns how long each commit took.
pub async fn chain(bench: &Bench, n: usize, length: usize) -> Vec<Duration> {
    let names: Vec<String> = (0..length).map(|i| format!("t{i}")).collect();
    let tasks: Vec<(&str, &[&str])> = names.iter().map(|n| (n.as_str(), &[] as &[&str])).collect();
    let run = bench.started(&dag(&format!("d{n}"), &tasks), "r", 0).await;
    let mut d = bench.queue(run, &["t0"], 1).await.remove(0);
    let snapshot = bench.load(run).await;
    let (mut version, mut times) = (snapshot.run.version, Vec::with_capacity(length));
    for i in 1..length {
        bench.claim(&d, 2).await;
        let mut ended = entered(&snapshot.tasks[i - 1], TaskState::Success, t(3));
        (ended.task.token, ended.task.attempt_id) = (d.token, Some(d.attempt_id));
        let commit = RunCommit {
            run,
            expected_version: version,
            finished: vec![outcome(&d, OutcomeState::Success, &[("return_value", "1")])],
            changes: Changes {
                tasks: vec![ended, scheduled(&snapshot.tasks[i])],
                ..Changes::default()
            },
        };
        let started = Instant::now();
        let mut report = bench.store().commit(vec![commit], &open_limits(), t(4)).await.must();
        times.push(started.elapsed());
        version += 1;
        let mine = report.dispatch.iter().position(|d| d.run == run);
        d = report.dispatch.remove(mine.expect("the next task is queued"));
    }
    times
}
