//! What is to be done, by run: kept until a commit has taken it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Input, OutcomeInput};

/// What is to be done on one run.
#[derive(Debug, Default)]
pub(super) struct RunWork {
    pub(super) outcomes: Vec<OutcomeInput>,
    /// Time has passed that the plan waited for.
    pub(super) wake: bool,
    /// The cached plan is not to be trusted.
    pub(super) reload: bool,
    /// Failures that a repetition may not cure.
    pub(super) failures: u32,
}

/// All that is to be done, in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Work {
    runs: BTreeMap<Uuid, RunWork>,
}

impl Work {
    /// Runs with something to do.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Sorts an input in.
    pub(super) fn add(&mut self, input: Input) {
        match input {
            Input::Outcome(input) => {
                self.runs.entry(input.outcome.run_key()).or_default().outcomes.push(*input);
            }
            Input::Started(run) => self.reload(run),
        }
    }

    /// Lets a run's timers act.
    pub(super) fn wake(&mut self, run: Uuid) {
        self.runs.entry(run).or_default().wake = true;
    }

    /// Loads a run anew and decides all that can be decided.
    pub(super) fn reload(&mut self, run: Uuid) {
        self.runs.entry(run).or_default().reload = true;
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> BTreeMap<Uuid, RunWork> {
        std::mem::take(&mut self.runs)
    }

    /// Puts back what could not be done.
    pub(super) fn put_back(&mut self, run: Uuid, mut work: RunWork) {
        let entry = self.runs.entry(run).or_default();
        entry.wake |= work.wake;
        entry.reload |= work.reload;
        entry.failures = entry.failures.max(work.failures);
        work.outcomes.append(&mut entry.outcomes);
        entry.outcomes = work.outcomes;
    }
}
