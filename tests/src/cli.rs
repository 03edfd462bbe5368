//! Running the binary as a user would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary under test, built by the test command before the tests.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    let exe = std::env::current_exe().expect("test binary has a path");
    // target/debug/deps/test-hash or target/debug/soak → target/debug/tradewind
    let own = exe.parent().expect("a folder");
    let folder = if own.ends_with("deps") { own.parent().expect("target folder") } else { own };
    let path = folder.join("tradewind");
    assert!(
        path.exists(),
        "{} is missing; run `cargo build -p tradewind-cli` first",
        path.display()
    );
    path
}

/// An environment in which commands run: home folder and variables.
#[derive(Debug, Clone)]
pub struct Env {
    /// `TRADEWIND_HOME`.
    pub home: PathBuf,
    /// Further variables.
    pub vars: BTreeMap<String, String>,
}

impl Env {
    /// An environment with nothing but a home folder.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), vars: BTreeMap::new() }
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.vars.insert(name.to_owned(), value.into());
        self
    }

    /// A command of the binary in this environment, and in no other.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env_clear().stdin(Stdio::null()).current_dir(&self.home);
        for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("TRADEWIND_HOME", &self.home).envs(&self.vars);
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    /// Runs a command that must succeed; its stdout.
    ///
    /// # Panics
    /// When it fails; the message has its output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }

    /// Runs a command with `-o json`; the rows.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn rows(&self, args: &[&str]) -> Vec<Value> {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let text = self.ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}\n{text}"))
    }
}
