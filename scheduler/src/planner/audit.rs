//! Comparing what we know with the store: finds runs of schedulers that died between two steps, and
//! changes made by others.

use std::collections::BTreeSet;

use tracing::{debug, info};
use tradewind_store::Error as StoreError;
use uuid::Uuid;

use super::{Owner, ROUND_RUNS_MAX};

/// Task instances read in one audit to verify plans: bounds its cost, whatever the number of runs.
const VERIFIED_TASKS_MAX: usize = 2000;
/// Runs verified in one audit.
const VERIFIED_RUNS_MAX: usize = 64;

impl Owner<'_> {
    /// Adopts unknown running runs, forgets ended ones, and verifies some of the others.
    pub(super) async fn audit(&mut self) -> Result<(), StoreError> {
        let running: BTreeSet<Uuid> = self.duty.store.running_runs().await?.into_iter().collect();
        for run in self.plans.known() {
            if !running.contains(&run) {
                self.plans.forget(run);
            }
        }
        let mut adopted = 0;
        for run in running {
            if self.plans.knows(run) {
                continue;
            }
            if adopted == ROUND_RUNS_MAX {
                // The rest in the next round, which comes at once.
                self.next_audit = tokio::time::Instant::now();
                break;
            }
            adopted += 1;
            self.work.reload(run);
        }
        if adopted > 0 {
            info!(adopted, "found running runs that were not planned here");
        }
        self.verify().await
    }

    /// Loads the next few runs that we have not touched lately and looks whether others have.
    async fn verify(&mut self) -> Result<(), StoreError> {
        let before = tokio::time::Instant::now().checked_sub(self.duty.audit_interval);
        let Some(before) = before else { return Ok(()) };
        let runs = self.plans.unverified(self.cursor, before, VERIFIED_RUNS_MAX);
        if runs.is_empty() {
            self.cursor = None;
        }
        let mut tasks = 0;
        for run in runs {
            if tasks >= VERIFIED_TASKS_MAX {
                break;
            }
            self.cursor = Some(run);
            let Some(snapshot) = self.duty.store.load_run(run).await? else {
                self.plans.forget(run);
                continue;
            };
            tasks += snapshot.tasks.len().max(1);
            if !self.plans.agrees(run, snapshot.run.version) {
                debug!(%run, "plan is not what the store has; loading it again");
                self.work.reload(run);
            }
        }
        Ok(())
    }
}
