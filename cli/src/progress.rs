//! Live progress of runs: a bar per running run on a terminal, plain lines in a pipe. On stderr;
//! nothing when that carries JSON logs, which say the same.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tradewind_proto::state::RunState;
use tradewind_store::Store;
use tradewind_store::model::{RunFilter, RunRow};
use uuid::Uuid;

use crate::failure::Failure;

/// How often the store is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// Newest runs looked at; more than fit a screen.
const RUNS: u32 = 50;
/// Bars on a terminal at once.
const BARS: usize = 20;

/// Shows what runs do.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    lines: Lines,
    bars: MultiProgress,
}

/// Where lines go when there is no terminal to draw on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Nowhere: stdout has the same already.
    None,
    /// To stdout: stderr may be JSON, for programs.
    Stdout,
}

/// What is known of a run that was shown.
#[derive(Debug)]
struct Shown {
    state: RunState,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Bars if stderr is a terminal that shows text logs; else `lines`.
    pub(crate) fn new(json_logs: bool, lines: Lines) -> Self {
        let terminal = io::stderr().is_terminal() && !json_logs;
        Self { terminal, lines, bars: MultiProgress::new() }
    }

    /// Shows runs as they change, forever; ends only when the store fails for good.
    pub(crate) async fn follow(&self, store: &Arc<dyn Store>) -> Failure {
        let mut shown = BTreeMap::new();
        // What had ended before we came is not news.
        let mut first = true;
        loop {
            match self.look(store.as_ref(), &mut shown, first).await {
                Ok(()) => first = false,
                Err(error) if error.is_retryable() => {}
                Err(error) => return error.into(),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Writes data to stdout without tearing the bars.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        self.bars.suspend(|| io::stdout().lock().write_all(text.as_bytes()))
    }

    async fn look(
        &self,
        store: &dyn Store,
        shown: &mut BTreeMap<Uuid, Shown>,
        first: bool,
    ) -> Result<(), tradewind_store::Error> {
        let runs = store.runs(RunFilter { limit: RUNS, ..RunFilter::default() }).await?;
        shown.retain(|id, _| runs.iter().any(|run| run.id == *id));
        for run in runs.iter().rev() {
            let before = shown.get(&run.id).map(|s| s.state);
            if before.is_some_and(RunState::is_terminal) {
                continue;
            }
            if first && run.state.is_terminal() {
                shown.insert(run.id, Shown { state: run.state, bar: None });
                continue;
            }
            self.update(store, run, shown).await?;
        }
        Ok(())
    }

    async fn update(
        &self,
        store: &dyn Store,
        run: &RunRow,
        shown: &mut BTreeMap<Uuid, Shown>,
    ) -> Result<(), tradewind_store::Error> {
        let known = shown.entry(run.id).or_insert(Shown { state: RunState::Queued, bar: None });
        let name = format!("{} {}", run.dag_id, run.run_id);
        if run.state.is_terminal() {
            let took = match (run.start_date, run.end_date) {
                (Some(start), Some(end)) => end.duration_since(start).as_secs_f64(),
                _ => 0.0,
            };
            if let Some(bar) = known.bar.take() {
                bar.finish_and_clear();
            }
            self.line(&format!("{name}: {} in {took:.1} s", run.state));
        } else if run.state == RunState::Running {
            let tasks = store.task_instances(run.id).await?;
            let done = tasks.iter().filter(|task| task.state.is_terminal()).count();
            self.running(known, &name, done, tasks.len());
        }
        known.state = run.state;
        Ok(())
    }

    fn running(&self, known: &mut Shown, name: &str, done: usize, all: usize) {
        if !self.terminal {
            if known.state != RunState::Running {
                self.line(&format!("{name}: running, {all} tasks"));
            }
            return;
        }
        let bar = known.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {elapsed}");
            let bar = ProgressBar::new(all as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_message(name.to_owned());
            self.bars.insert(BARS, bar)
        });
        bar.set_position(done as u64);
    }

    fn line(&self, text: &str) {
        // A line that cannot be written (terminal gone) is no reason to stop.
        if self.terminal {
            let _unwritten = self.bars.println(text);
        } else if self.lines == Lines::Stdout {
            println!("{text}");
        }
    }
}
