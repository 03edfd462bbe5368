//! The `tradewind` binary: roles, admin commands, benches.

mod admin;
mod args;
mod assets;
mod bench;
mod config;
mod context;
mod dags_test;
mod failure;
mod output;
mod progress;
mod roles;
mod span_export;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{
    BenchCommand, Cli, Command, ConfigCommand, DagsCommand, DagsFolderArgs, DbCommand, JobsCommand,
    QueuesCommand, TasksCommand, VariablesCommand, WebArgs, WorkerArgs,
};
use crate::context::{Context, Flag};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        // Before anything else is started: a guard must stay small.
        Command::Guard { instance } => {
            roles::guard::run(instance);
            Ok(())
        }
        Command::Version => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => start(cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    let context = Context::load(&cli, flags(&cli.command))?;
    // An error says that a provider is set already, which cannot be this early.
    let _first = rustls::crypto::ring::default_provider().install_default();
    // Outlives the runtime: its last flush blocks.
    let _telemetry = telemetry::init(&context.config, role_name(&cli.command))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(&context, cli.command))
}

fn role_name(command: &Command) -> &'static str {
    match command {
        Command::Standalone(_) => "standalone",
        Command::Scheduler(_) => "scheduler",
        Command::Worker(_) => "worker",
        Command::Web(_) => "web",
        _ => "command",
    }
}

/// Flags that are configuration under another spelling.
fn flags(command: &Command) -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut add = |section, key, flag, value: &Option<String>| {
        if let Some(value) = value {
            flags.push((section, key, flag, value.clone()));
        }
    };
    let dags = |args: &DagsFolderArgs, add: &mut dyn FnMut(_, _, _, &Option<String>)| {
        let absolute = args.dags_folder.as_ref().map(|path| {
            std::path::absolute(path).map_or(path.clone(), |path| path.display().to_string())
        });
        add("core", "dags_folder", "-S", &absolute);
    };
    match command {
        Command::Standalone(WebArgs { host, port, dags: folder })
        | Command::Web(WebArgs { host, port, dags: folder }) => {
            add("web", "host", "--host", host);
            add("web", "port", "--port", port);
            dags(folder, &mut add);
        }
        Command::Scheduler(folder) => dags(folder, &mut add),
        Command::Worker(WorkerArgs { queues, concurrency, name, dags: folder }) => {
            add("worker", "queues", "-Q", queues);
            add("worker", "concurrency", "-c", concurrency);
            add("worker", "name", "-n", name);
            dags(folder, &mut add);
        }
        _ => {}
    }
    flags
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Standalone(_) => roles::standalone::run(context).await,
        Command::Scheduler(_) => roles::scheduler::run(context).await,
        Command::Worker(_) => roles::worker::run(context).await,
        Command::Web(_) => roles::web::run(context).await,
        Command::Db(DbCommand::Migrate) => {
            admin::db::migrate(context.store_unchecked().await?.as_ref()).await
        }
        Command::Db(DbCommand::Check) => {
            admin::db::check(context.store_unchecked().await?.as_ref()).await
        }
        Command::Dags(DagsCommand::Test(args)) => dags_test::run(context, args).await,
        Command::Dags(command) => dags(context, command).await,
        Command::Tasks(command) => tasks(context, command).await,
        Command::Jobs(JobsCommand::Check(args)) => {
            let store = context.store().await?;
            admin::jobs::check(store.as_ref(), &args, &context.config.hostname()).await
        }
        Command::Variables(command) => {
            let store = context.store().await?;
            match command {
                VariablesCommand::Get { key } => admin::variables::get(store.as_ref(), &key).await,
                VariablesCommand::Set { key, value } => {
                    admin::variables::set(store.as_ref(), &key, &value).await
                }
            }
        }
        Command::Queues(QueuesCommand::List { output }) => {
            let (store, broker) = (context.store().await?, context.broker().await?);
            let config = &context.config;
            admin::queues::list(store.as_ref(), broker.as_ref(), config, output.output).await
        }
        Command::Config(ConfigCommand::List { output }) => {
            admin::config::list(&context.config, output.output)
        }
        Command::Config(ConfigCommand::GetValue { section, key }) => {
            admin::config::get_value(&context.config, &section, &key)
        }
        Command::Bench(BenchCommand::Hop(args)) => bench::hop::run(context, &args).await,
        Command::Bench(BenchCommand::Drain(args)) => bench::drain::run(context, &args).await,
        Command::Guard { .. } | Command::Version => Ok(()),
    }
}

async fn dags(context: &Context, command: DagsCommand) -> Result<(), Failure> {
    let store = context.store().await?;
    let store = store.as_ref();
    match command {
        DagsCommand::List { output } => admin::dags::list(store, output.output).await,
        DagsCommand::Show { dag_id, output } => {
            admin::dags::show(store, &dag_id, output.output).await
        }
        DagsCommand::Trigger(args) => admin::dags::trigger(store, args).await,
        DagsCommand::ListRuns { dag_id, dag, state, limit, output } => {
            let dag_id = dag_id.or(dag);
            admin::dags::list_runs(store, dag_id, state.as_deref(), limit, output.output).await
        }
        DagsCommand::ListImportErrors { output } => {
            admin::dags::list_import_errors(store, output.output).await
        }
        DagsCommand::Pause { dag_id } => admin::dags::set_paused(store, &dag_id, true).await,
        DagsCommand::Unpause { dag_id } => admin::dags::set_paused(store, &dag_id, false).await,
        DagsCommand::Test(_) => Ok(()),
    }
}

async fn tasks(context: &Context, command: TasksCommand) -> Result<(), Failure> {
    let store = context.store().await?;
    let store = store.as_ref();
    match command {
        TasksCommand::List { dag_id, output } => {
            admin::tasks::list(store, &dag_id, output.output).await
        }
        TasksCommand::State { dag_id, task_id, run } => {
            admin::tasks::state(store, &dag_id, &task_id, &run).await
        }
        TasksCommand::StatesForDagRun { dag_id, run, output } => {
            admin::tasks::states_for_dag_run(store, &dag_id, &run, output.output).await
        }
        TasksCommand::Logs { dag_id, task_id, run, try_number, follow } => {
            let query = admin::tasks::LogsQuery {
                dag_id: &dag_id,
                task_id: &task_id,
                run: &run,
                try_number,
                follow,
            };
            admin::tasks::logs(store, query).await
        }
    }
}
