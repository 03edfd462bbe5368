//! Task processes in virtual time: they sleep and end as the seed says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::Xcom;
use tradewind_worker::{AttemptJob, Ended, Runtime};

use crate::life::Life;
use crate::lock;
use crate::world::{Execution, Violation, World};

/// Time that a killed process takes to be gone.
const KILL_MS_MAX: u64 = 900;

/// The processes of one life of a worker.
#[derive(Debug)]
pub(crate) struct SimRuntime {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
}

impl SimRuntime {
    /// An attempt is begun at most once, by whatever worker.
    fn begin(&self, job: &AttemptJob) {
        let started = Instant::now();
        let execution = Execution { life: Arc::clone(&self.life), started, ended: None };
        let before = lock(&self.world.executions).insert(job.attempt_id, execution);
        self.world.count("executions", 1);
        let key = job.workload.key();
        self.world.note(format!("{} runs {key} token {}", self.life.name, job.workload.token));
        if let Some(before) = before {
            let (first, second) = (&before.life.name, &self.life.name);
            let text = format!("{key}: one attempt ran twice, on {first} and on {second}");
            self.world.violate(Violation { promise: "S4", text });
        }
    }

    fn end(&self, job: &AttemptJob, ended: &Ended) {
        if let Some(execution) = lock(&self.world.executions).get_mut(&job.attempt_id) {
            execution.ended = Some(ended.state);
        }
        let key = job.workload.key();
        self.world.note(format!("{} ended {key}: {}", self.life.name, ended.state));
    }

    /// How long the process takes and how it ends, if it is left alone.
    fn fate(&self, job: &AttemptJob) -> (Duration, Ended) {
        let rng = &self.world.rng;
        let time = match rng.range(0, 9) {
            0..5 => rng.millis(5, 300),
            5..9 => rng.millis(300, 4_000),
            _ => rng.millis(4_000, 18_000),
        };
        let state = match rng.range(0, 99) {
            0..74 => OutcomeState::Success,
            74..92 => OutcomeState::Failed,
            92..94 => OutcomeState::FailedNoRetry,
            _ => OutcomeState::Skipped,
        };
        let mut ended = Ended::new(state, "");
        if state == OutcomeState::Success {
            let json = format!("\"{}\"", job.attempt_id);
            ended.xcoms.push(Xcom { key: "return_value".to_owned(), json });
            let dag = self.world.workload.dag(&job.workload.dag_id);
            if rng.chance(100) {
                let below = dag.tasks.iter().filter(|t| t.upstream.contains(&job.workload.task_id));
                ended.skip = below.filter(|_| rng.chance(500)).map(|t| t.task_id.clone()).collect();
                self.world.count("tasks that a branch skips", ended.skip.len() as u64);
            }
        }
        (time, ended)
    }
}

#[async_trait]
impl Runtime for SimRuntime {
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended {
        self.begin(&job);
        let (time, planned) = self.fate(&job);
        let work = async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    sleep(self.world.rng.millis(0, KILL_MS_MAX)).await;
                    Ended::cancelled()
                }
                () = sleep(time) => planned,
            }
        };
        let ended = self.life.call(work).await;
        self.end(&job, &ended);
        ended
    }
}
