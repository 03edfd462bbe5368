//! Python environments below the target folder: tools for lints, and the Celery clients that the
//! fleet is proven with.
//!
//! Each is made from one pinned requirement file. A stamp inside says for which folder and which
//! requirements it was made; when either has changed, it is made anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{cargo, root, step, target};
use crate::services;

/// Tries of `pip install`: an index that answers slowly is no reason to fail a run.
const PIP_TRIES: u32 = 3;
/// Wait before another try, times the number of tries so far.
const PIP_PAUSE: Duration = Duration::from_secs(5);
const STAMP: &str = "tradewind-stamp";

/// One environment: folder below `target/python`, requirement file, and the variable that tells tests
/// where it is.
pub(crate) struct Environment {
    name: &'static str,
    requirements: &'static str,
    variable: Option<&'static str>,
}

/// For lints.
pub(crate) const TOOLS: Environment =
    Environment { name: "tools", requirements: "tests/python-tools.txt", variable: None };

/// For tests with clients that we did not write.
pub(crate) const CELERY: [Environment; 2] = [
    Environment {
        name: "celery-5.6.3",
        requirements: "tests/python/celery-5.6.3.txt",
        variable: Some("TRADEWIND_CELERY_5_6"),
    },
    Environment {
        name: "celery-5.7.0",
        requirements: "tests/python/celery-5.7.0.txt",
        variable: Some("TRADEWIND_CELERY_5_7"),
    },
];

/// For Celery's own integration suite.
const SUITE: Environment = Environment {
    name: "celery-suite",
    requirements: "tests/python/celery-suite.txt",
    variable: Some("TRADEWIND_CELERY_SUITE"),
};
/// The release whose suite it is.
const SUITE_OF: &str = "celery==5.7.0";

impl Environment {
    /// Its folder; the interpreter is `bin/python` in it.
    pub(crate) fn folder(&self) -> PathBuf {
        target().join("python").join(self.name)
    }

    /// Makes it, unless it is there and current.
    pub(crate) fn ensure(&self) -> Result<PathBuf, String> {
        let folder = self.folder();
        let requirements = root().join(self.requirements);
        let wanted = stamp(&folder, &requirements)?;
        let found = std::fs::read_to_string(folder.join(STAMP)).unwrap_or_default();
        if found == wanted && folder.join("bin/python").exists() {
            return Ok(folder);
        }
        let what = format!("Python environment {}", self.name);
        step(&what, Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        install(&what, &folder, &requirements)?;
        std::fs::write(folder.join(STAMP), wanted)
            .map_err(|error| format!("{what}: cannot write its stamp: {error}"))?;
        Ok(folder)
    }
}

/// Tells a test command where the Celery environments are, after making them.
pub(crate) fn hand_over(command: &mut Command) -> Result<(), String> {
    for environment in CELERY.iter().chain([&SUITE]) {
        let folder = environment.ensure()?;
        if let Some(variable) = environment.variable {
            command.env(variable, folder);
        }
    }
    command.env("TRADEWIND_CELERY_SUITE_SOURCE", suite_source()?);
    Ok(())
}

/// Celery's source distribution, which has its suite; nothing of it is kept in the repository.
fn suite_source() -> Result<PathBuf, String> {
    let folder = target().join("celery-suite");
    let archive = folder.join(format!("{}.tar.gz", SUITE_OF.replace("==", "-")));
    if archive.exists() {
        return Ok(archive);
    }
    let what = format!("source distribution of {SUITE_OF}");
    pip(&what, &SUITE.folder(), |pip| {
        pip.args(["download", "--no-deps", "--no-binary", "celery"]);
        pip.arg("--dest").arg(&folder).arg(SUITE_OF);
    })?;
    if archive.exists() {
        return Ok(archive);
    }
    Err(format!("{what}: pip has not left {}", archive.display()))
}

/// Captures golden vectors of Celery's wire anew, into `proto/tests/data/celery`.
pub(crate) fn capture() -> Result<(), String> {
    services::ensure()?;
    step("build", &mut cargo(&["build", "--package", "tradewind-services"]))?;
    for environment in &CELERY {
        let folder = environment.ensure()?;
        let version = environment.name.trim_start_matches("celery-");
        let mut run = Command::new(target().join("debug/services"));
        run.args(["run", "--"]).arg(folder.join("bin/python"));
        run.arg(root().join("tests/python/capture_all.py"));
        run.arg(root().join("proto/tests/data/celery").join(version));
        step(&format!("capture of Celery {version}"), &mut run)?;
    }
    Ok(())
}

fn install(what: &str, folder: &Path, requirements: &Path) -> Result<(), String> {
    pip(what, folder, |pip| {
        pip.args(["install", "-r"]).arg(requirements);
    })
}

#[expect(clippy::disallowed_methods, reason = "an index of others gives no signal to await")]
fn pip(what: &str, folder: &Path, args: impl Fn(&mut Command)) -> Result<(), String> {
    let mut tries = 1;
    loop {
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        args(&mut pip);
        match step(&format!("{what}: pip, try {tries}"), &mut pip) {
            Ok(()) => return Ok(()),
            Err(error) if tries == PIP_TRIES => return Err(error),
            Err(error) => println!("==> {error}"),
        }
        std::thread::sleep(PIP_PAUSE * tries);
        tries += 1;
    }
}

/// What the environment is for. A moved virtual environment is broken: its scripts name their folder.
fn stamp(folder: &Path, requirements: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    Ok(format!("{}\n{:016x}\n", folder.display(), fnv1a(text.as_bytes())))
}

/// A hash that is the same in every build of ours.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{fnv1a, stamp};

    #[test]
    fn a_stamp_tells_folders_and_requirements_apart() {
        let folder = std::env::temp_dir();
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let one = stamp(&folder, &here.join("Cargo.toml")).expect("stamp");
        assert_ne!(one, stamp(here, &here.join("Cargo.toml")).expect("stamp"));
        assert_ne!(one, stamp(&folder, &here.join("src/python.rs")).expect("stamp"));
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "the published test vector");
    }
}
