//! `cargo xtask soak --broker redis|rabbitmq --tasks N`: the soak at any size, with its account.

use std::process::ExitCode;
use std::time::Duration;

use tradewind_tests::soak::{Plan, run};

const USAGE: &str =
    "usage: cargo xtask soak --broker redis|rabbitmq --tasks N [--victims M] [--lease SECONDS]";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = plan(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!("{plan:?}");
    let account = run(plan).await;
    print!("{account}");
    let complaints = account.complaints(plan.tasks);
    for complaint in &complaints {
        println!("NOT RIGHT: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan(args: &[String]) -> Option<Plan> {
    let mut plan = Plan {
        rabbitmq: false,
        tasks: 1_000_000,
        victims: 6,
        kill_every: Duration::from_secs(4),
        cut_every: Duration::from_secs(7),
        lease: Duration::from_secs(10),
        tell_every: Duration::from_secs(10),
    };
    for pair in args.chunks(2) {
        match pair {
            [name, value] if name == "--broker" => match value.as_str() {
                "redis" => plan.rabbitmq = false,
                "rabbitmq" => plan.rabbitmq = true,
                _ => return None,
            },
            [name, value] if name == "--tasks" => plan.tasks = value.parse().ok()?,
            [name, value] if name == "--victims" => {
                plan.victims = value.parse().ok().filter(|victims| *victims > 0)?;
            }
            [name, value] if name == "--lease" => {
                plan.lease = Duration::from_secs(value.parse().ok().filter(|lease| *lease > 0)?);
            }
            _ => return None,
        }
    }
    Some(plan)
}
