//! Makes sure that the servers which the tests start are installed. A missing one is a failure, never
//! a skipped test.

use std::path::Path;
use std::process::Command;

use crate::run::{answers, step};

/// `prometheus` brings `promtool` too.
const PACKAGES: [&str; 4] = ["redis-server", "rabbitmq-server", "postgresql", "prometheus"];

/// Installs what is missing (Debian, as root) or says what to run.
pub(crate) fn ensure() -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = format!("apt-get update && apt-get install -y {}", missing.join(" "));
    if !answers("apt-get", &["--version"]) || !answers("test", &["-w", "/var/lib/dpkg"]) {
        return Err(format!("missing: {}; run as root: {hint}", missing.join(", ")));
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        // The tests start private instances: the packages' own services stay off.
        command.env("RUNLEVEL", "1");
        command
    };
    step("apt-get update", apt(&["-qq", "update"]).arg("--yes"))?;
    let mut install = apt(&["-qq", "install", "--yes", "--no-install-recommends"]);
    step(&format!("apt-get install {}", missing.join(" ")), install.args(&missing))?;
    match self::missing().as_slice() {
        [] => Ok(()),
        still => Err(format!("still missing after the installation: {}", still.join(", "))),
    }
}

fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    for package in PACKAGES {
        let found = match package {
            "postgresql" => postgres_bin(),
            "rabbitmq-server" => {
                Path::new("/usr/sbin/rabbitmq-server").exists() || on_path("rabbitmq-server")
            }
            other => on_path(other),
        };
        if !found {
            missing.push(package);
        }
    }
    missing
}

fn postgres_bin() -> bool {
    let installed = std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|versions| {
        versions.flatten().any(|version| version.path().join("bin/postgres").exists())
    });
    installed || on_path("postgres")
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    })
}
