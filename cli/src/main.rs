//! The `tradewind` binary: roles, admin commands, commands of the fleet, benches.

mod admin;
mod args;
mod assets;
mod bench;
mod celery;
mod config;
mod context;
mod dags_test;
mod dispatch;
mod failure;
mod flags;
mod links;
mod output;
mod progress;
mod remote;
mod roles;
mod span_export;
mod task;
mod telemetry;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = parse().and_then(|cli| match cli.command {
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
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// The command line, in our spelling or in Celery's.
fn parse() -> Result<Cli, Failure> {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let Some(words) = celery::spelled(&argv) else { return Ok(Cli::parse_from(argv)) };
    let translated = celery::translate(&words).map_err(Failure::usage)?;
    if let Some(folder) = &translated.workdir {
        std::env::set_current_dir(folder)
            .map_err(|error| Failure::usage(format!("--workdir {}: {error}", folder.display())))?;
    }
    if !translated.ignored.is_empty() {
        eprintln!("Without meaning here and ignored: {}", translated.ignored.join(", "));
    }
    let mut cli = Cli::parse_from(["celery".to_owned()].into_iter().chain(translated.args));
    cli.celery = translated.celery;
    Ok(cli)
}

fn start(cli: Cli) -> Result<(), Failure> {
    let context = Context::load(&cli, flags::of(&cli.command))?;
    // An error says that a provider is set already, which cannot be this early.
    let _first = rustls::crypto::ring::default_provider().install_default();
    // Outlives the runtime: its last flush blocks.
    let _telemetry = telemetry::init(&context.config, role_name(&cli.command))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime
        .block_on(dispatch::run(&context, cli.command))
        .map_err(|failure| failure.at(&context.config))
}

fn role_name(command: &Command) -> &'static str {
    match command {
        Command::Standalone(_) => "standalone",
        Command::Scheduler(_) => "scheduler",
        Command::Worker(_) => "worker",
        Command::Beat(_) => "beat",
        Command::Flower(_) => "flower",
        Command::Web(_) => "web",
        Command::Fleet(_) => telemetry::CLIENT,
        _ => "command",
    }
}
