//! A fleet of separate processes on real servers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::Env;
use crate::poll::until;

/// How long a role may take until it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// One running role. Killed when dropped.
#[derive(Debug)]
pub struct Role {
    name: String,
    child: Child,
    log: PathBuf,
    out: PathBuf,
}

impl Role {
    /// Starts a command whose output goes to files in `folder`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let err = File::create(&log).expect("log file");
        let printed = folder.join(format!("{name}.out"));
        let out = File::create(&printed).expect("output file");
        command.stdin(Stdio::null()).stdout(Stdio::from(out)).stderr(Stdio::from(err));
        Self {
            name: name.to_owned(),
            child: command.spawn().expect("it starts"),
            log,
            out: printed,
        }
    }

    /// Waits until it has logged or printed `text`.
    ///
    /// # Panics
    /// When it ends or the limit passes; the message has its log.
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        until(&format!("{} to say {text:?}", self.name), limit, || {
            assert!(self.alive(), "{} ended:\n{}", self.name, self.log());
            (self.log().contains(text) || self.output().contains(text)).then_some(())
        });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.ask_to_end();
        self.child.wait().expect("wait").code()
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
    }

    /// Waits for its end; the exit code.
    ///
    /// # Panics
    /// When the limit passes; the message has its log.
    pub fn ended(&mut self, limit: Duration) -> Option<i32> {
        let what = format!("{} to end", self.name);
        until(&what, limit, || self.child.try_wait().expect("wait")).code()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has logged so far (stderr).
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it has printed for people so far (stdout).
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.alive() {
            self.kill9();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- last lines of {} ---", self.name);
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// A home folder, an environment and the roles started in it.
#[derive(Debug)]
pub struct Fleet {
    dir: TempDir,
    /// Where commands run.
    pub env: Env,
    started: usize,
}

impl Fleet {
    /// A home with the bundled configuration defaults and these URLs. New DAGs are not paused.
    pub fn new(broker: &str, results: &str, database: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir(dir.path().join("dags")).expect("folder");
        let mut env = Env::new(dir.path());
        env.set("TRADEWIND__BROKER__URL", broker)
            .set("TRADEWIND__DATABASE__URL", database)
            .set("TRADEWIND__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false")
            .set("TRADEWIND__LOGGING__FORMAT", "json");
        if !results.is_empty() {
            env.set("TRADEWIND__RESULTS__URL", results);
        }
        Self { dir, env, started: 0 }
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a DAG file.
    pub fn dag(&self, name: &str, text: &str) {
        // Renamed into place: a half-written file is a different test.
        let staging = self.home().join(format!("{name}.tmp"));
        std::fs::write(&staging, text).expect("DAG file");
        std::fs::rename(staging, self.home().join("dags").join(name)).expect("DAG file");
    }

    /// Starts a role and waits until it logs that it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time; the message has its log.
    pub fn start(&mut self, args: &[&str]) -> Role {
        let mut role = self.spawn(args);
        until(&format!("{} to be ready", role.name), READY_WITHIN, || {
            assert!(role.alive(), "{} ended:\n{}", role.name, role.log());
            role.log().contains("ready").then_some(())
        });
        role
    }

    /// Starts a role.
    pub fn spawn(&mut self, args: &[&str]) -> Role {
        self.started += 1;
        let name = format!("{}-{}", args[0], self.started);
        Role::launch(&name, self.env.command(args), self.home())
    }

    /// Starts `web` on a free port and points the workers to it.
    pub fn start_web(&mut self) -> Role {
        let port = free_port();
        self.env.set("TRADEWIND__EXECUTION__API_URL", format!("http://127.0.0.1:{port}"));
        self.start(&["web", "--port", &port.to_string()])
    }

    /// Triggers a run of a DAG, once the DAG is known.
    pub fn trigger(&self, dag_id: &str, run_id: &str) {
        self.env.ok(&["dags", "trigger", dag_id, "--run-id", run_id]);
    }

    /// Waits until a DAG has been loaded.
    pub fn wait_for_dag(&self, dag_id: &str) {
        until(&format!("DAG {dag_id}"), Duration::from_secs(20), || {
            let dags = self.env.rows(&["dags", "list"]);
            dags.iter().any(|dag| dag["dag_id"] == dag_id).then_some(())
        });
    }

    /// Waits until `count` runs of a DAG have ended; the runs.
    pub fn wait_for_runs(&self, dag_id: &str, count: usize, limit: Duration) -> Vec<Value> {
        let mut last = Vec::new();
        until(&format!("{count} runs of {dag_id} to end"), limit, || {
            last = self.env.rows(&["dags", "list-runs", dag_id, "--limit", "10000"]);
            let ended =
                last.iter().filter(|run| run["state"] == "success" || run["state"] == "failed");
            (ended.count() >= count).then(|| last.clone())
        })
    }

    /// The task instances of a run.
    pub fn states(&self, dag_id: &str, run_id: &str) -> Vec<Value> {
        self.env.rows(&["tasks", "states-for-dag-run", dag_id, run_id])
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("address").port()
}
