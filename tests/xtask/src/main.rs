//! The project's task runner: `cargo xtask ci` is what README and CI call.

mod ci;
mod python;
mod run;
mod services;

use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask ci | test [nextest arguments] | sim --seed N [--seeds M] | capture";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ci"] => ci::all(),
        ["test", rest @ ..] => ci::tests(rest),
        ["sim", rest @ ..] => ci::simulation(rest),
        ["capture"] => python::capture(),
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
