//! `dags test`: one run of one DAG in this process to its end, from a file or folder, with a memory
//! broker and an in-memory store. Nothing outside is touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tradewind_proto::dag::ParsedFile;
use tradewind_proto::state::{RunState, TaskState};
use tradewind_scheduler::dagfiles::{ParseOptions, parse_file};
use tradewind_store::Store;
use tradewind_store::model::{AttemptRow, FileSync, RunRow};

use crate::admin::dags::{manual_run, parse_conf};
use crate::admin::tasks::{TASK_COLUMNS, task_row};
use crate::args::TestArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, print};
use crate::progress::{Lines, Progress};
use crate::roles::embedded::{Embedded, Plan};
use crate::telemetry;

/// How often the run is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

pub(crate) async fn run(context: &Context, args: TestArgs) -> Result<(), Failure> {
    let conf = parse_conf(args.conf.as_deref())?;
    let mut plan = Plan::from_config(context)?;
    plan.web = None;
    plan.scheduler.dagfiles = false;
    let (folder, file) = find_file(context, &args).await?;
    plan.scheduler.dags_folder.clone_from(&folder);
    plan.worker.dags_folder.clone_from(&folder);
    let parsed = parse(&plan, &file).await?;

    let store: Arc<dyn Store> =
        tradewind_store::open("sqlite://:memory:", &tradewind_store::Options::default()).await?;
    store.migrate().await?;
    let now = context.clock.now();
    let sync = FileSync { fileloc: file, dags: parsed.dags, error: None, paused_by_default: false };
    store.sync_file(sync, now).await?;
    store.set_paused(&args.dag_id, false).await?;
    let dag = store.dag(&args.dag_id).await?.ok_or_else(|| {
        Failure::not_found(format!("DAG {:?} is not in {}", args.dag_id, folder.display()))
    })?;

    let running = Embedded::start(context, store, plan).await?;
    let run = manual_run(&dag, None, args.logical_date.as_deref(), conf, now)?;
    let run = running.store.trigger(run, now).await?;
    running.scheduler.wake();
    let progress = Progress::new(telemetry::json_logs(&context.config), Lines::None);
    let result = tokio::select! {
        biased;
        result = follow(running.store.as_ref(), &run, &progress) => result,
        failure = progress.follow(&running.store) => Err(failure),
    };
    running.stop(Duration::ZERO).await?;
    match result? {
        RunState::Success => Ok(()),
        state => Err(Failure::new(format!("run {} ended in state {state}", run.run_id))),
    }
}

/// The DAGs folder and the file in it that has the DAG.
async fn find_file(context: &Context, args: &TestArgs) -> Result<(PathBuf, String), Failure> {
    let given = match &args.subdir {
        Some(path) => std::path::absolute(path)?,
        None => context.config.path("core", "dags_folder"),
    };
    if given.is_file() {
        let folder = given.parent().unwrap_or(Path::new("/")).to_owned();
        let name = given.file_name().map(|name| name.to_string_lossy().into_owned());
        return Ok((folder, name.unwrap_or_default()));
    }
    let mut plan = Plan::from_config(context)?;
    plan.scheduler.dags_folder.clone_from(&given);
    for file in tradewind_scheduler::dagfiles::files(&plan.scheduler)
        .map_err(|error| Failure::new(error.to_string()))?
    {
        let Ok(parsed) = parse(&plan, &file).await else { continue };
        if parsed.dags.iter().any(|dag| dag.dag_id == args.dag_id) {
            return Ok((given, file));
        }
    }
    Err(Failure::not_found(format!(
        "no file in {} loads a DAG {:?}; give the file with -S to see why",
        given.display(),
        args.dag_id
    )))
}

async fn parse(plan: &Plan, file: &str) -> Result<ParsedFile, Failure> {
    let parsed = parse_file(&ParseOptions::from(&plan.scheduler), file).await;
    match parsed.error {
        None => Ok(parsed),
        Some(error) => {
            let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
            Err(Failure::new(format!("{file}{line}: {}\n{}", error.message, error.detail)))
        }
    }
}

/// Prints logs as attempts end, and the state table at the end.
async fn follow(store: &dyn Store, run: &RunRow, progress: &Progress) -> Result<RunState, Failure> {
    let mut printed: Vec<AttemptRow> = Vec::new();
    loop {
        let state = store.run(&run.dag_id, &run.run_id).await?.map(|run| run.state);
        for attempt in store.attempts(run.id).await? {
            let known = printed.iter().any(|known| known.attempt_id == attempt.attempt_id);
            if !known && attempt.ended_at.is_some() {
                print_attempt(store, &attempt, progress).await?;
                printed.push(attempt);
            }
        }
        if let Some(state) = state.filter(|state| state.is_terminal()) {
            print_states(store, run).await?;
            println!("{} {}: {state}", run.dag_id, run.run_id);
            return Ok(state);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn print_attempt(
    store: &dyn Store,
    attempt: &AttemptRow,
    progress: &Progress,
) -> Result<(), Failure> {
    let outcome = attempt.outcome.map(|state| state.to_string()).unwrap_or_default();
    let title = format!("--- {} (try {}): {outcome}\n", attempt.task_id, attempt.try_number);
    progress.data(&title)?;
    let mut seq = 0;
    loop {
        let read = store.read_log(attempt.attempt_id, seq).await?;
        if read.next_seq == seq {
            return Ok(());
        }
        progress.data(&read.text)?;
        seq = read.next_seq;
    }
}

async fn print_states(store: &dyn Store, run: &RunRow) -> Result<(), Failure> {
    let tasks = store.task_instances(run.id).await?;
    let rows: Vec<_> = tasks.iter().map(|task| task_row(run, task)).collect();
    print(Format::Table, &TASK_COLUMNS, &rows)?;
    for task in tasks.iter().filter(|task| task.state == TaskState::Failed) {
        println!("{}: {}", task.task_id, task.message);
    }
    Ok(())
}
