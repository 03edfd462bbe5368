//! Shell commands, spawned by the worker itself: Airflow's `BashOperator`.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::Xcom;

use super::python::PythonRuntime;
use super::render::{path_text, put, render};
use super::{AttemptJob, Ended, Runtime, environment};
use crate::WorkerOptions;
use crate::logs::{Stream, pump};
use crate::process::guard::scratch_folder;
use crate::process::{ProcessTable, kill_group, kill_tree};

/// Airflow's default for `skip_on_exit_code`.
const SKIP_EXIT_CODE: i32 = 99;
/// How long output is read after the command has ended: somebody else may hold its pipes.
const OUTPUT_LINGER: Duration = Duration::from_millis(200);

/// Runs `bash -c`.
#[derive(Debug)]
pub(super) struct BashRuntime {
    bash: PathBuf,
    kill_grace: Duration,
    processes: Arc<ProcessTable>,
    python: Arc<PythonRuntime>,
}

/// A command with its arguments rendered and checked.
#[derive(Debug)]
struct Plan {
    command: String,
    env: Option<BTreeMap<String, String>>,
    append_env: bool,
    cwd: Option<PathBuf>,
    skip_codes: Vec<i32>,
}

impl BashRuntime {
    pub(super) fn new(
        options: &WorkerOptions,
        processes: Arc<ProcessTable>,
        python: Arc<PythonRuntime>,
    ) -> Self {
        Self { bash: find_bash(), kill_grace: options.kill_grace(), processes, python }
    }

    async fn arguments(
        &self,
        job: &AttemptJob,
        cancel: &CancellationToken,
    ) -> Result<Map<String, Value>, Ended> {
        let mut args = job.grant.task.args.clone();
        if job.grant.task.templates.is_empty() {
            return Ok(args);
        }
        let (mut rendered, unrendered) = render(job).await;
        if !unrendered.is_empty() {
            rendered.extend(self.python.render(job, unrendered, cancel).await?);
        }
        for field in rendered {
            let path = path_text(&field.path);
            if !put(&mut args, field) {
                return Err(Ended::failed(format!("template field {path} is not an argument")));
            }
        }
        Ok(args)
    }

    fn spawn(&self, job: &AttemptJob, plan: &Plan, cwd: &Path) -> std::io::Result<Child> {
        let mut command = Command::new(&self.bash);
        command.arg("-c").arg(&plan.command).current_dir(cwd).env_clear();
        if plan.env.is_none() || plan.append_env {
            command.envs(environment::inherited());
        }
        command.envs(plan.env.iter().flatten()).envs(environment::identity(job));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.spawn()
    }

    /// From the spawned command to its exit status and last line; `None` when it was cancelled.
    async fn attend(
        &self,
        job: &AttemptJob,
        mut child: Child,
        leader: i32,
        cancel: &CancellationToken,
    ) -> Option<(std::io::Result<ExitStatus>, Vec<u8>)> {
        let _registered = self.processes.register(job.attempt_id, leader);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut last = Vec::new();
        let mut last_error = Vec::new();
        let output = async {
            let out = async {
                if let Some(pipe) = stdout {
                    pump(pipe, Stream::Stdout, &job.log, &mut last).await;
                }
            };
            let err = async {
                if let Some(pipe) = stderr {
                    pump(pipe, Stream::Stderr, &job.log, &mut last_error).await;
                }
            };
            tokio::join!(out, err);
        };
        let mut output = Box::pin(output);
        let mut drained = false;
        let status = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    let gone = async { drop(child.wait().await) };
                    kill_tree(job.attempt_id, leader, self.kill_grace, gone).await;
                    let _reaped = child.wait().await;
                    if !drained {
                        let _held = timeout(OUTPUT_LINGER, output.as_mut()).await;
                    }
                    return None;
                }
                status = child.wait() => break status,
                () = output.as_mut(), if !drained => drained = true,
            }
        };
        // Background jobs of the command end with it; a daemon in its own session is swept later.
        kill_group(leader, Signal::SIGKILL);
        if !drained {
            let _held = timeout(OUTPUT_LINGER, output.as_mut()).await;
        }
        drop(output);
        Some((status, last))
    }
}

