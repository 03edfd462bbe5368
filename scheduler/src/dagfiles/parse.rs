//! One DAG file, parsed in a child process with limits on time, memory and output.
//!
//! Whatever the file does (hang, crash, fork, print, exhaust memory), the answer is a [`ParsedFile`],
//! and no process of it is left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tracing::{debug, warn};
use tradewind_engine::validate::validate;
use tradewind_proto::dag::{ImportError, ParsedFile};
use tradewind_proto::limits::{DAG_FILE_SPEC_BYTES_MAX, ERROR_TEXT_BYTES_MAX};

use crate::options::SchedulerOptions;

/// Sets the limits, then becomes the parser. A limit that the host does not allow is left as it is.
const LIMITS: &str = r#"ulimit -v "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null
ulimit -f "$3" 2>/dev/null; ulimit -c 0 2>/dev/null; shift 3; exec "$@""#;

/// How DAG files are parsed.
#[derive(Debug, Clone)]
pub struct ParseOptions {
    /// Folder of the DAG files.
    pub dags_folder: PathBuf,
    /// Python interpreter.
    pub python: PathBuf,
    /// Folder of our Python packages.
    pub python_path: PathBuf,
    /// Wall time, and CPU time rounded up to seconds.
    pub timeout: Duration,
    /// Address space in MiB.
    pub memory_mib: u64,
}

impl From<&SchedulerOptions> for ParseOptions {
    fn from(options: &SchedulerOptions) -> Self {
        Self {
            dags_folder: options.dags_folder.clone(),
            python: options.python.clone(),
            python_path: options.python_path.clone(),
            timeout: options.parse_timeout,
            memory_mib: options.parse_memory_mib,
        }
    }
}

/// Parses one file (path relative to the DAGs folder) and checks its DAGs. DAGs with problems are
/// left out and named in the error, as everything is that keeps the file from loading.
pub async fn parse_file(options: &ParseOptions, fileloc: &str) -> ParsedFile {
    let parsed = match run(options, fileloc).await {
        Ok(parsed) => parsed,
        Err(error) => ParsedFile { dags: Vec::new(), error: Some(error), warnings: Vec::new() },
    };
    for text in &parsed.warnings {
        debug!(fileloc, text, "DAG file warning");
    }
    check(parsed, fileloc)
}

/// Moves DAGs that cannot be run from the list to the error.
fn check(mut parsed: ParsedFile, fileloc: &str) -> ParsedFile {
    let mut texts = Vec::new();
    parsed.dags.retain_mut(|dag| {
        let inside =
            dag.fileloc.strip_prefix(fileloc).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        if !inside {
            dag.fileloc = fileloc.to_owned();
        }
        let Err(problems) = validate(dag) else { return true };
        texts.extend(problems.iter().map(|problem| format!("DAG {:?}: {problem}", dag.dag_id)));
        false
    });
    if texts.is_empty() {
        return parsed;
    }
    let error = parsed.error.get_or_insert_with(|| problem(&texts[0], String::new()));
    if !error.detail.is_empty() {
        error.detail.push('\n');
    }
    error.detail.push_str(&texts.join("\n"));
    parsed
}

async fn run(options: &ParseOptions, fileloc: &str) -> Result<ParsedFile, ImportError> {
    let out = Scratch::new("json").map_err(|e| cannot("make a file for the result", &e))?;
    let err = Scratch::new("err").map_err(|e| cannot("make a file for messages", &e))?;
    let mut child = command(options, fileloc, &out, &err)
        .and_then(|mut command| command.spawn())
        .map_err(|e| cannot(&format!("start {}", options.python.display()), &e))?;
    let group = Group::of(&child);
    let ended = tokio::time::timeout(options.timeout, child.wait()).await;
    // Also after a normal end: the file may have left processes behind.
    drop(group);
    match ended {
        Err(_) => {
            let _reaped = child.wait().await;
            Err(problem(
                &format!(
                    "parsing took longer than {} s and was stopped; move slow work out of the top \
                     level of the file, or raise scheduler.parse_timeout",
                    options.timeout.as_secs_f64()
                ),
                err.tail(),
            ))
        }
        Ok(Err(error)) => Err(cannot("wait for the parser", &error)),
        Ok(Ok(status)) if !status.success() => Err(died(status, options, err.tail())),
        Ok(Ok(_)) => read(out, err.tail()).await,
    }
}

