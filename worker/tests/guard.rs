//! A worker killed by force: its guard kills everything that it had started, daemons included.
//!
//! Runs without the test harness: the same program is the test, the worker (`worker <folder>`) and
//! the guard (`guard --instance <id>`).
#![expect(clippy::disallowed_methods, reason = "other processes give no signal to await")]

mod support;

use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use support::{Rig, bash, is_alive, python};
use tradewind_worker::guard;

const DAG: &str = r#"
import os, time
from datetime import datetime
from airflow import DAG
from airflow.operators.python import PythonOperator

def hang():
    if os.fork() == 0:
        os.setsid()
        with open(os.environ["PIDS"] + "/python_daemon", "w") as out:
            out.write(f"{os.getpid()}\n")
        time.sleep(300)
    with open(os.environ["PIDS"] + "/python", "w") as out:
        out.write(f"{os.getpid()}\n")
    time.sleep(300)

with DAG("demo", start_date=datetime(2026, 1, 1), schedule=None):
    PythonOperator(task_id="hang", python_callable=hang)
"#;

const FILES: [&str; 4] = ["bash", "bash_daemon", "python", "python_daemon"];
/// What S14 promises.
const GONE_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("guard") => {
            guard::run(arguments[3].parse().expect("an instance id"));
        }
        Some("worker") => worker(Path::new(&arguments[2])),
        // The harness's listing, which some tools ask for; ignored tests are listed apart.
        Some("--list") if arguments.iter().any(|word| word == "--ignored") => {}
        Some("--list") => println!("guard_kills_orphans: test"),
        _ => guard_kills_orphans(),
    }
    ExitCode::SUCCESS
}

fn worker(folder: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let change = |options: &mut tradewind_worker::WorkerOptions| options.guard = true;
        let rig = Rig::start_with(change, &tradewind_worker::fleet::Tasks::default(), DAG).await;
        let folder = folder.display();
        let command = format!(
            "setsid bash -c 'echo $$ > {folder}/bash_daemon; sleep 300' & echo $$ > {folder}/bash; sleep 300"
        );
        rig.submit(bash(&command)).await;
        rig.submit(python("hang")).await;
        std::future::pending::<()>().await;
    });
}

fn guard_kills_orphans() {
    let folder = tempfile::tempdir().expect("folder");
    let program = std::env::current_exe().expect("this program");
    let worker = Command::new(program)
        .arg("worker")
        .arg(folder.path())
        .env("PIDS", folder.path())
        .spawn()
        .expect("a worker");
    let mut worker = KillOnDrop(worker);
    let pids: Vec<i32> = FILES.iter().map(|name| read_pid(&folder.path().join(name))).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "all run");
    worker.0.kill().expect("kill -9");
    worker.0.wait().expect("reaped");
    let killed = Instant::now();
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(killed.elapsed() < GONE_WITHIN, "{pids:?} are gone within {GONE_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("test guard_kills_orphans ... ok ({:?} after kill -9)", killed.elapsed());
}

/// A failed assertion must not leave the worker running.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ended = self.0.kill();
    }
}

fn read_pid(path: &Path) -> i32 {
    let deadline = Instant::now() + support::WAIT;
    loop {
        if let Some(pid) = std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok()) {
            return pid;
        }
        assert!(Instant::now() < deadline, "{} in time", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
