//! One pytest run over an unpacked suite, with `tests/python/suite_plugin.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use tempfile::TempDir;

use super::{Outcome, Outcomes};

/// The environment with pytest, made by the test command.
const ENVIRONMENT: &str = "TRADEWIND_CELERY_SUITE";
const WORKER: &str = "celery_suite_worker";
/// Celery's source distribution, downloaded by the test command.
const SOURCE: &str = "TRADEWIND_CELERY_SUITE_SOURCE";

/// The suite in a folder of its own, and the servers it uses.
#[derive(Debug)]
pub(super) struct Session {
    folder: TempDir,
    python: PathBuf,
    variables: Vec<(&'static str, String)>,
}

#[derive(Deserialize)]
struct Reported {
    outcome: String,
    text: String,
}

fn variable(name: &str) -> Result<PathBuf, String> {
    std::env::var_os(name).map(PathBuf::from).ok_or_else(|| {
        format!("{name} is not set: use cargo xtask celery-suite or cargo xtask test")
    })
}

impl Session {
    pub(super) fn new(
        broker: &str,
        results: &str,
        redis_port: u16,
        python_worker: bool,
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
        unpack(&variable(SOURCE)?, folder.path())?;
        let environment = variable(ENVIRONMENT)?;
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let inside = |name: &str| folder.path().join(name).display().to_string();
        let mut variables = vec![
            ("TEST_BROKER", broker.to_owned()),
            ("TEST_BACKEND", results.to_owned()),
            ("REDIS_HOST", "127.0.0.1".to_owned()),
            ("REDIS_PORT", redis_port.to_string()),
            ("PYTHONPATH", format!("{}:{}", scripts.display(), folder.path().display())),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("SUITE_REPORT", inside("report.json")),
            ("SUITE_PASSED_OVER", inside("passed-over.json")),
            ("SUITE_LOG", inside("worker.log")),
        ];
        if !python_worker {
            let worker = worker()?;
            variables.push(("SUITE_WORKER", worker.display().to_string()));
        }
        Ok(Self { folder, python: environment.join("bin/python"), variables })
    }

    /// Runs all tests but those of `passed_over`, or those of `only`.
    pub(super) fn run(
        &self,
        passed_over: &[String],
        select: Option<&str>,
        only: &[String],
    ) -> Result<Outcomes, String> {
        let at = |name: &str| self.folder.path().join(name);
        let list = serde_json::to_string(passed_over).map_err(|error| error.to_string())?;
        std::fs::write(at("passed-over.json"), list).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.python);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.args([
            "-m",
            "pytest",
            "-q",
            "--tb=native",
            "-W",
            "ignore",
            "-p",
            "no:cacheprovider",
        ]);
        // The second takes the place of the first one's worker.
        command.args(["-p", "celery.contrib.pytest", "-p", "suite_plugin"]);
        // As in its own configuration.
        command.args(["-o", "python_classes=test_*"]);
        for name in passed_over.iter().filter(|name| name.ends_with(".py")) {
            command.arg(format!("--ignore=t/integration/{name}"));
        }
        if let Some(select) = select {
            command.args(["-k", select]);
        }
        match only {
            [] => command.arg("t/integration"),
            only => command.args(only.iter().map(|name| format!("t/integration/{name}"))),
        };
        let status = command.status().map_err(|error| format!("pytest cannot be run: {error}"))?;
        // 1: tests have failed; that is for the judge.
        if !matches!(status.code(), Some(0 | 1)) {
            return Err(format!("pytest ended with {status}"));
        }
        self.outcomes()
    }

    fn outcomes(&self) -> Result<Outcomes, String> {
        let path = self.folder.path().join("report.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("pytest left no report: {error}"))?;
        let reported: BTreeMap<String, Reported> =
            serde_json::from_str(&text).map_err(|error| format!("the report: {error}"))?;
        let mut outcomes = Outcomes::new();
        for (name, Reported { outcome, text }) in reported {
            // All parameters of a test count as one.
            let (name, parameters) = name.split_once('[').unwrap_or((name.as_str(), ""));
            let one = match outcome.as_str() {
                "passed" => Outcome::Passed,
                "skipped" => Outcome::Skipped,
                _ if parameters.is_empty() => Outcome::Failed(text),
                _ => Outcome::Failed(format!("[{parameters}\n{text}")),
            };
            let before = outcomes.entry(name.to_owned()).or_insert(one.clone());
            // The worst of them: failed before passed before skipped.
            match (&before, one) {
                (_, failed @ Outcome::Failed(_)) => *before = failed,
                (Outcome::Skipped, better) => *before = better,
                _ => {}
            }
        }
        Ok(outcomes)
    }
}

/// The worker's program: beside a program, one folder above a test.
fn worker() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("the own program: {error}"))?;
    let mut folders = own.ancestors().skip(1).take(2).map(|folder| folder.join(WORKER));
    folders
        .find(|path| path.exists())
        .ok_or_else(|| format!("{WORKER} is not beside {}: build tradewind-tests", own.display()))
}

/// Takes the folder `t` out of a source distribution.
fn unpack(archive: &Path, folder: &Path) -> Result<(), String> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--strip-components=1", "--wildcards", "--file"]).arg(archive);
    tar.arg("--directory").arg(folder).args(["celery-*/t/integration", "celery-*/t/*.py"]);
    let status = tar.status().map_err(|error| format!("tar cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!("{} cannot be unpacked: tar ended with {status}", archive.display()));
    }
    Ok(())
}
