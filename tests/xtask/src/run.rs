//! Running one step: say what, run it, say how long it took.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(PathBuf::from).unwrap_or(here)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command in the root; an exit code other than 0 is an error.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<(), String> {
    println!("==> {what}");
    let start = Instant::now();
    let status = command
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{what}: cannot run {:?}: {error}", command.get_program()))?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("{what} failed after {seconds:.1} s ({status})"));
    }
    println!("==> {what}: done in {seconds:.1} s");
    Ok(())
}

/// Whether a command runs and exits 0, without showing its output.
pub(crate) fn answers(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir(root()).status().is_ok_and(|status| status.success())
}

/// `cargo` as the one that runs us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}
