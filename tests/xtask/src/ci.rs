//! The steps of CI, in the order that fails soonest.

use std::process::Command;

use crate::run::{answers, cargo, step, target};
use crate::{python, services};

/// What nextest reads how many tests run at a time from.
const TEST_THREADS: &str = "NEXTEST_TEST_THREADS";
/// Builds what the tests run and are. Without the tests themselves features would be unified differently,
/// and everything built twice; without `--bins` programs of packages that have no such tests would be missing.
const ALL_DEBUG: &[&str] =
    &["build", "--workspace", "--bins", "--tests", "--examples", "--all-features"];
const ALL_RELEASE: &[&str] = &["build", "--release", "--workspace", "--bins", "--all-features"];

/// Everything: formatting, lints, dependency rules, tests on real servers, Python.
pub(crate) fn all() -> Result<(), String> {
    services::ensure()?;
    step("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    python_package()?;
    step(
        "clippy",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    if answers("cargo", &["deny", "--version"]) {
        step("cargo deny", &mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        println!(
            "==> cargo deny: not installed; the dependency rules are held by tests/tests/arrows.rs"
        );
    }
    tests(&[])
}

/// All Rust tests, with one private instance of each server.
pub(crate) fn tests(args: &[&str]) -> Result<(), String> {
    services::ensure()?;
    step("build", &mut cargo(ALL_DEBUG))?;
    let mut run = Command::new(target().join("debug/services"));
    python::hand_over(&mut run)?;
    run.args(["run", "--", "cargo"]);
    if answers("cargo", &["nextest", "--version"]) {
        run.args(["nextest", "run", "--profile", "ci", "--workspace", "--all-features"]);
        // As `.config/nextest.toml` counts them.
        if std::env::var_os(TEST_THREADS).is_none() {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            run.env(TEST_THREADS, (2 * processors).to_string());
        }
    } else {
        run.args(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    }
    step("tests on real servers", run.args(args))
}

/// The seeded simulation alone, to replay a failing seed.
pub(crate) fn simulation(args: &[&str]) -> Result<(), String> {
    let mut run = cargo(&["run", "--quiet", "--package", "tradewind-sim", "--"]);
    step("simulation", run.args(args))
}

/// A program of the tests, with the Python environments at hand.
pub(crate) fn program(name: &str, build: Build, args: &[&str]) -> Result<(), String> {
    services::ensure()?;
    // It looks for the workers beside itself.
    let (folder, all) = match build {
        Build::Debug => ("debug", ALL_DEBUG),
        Build::Release => ("release", ALL_RELEASE),
    };
    step("build", &mut cargo(all))?;
    let mut run = Command::new(target().join(folder).join(name));
    python::hand_over(&mut run)?;
    step(name, run.args(args))
}

/// How a program of the tests is built.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Build {
    /// As the tests are: at hand after a test run.
    Debug,
    /// As the product is shipped, for what says how fast it is or how long it lasts.
    Release,
}

/// Lints and tests of `python/`, and lints of the Python that drives tests.
fn python_package() -> Result<(), String> {
    let tool = python::TOOLS.ensure()?.join("bin/python");
    step("ruff", Command::new(&tool).args(["-m", "ruff", "check", "python", "tests/python"]))?;
    // With the system's interpreter: the package must not need anything but the standard library.
    let mut tests = Command::new("python3");
    tests.args(["-m", "unittest", "discover", "-q", "-s", "python/tests"]);
    step("Python tests", tests.env("PYTHONDONTWRITEBYTECODE", "1"))
}