#[async_trait]
impl Runtime for BashRuntime {
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended {
        let args = match self.arguments(&job, &cancel).await {
            Ok(args) => args,
            Err(ended) => return ended,
        };
        let plan = match Plan::new(&args) {
            Ok(plan) => plan,
            Err(text) => return Ended::failed(text),
        };
        let scratch = scratch_folder(job.instance).join(format!("task-{}", job.attempt_id));
        let cwd = plan.cwd.clone().unwrap_or_else(|| scratch.clone());
        if plan.cwd.is_none()
            && let Err(error) = std::fs::create_dir_all(&scratch)
        {
            return Ended::failed(format!("cannot make folder {}: {error}", scratch.display()));
        }
        let spawned = self.spawn(&job, &plan, &cwd);
        let ended = match spawned {
            Err(error) => Ended::failed(spawn_text(&error, &self.bash, &cwd)),
            Ok(child) => {
                let pid = child.id().unwrap_or_default();
                let leader = i32::try_from(pid).unwrap_or_default();
                let ended = match self.attend(&job, child, leader, &cancel).await {
                    None => Ended::cancelled(),
                    Some((status, last)) => {
                        conclude(status, &last, &plan, job.grant.task.do_xcom_push)
                    }
                };
                ended.with_pid(pid)
            }
        };
        if plan.cwd.is_none() {
            // A task may leave a lot behind: not on a thread that others wait for.
            drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(scratch)));
        }
        ended
    }
}

fn spawn_text(error: &std::io::Error, bash: &Path, cwd: &Path) -> String {
    if !cwd.is_dir() {
        return format!("cwd {} is not a folder on this worker", cwd.display());
    }
    format!("cannot start {}: {error}", bash.display())
}

fn conclude(status: std::io::Result<ExitStatus>, last: &[u8], plan: &Plan, push: bool) -> Ended {
    let status = match status {
        Ok(status) => status,
        Err(error) => return Ended::failed(format!("waiting for the command failed: {error}")),
    };
    match status.code() {
        Some(0) => {
            let mut ended = Ended::new(OutcomeState::Success, "");
            if push {
                let text = String::from_utf8_lossy(last.trim_ascii_end()).replace('\0', "\u{fffd}");
                let json = json!(text).to_string();
                ended.xcoms.push(Xcom { key: "return_value".to_owned(), json });
            }
            ended
        }
        Some(code) if plan.skip_codes.contains(&code) => {
            Ended::new(OutcomeState::Skipped, format!("exit code {code} means skip"))
        }
        Some(code) => Ended::failed(format!("bash command failed: exit code {code}")),
        None => {
            let signal = status.signal().unwrap_or_default();
            let name = Signal::try_from(signal).map(Signal::as_str).unwrap_or("unknown");
            Ended::failed(format!("bash command was killed by signal {signal} ({name})"))
        }
    }
}

impl Plan {
    fn new(args: &Map<String, Value>) -> Result<Self, String> {
        let command = match args.get("bash_command") {
            Some(Value::String(command)) if !command.is_empty() => command.clone(),
            other => return Err(format!("bash_command must be a non-empty string, not {other:?}")),
        };
        if command.contains('\0') {
            return Err("bash_command contains a NUL character".to_owned());
        }
        let env = match args.get("env") {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(
                map.iter()
                    .map(|(name, value)| match value {
                        Value::String(text) => Ok((name.clone(), text.clone())),
                        Value::Null => Err(format!("env.{name} is null; it must be a string")),
                        other => Ok((name.clone(), other.to_string())),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Some(other) => return Err(format!("env must be a map, not {other}")),
        };
        let skip_codes = match args.get("skip_on_exit_code") {
            None => vec![SKIP_EXIT_CODE],
            Some(Value::Array(codes)) => codes.iter().filter_map(exit_code).collect(),
            Some(one) => exit_code(one).into_iter().collect(),
        };
        Ok(Self {
            command,
            env,
            append_env: args.get("append_env").and_then(Value::as_bool).unwrap_or(false),
            cwd: args.get("cwd").and_then(Value::as_str).map(PathBuf::from),
            skip_codes,
        })
    }
}

fn exit_code(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|code| i32::try_from(code).ok())
}

/// Resolved once: a task's own environment need not have a PATH.
fn find_bash() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("bash"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| PathBuf::from("/bin/bash"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::Plan;

    fn plan(value: Value) -> Result<Plan, String> {
        Plan::new(value.as_object().unwrap_or(&Map::new()))
    }

    #[test]
    fn arguments_have_airflows_defaults() {
        let all = plan(json!({"bash_command": "true"})).expect("valid");
        assert_eq!(
            (all.skip_codes, all.append_env, all.env, all.cwd),
            (vec![99], false, None, None)
        );
        let all = plan(json!({"bash_command": "true", "skip_on_exit_code": null})).expect("valid");
        assert!(all.skip_codes.is_empty());
        let all =
            plan(json!({"bash_command": "true", "skip_on_exit_code": [7, 8], "env": {"N": 3}}));
        let all = all.expect("valid");
        assert_eq!(all.skip_codes, [7, 8]);
        assert_eq!(all.env.expect("env")["N"], "3");
    }

    #[test]
    fn bad_arguments_are_named() {
        for (args, text) in [
            (json!({}), "bash_command"),
            (json!({"bash_command": ""}), "bash_command"),
            (json!({"bash_command": "x", "env": [1]}), "env"),
            (json!({"bash_command": "x", "env": {"K": null}}), "env.K"),
        ] {
            assert!(plan(args).expect_err("invalid").contains(text));
        }
    }
}
