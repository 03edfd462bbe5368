//! From a parsed command line to what does it.

use tradewind_broker::Broker;

use crate::args::{
    BenchCommand, Command, ConfigCommand, DagsCommand, DbCommand, DlqCommand, FleetCommand,
    JobsCommand, QueuesCommand, TaskCommand, TasksCommand, VariablesCommand,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::{admin, bench, dags_test, remote, roles, task};

/// Runs a command to its end.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Standalone(_) => roles::standalone::run(context).await,
        Command::Scheduler(_) => roles::scheduler::run(context).await,
        Command::Worker(args) => roles::worker::run(context, &args).await,
        Command::Beat(_) => roles::beat::run(context).await,
        Command::Flower(_) => roles::flower::run(context).await,
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
        Command::Fleet(command) => fleet(context, command).await,
        Command::Config(ConfigCommand::List { output }) => {
            admin::config::list(&context.config, output.format())
        }
        Command::Config(ConfigCommand::GetValue { section, key }) => {
            admin::config::get_value(&context.config, &section, &key)
        }
        Command::Bench(command) => bench(context, command).await,
        Command::Guard { .. } | Command::Version => Ok(()),
    }
}

/// Commands that talk to queues, workers and results; each needs a broker that processes share.
async fn fleet(context: &Context, command: FleetCommand) -> Result<(), Failure> {
    // Names of the configuration and of DAGs can be listed on any broker.
    if !matches!(command, FleetCommand::Queues(QueuesCommand::List { .. })) {
        context.require_broker(command.name())?;
    }
    match command {
        FleetCommand::Task(TaskCommand::Send(args)) => task::send(context, *args).await,
        FleetCommand::Task(TaskCommand::Result(args)) => task::result(context, &args).await,
        FleetCommand::Task(TaskCommand::Revoke(args)) => task::revoke(context, args).await,
        FleetCommand::Inspect(args) => remote::inspect(context, args).await,
        FleetCommand::Control(args) => remote::control(context, args).await,
        FleetCommand::Status(args) => remote::status(context, args).await,
        FleetCommand::Events(args) => remote::events(context, args).await,
        FleetCommand::Purge(args) => admin::queues::purge(context, &args).await,
        FleetCommand::Queues(command) => queues(context, command).await,
        FleetCommand::Dlq(command) => dlq(context, context.broker().await?.as_ref(), command).await,
    }
}

async fn queues(context: &Context, command: QueuesCommand) -> Result<(), Failure> {
    match command {
        QueuesCommand::List { output } => admin::queues::list(context, output.format()).await,
        QueuesCommand::Purge(args) => admin::queues::purge(context, &args).await,
        QueuesCommand::Peek { queue, limit, output } => {
            let broker = context.broker().await?;
            admin::queues::peek(broker.as_ref(), &queue, limit, output.format()).await
        }
    }
}

async fn dlq(context: &Context, broker: &dyn Broker, command: DlqCommand) -> Result<(), Failure> {
    match command {
        DlqCommand::List { queue, limit, after, output } => {
            admin::dlq::list(broker, &queue, limit, after.as_deref(), output.format()).await
        }
        DlqCommand::Show { queue, id } => admin::dlq::show(broker, &queue, &id).await,
        DlqCommand::Replay(args) => {
            let results = context.results().await?;
            admin::dlq::replay(broker, results.as_ref(), &args).await
        }
        DlqCommand::Drop(args) => admin::dlq::drop_letters(broker, &args).await,
    }
}

async fn bench(context: &Context, command: BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Hop(args) => bench::hop::run(context, &args).await,
        BenchCommand::Drain(args) => bench::drain::run(context, &args).await,
        BenchCommand::Publish(args) => bench::publish::run(context, &args).await,
        BenchCommand::Roundtrip(args) => bench::roundtrip::run(context, &args).await,
        BenchCommand::Worker(args) => bench::scale::worker(context, &args).await,
        BenchCommand::Scale(args) => bench::scale::run(context, &args).await,
    }
}

async fn dags(context: &Context, command: DagsCommand) -> Result<(), Failure> {
    let store = context.store().await?;
    let store = store.as_ref();
    match command {
        DagsCommand::List { output } => admin::dags::list(store, output.format()).await,
        DagsCommand::Show { dag_id, output } => {
            admin::dags::show(store, &dag_id, output.format()).await
        }
        DagsCommand::Trigger(args) => admin::dags::trigger(store, args).await,
        DagsCommand::ListRuns { dag_id, dag, state, limit, output } => {
            let dag_id = dag_id.or(dag);
            admin::dags::list_runs(store, dag_id, state.as_deref(), limit, output.format()).await
        }
        DagsCommand::ListImportErrors { output } => {
            admin::dags::list_import_errors(store, output.format()).await
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
            admin::tasks::list(store, &dag_id, output.format()).await
        }
        TasksCommand::State { dag_id, task_id, run } => {
            admin::tasks::state(store, &dag_id, &task_id, &run).await
        }
        TasksCommand::StatesForDagRun { dag_id, run, output } => {
            admin::tasks::states_for_dag_run(store, &dag_id, &run, output.format()).await
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
