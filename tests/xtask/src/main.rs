//! The project's task runner: `cargo xtask ci` is what README and CI call.

mod ci;
mod python;
mod run;
mod services;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND
  ci                              everything that a change must pass
  test [nextest arguments]        the Rust tests, on private servers
  sim --seed N [--seeds M]        the simulation alone
  soak --broker redis|rabbitmq --tasks N [--victims M] [--lease SECONDS]
  fuzz --broker redis|rabbitmq --seed N --messages M
  celery-suite [--broker redis|rabbitmq] [-k EXPRESSION] [--known] [--worker celery]
                                  Celery's own integration suite against our worker
  capture                         golden vectors of Celery anew";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ci"] => ci::all(),
        ["test", rest @ ..] => ci::tests(rest),
        ["sim", rest @ ..] => ci::simulation(rest),
        ["capture"] => python::capture(),
        ["soak", rest @ ..] => ci::program("soak", ci::Build::Release, rest),
        ["celery-suite", rest @ ..] => ci::program("celery_suite", ci::Build::Debug, rest),
        ["fuzz", rest @ ..] => ci::program("fuzz", ci::Build::Release, rest),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}