fn command(
    options: &ParseOptions,
    fileloc: &str,
    out: &Scratch,
    err: &Scratch,
) -> io::Result<Command> {
    let cpu_seconds = options.timeout.as_secs() + 1;
    // Blocks of 512 bytes, as POSIX has it; twice the limit because some shells count in 1024.
    let blocks = DAG_FILE_SPEC_BYTES_MAX / 512 + 1;
    let mut python_path = options.python_path.clone().into_os_string();
    if let Some(inherited) = std::env::var_os("PYTHONPATH").filter(|path| !path.is_empty()) {
        python_path.push(":");
        python_path.push(inherited);
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", LIMITS, "tradewind-parse"])
        .args([(options.memory_mib * 1024).to_string(), cpu_seconds.to_string()])
        .arg(blocks.to_string())
        .arg(&options.python)
        .args(["-m", "tradewind_host.parse", "--dags-folder"])
        .arg(&options.dags_folder)
        .args(["--file", fileloc, "--out"])
        .arg(&out.path)
        .env("PYTHONPATH", python_path)
        // The order of sets must not make a new version of a DAG at every look.
        .env("PYTHONHASHSEED", "0")
        // Not the working directory: it may hold something called `airflow`.
        .env("PYTHONSAFEPATH", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(err.file.try_clone()?))
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

async fn read(out: Scratch, messages: String) -> Result<ParsedFile, ImportError> {
    let parsed = tokio::task::spawn_blocking(move || {
        let bytes = out.read(DAG_FILE_SPEC_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|e| format!("its result cannot be read: {e}"))
    });
    let parsed = parsed.await.unwrap_or_else(|e| Err(e.to_string()));
    parsed.map_err(|reason| {
        problem(&format!("the parser ended without a usable result: {reason}"), messages)
    })
}

fn died(status: ExitStatus, options: &ParseOptions, messages: String) -> ImportError {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) if signal == Signal::SIGXCPU as i32 => {
            format!("it used more than {} s of CPU time", options.timeout.as_secs() + 1)
        }
        (None, Some(signal)) => Signal::try_from(signal)
            .map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned()),
        (None, None) => "an unknown reason".to_owned(),
    };
    let memory = options.memory_mib;
    problem(
        &format!("the parser died ({how}); it may use {memory} MiB (scheduler.parse_memory_mib)"),
        messages,
    )
}

fn problem(message: &str, detail: String) -> ImportError {
    ImportError { message: message.to_owned(), line: None, detail }
}

fn cannot(what: &str, error: &io::Error) -> ImportError {
    problem(&format!("cannot {what}: {error}"), String::new())
}

/// The child's process group, killed as a whole when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Nobody left in the group is the normal case.
            let _none_left = killpg(pid, Signal::SIGKILL);
        }
    }
}

/// A private file in the temporary folder, removed when dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(extension: &str) -> io::Result<Self> {
        let name = format!("tradewind-parse-{}.{extension}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    fn read(&self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let file = File::open(&self.path).map_err(|e| format!("its result is gone: {e}"))?;
        let mut bytes = Vec::new();
        let limit = bytes_max as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() > bytes_max {
            return Err(format!("its result is larger than {bytes_max} bytes"));
        }
        if bytes.is_empty() {
            return Err("it wrote no result".to_owned());
        }
        Ok(bytes)
    }

    /// The end of the file as text.
    fn tail(&self) -> String {
        tail(&self.path).unwrap_or_else(|error| {
            warn!(%error, "cannot read what the parser printed");
            String::new()
        })
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(ERROR_TEXT_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(ERROR_TEXT_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that the child has removed itself is as good.
        let _gone = fs::remove_file(&self.path);
    }
}
