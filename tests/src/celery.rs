//! Celery and Flower as they are on the package index, and our worker beside them, on one broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tradewind_services::{shared, unique};

use crate::fleet::Role;

/// How long a worker may take until it consumes. Python imports a lot.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A Celery release, with the kombu of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Celery 5.6.3, kombu 5.6.2.
    V5_6,
    /// Celery 5.7.0, kombu 5.7.0.
    V5_7,
}

impl Version {
    /// Its virtual environment, made by `cargo xtask test`.
    ///
    /// # Panics
    /// When the test command did not say where it is.
    pub fn environment(self) -> PathBuf {
        let variable = match self {
            Self::V5_6 => "TRADEWIND_CELERY_5_6",
            Self::V5_7 => "TRADEWIND_CELERY_5_7",
        };
        let folder = std::env::var_os(variable);
        let folder =
            folder.unwrap_or_else(|| panic!("{variable} is not set: use cargo xtask test"));
        PathBuf::from(folder)
    }
}

/// The folder of our Python scripts.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// A broker, a result backend and a queue that no other test uses.
#[derive(Debug)]
pub struct Setting {
    /// Broker URL.
    pub broker: String,
    /// Result backend URL, as Celery spells it.
    pub results: String,
    /// Queue.
    pub queue: String,
    home: TempDir,
}

impl Setting {
    /// These servers, and a new queue.
    pub fn new(broker: &str, results: &str) -> Self {
        Self {
            broker: broker.to_owned(),
            results: results.to_owned(),
            queue: unique("fleet"),
            home: tempfile::tempdir().expect("temporary folder"),
        }
    }

    /// The shared Redis as broker and result backend. `database` keeps broadcasts of tests apart.
    pub fn redis(database: u8) -> Self {
        let url = shared::redis_url();
        let base = url.rsplit_once('/').map_or(url.as_str(), |(base, _)| base);
        let url = format!("{base}/{database}");
        Self::new(&url, &url)
    }

    /// A folder for files of the test.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The variables that both kinds of worker and the scripts read.
    fn set(&self, command: &mut Command, node: &str) {
        command
            .env("FLEET_BROKER", &self.broker)
            .env("FLEET_RESULTS", &self.results)
            .env("FLEET_QUEUE", &self.queue)
            .env("FLEET_NODE", node)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(self.home());
    }

    /// Our worker (`src/bin/fleet_tasks.rs`), consuming.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn rust_worker(&self, node: &str, variables: &[(&str, &str)]) -> Role {
        let mut role = self.spawn_rust(node, variables);
        role.wait_for("ready", READY_WITHIN);
        role
    }

    /// As [`Setting::rust_worker`], but does not wait.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn spawn_rust(&self, node: &str, variables: &[(&str, &str)]) -> Role {
        let path = crate::cli::binary().with_file_name("fleet_tasks");
        assert!(path.exists(), "{} is missing: build tradewind-tests", path.display());
        let mut command = Command::new(path);
        self.set(&mut command, node);
        command.envs(variables.iter().copied());
        Role::launch(&unique("rust"), command, self.home())
    }

    /// A Celery worker with the same tasks, consuming.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn python_worker(&self, version: Version, node: &str, variables: &[(&str, &str)]) -> Role {
        let mut command = Command::new(version.environment().join("bin/python"));
        self.set(&mut command, node);
        command.env("PYTHONPATH", scripts()).envs(variables.iter().copied());
        command.args(["-m", "celery", "-A", "fleet_app", "worker", "-n", node, "-E"]);
        let pool = variables.iter().find(|(name, _)| *name == "FLEET_POOL");
        command.args(["-c", "2", "-l", "info", "-P", pool.map_or("prefork", |(_, pool)| pool)]);
        let mut role = Role::launch(&unique("python"), command, self.home());
        role.wait_for(" ready.", READY_WITHIN);
        role
    }

    /// Flower on a port of 127.0.0.1.
    pub fn flower(&self, version: Version, port: u16) -> Role {
        let mut command = Command::new(version.environment().join("bin/python"));
        self.set(&mut command, "celery@flower");
        command.env("PYTHONPATH", scripts()).env("FLOWER_UNAUTHENTICATED_API", "true");
        command.args(["-m", "celery", "-A", "fleet_app", "flower"]);
        command.args(["--address=127.0.0.1", &format!("--port={port}")]);
        Role::launch(&unique("flower"), command, self.home())
    }

    /// Runs one of our scripts to its end; the JSON on the last line of its output.
    ///
    /// # Panics
    /// When it fails; the message has its output.
    pub fn script(&self, version: Version, node: &str, name: &str, args: &[&str]) -> Value {
        let mut command = Command::new(version.environment().join("bin/python"));
        self.set(&mut command, node);
        command.env("PYTHONPATH", scripts()).arg(scripts().join(name)).args(args);
        let output = command.output().expect("python runs");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{stdout}\n{stderr}", output.status);
        let last = stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{name}: {error}\n{stdout}"))
    }
}
