//! `tradewind-sim --seed N` replays one seed and prints what happened (`--calls`: every single call);
//! `--seeds M [--from K]` runs many and prints which faults have bitten.

use std::process::{Command, ExitCode};

use tradewind_sim::{Options, Report, Summary, simulate};

/// Events shown of a seed that failed.
const LAST_EVENTS: usize = 50;

const USAGE: &str = "usage: tradewind-sim --seed N [--calls] | --seeds M [--from K]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    match (option("--seed"), option("--seeds")) {
        (Some(seed), None) => one(seed, args.iter().any(|arg| arg == "--calls")),
        (None, Some(count)) => many(option("--from").unwrap_or(0), count),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, calls: bool) -> ExitCode {
    let report = simulate(seed, Options { calls, ..Options::default() });
    for event in &report.events {
        println!("{event}");
    }
    println!("seed {seed}: trace {:016x}, {} virtual seconds", report.hash, report.virtual_seconds);
    if report.violation.is_none() {
        return ExitCode::SUCCESS;
    }
    fail(&report, 0);
    ExitCode::FAILURE
}

fn many(from: u64, count: u64) -> ExitCode {
    let mut summary = Summary::default();
    let mut failed = Vec::new();
    for seed in from..from.saturating_add(count) {
        let report = simulate(seed, Options::default());
        summary.add(&report);
        if report.violation.is_some() {
            fail(&report, LAST_EVENTS);
            failed.push(seed);
        }
    }
    print!("{summary}");
    let toothless = summary.toothless();
    if !toothless.is_empty() {
        println!("never seen: {}; these faults prove nothing", toothless.join(", "));
    }
    println!("failed seeds: {failed:?}");
    if failed.is_empty() && toothless.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(report: &Report, events: usize) {
    let Some(violation) = &report.violation else { return };
    let tail = report.events.len().saturating_sub(events);
    for event in &report.events[tail..] {
        println!("{event}");
    }
    println!("seed {} broke {}: {}", report.seed, violation.promise, violation.text);
    println!("commit {}", commit());
    println!("replay: cargo xtask sim --seed {}", report.seed);
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output();
    output.ok().filter(|output| output.status.success()).map_or_else(
        || "unknown (no git here)".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
