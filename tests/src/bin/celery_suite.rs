//! Runs Celery's own integration suite against our worker, and fails when it is not as
//! `docs/celery-suite.md` says: what `cargo xtask celery-suite` starts.

use std::process::ExitCode;

use tradewind_tests::celery_suite::{Options, Servers, Table, judge, run};

const USAGE: &str =
    "usage: celery_suite [--broker redis|rabbitmq] [-k EXPRESSION] [--known] [--worker celery]";

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options =
        Options { servers: Servers::Redis, select: None, known: false, python_worker: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--broker" => {
                options.servers = match args.next()?.as_str() {
                    "redis" => Servers::Redis,
                    "rabbitmq" => Servers::RabbitMq,
                    _ => return None,
                };
            }
            "-k" => options.select = Some(args.next()?),
            "--known" => options.known = true,
            "--worker" if args.next()? == "celery" => options.python_worker = true,
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let judged = Table::committed().and_then(|table| {
        let outcomes = run(&options, &table)?;
        judge(&table, &outcomes, options.servers, options.select.is_none())
    });
    match judged {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("celery_suite: {text}");
            ExitCode::FAILURE
        }
    }
}
