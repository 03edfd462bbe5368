//! One server process: start, readiness, kill, restart, stop.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Error;
use crate::guard::Guard;

/// How long a server may take to answer.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Starts per call: one that ends early may have lost a race for its port or its old lock file.
const STARTS_MAX: usize = 5;
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const LOG_TAIL_LINES: usize = 30;

/// How to run a server.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Whether the server answers now.
    pub(crate) ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// How it is stopped; data is thrown away, so this may be SIGKILL.
    pub(crate) stop: Signal,
}

pub(crate) struct Server {
    spec: Spec,
    // Before `dir`: the process must be gone when the folder is removed.
    running: Option<Running>,
    dir: TempDir,
}

struct Running {
    child: Child,
    // Told to stand down only after the child has been reaped (see `Server::stop`).
    _guard: Guard,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("name", &self.spec.name).field("pid", &self.pid()).finish()
    }
}

pub(crate) fn temp_dir(name: &str) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix(&format!("tradewind-{name}-"))
        .tempdir()
        .map_err(Error::io("making a temp folder"))
}

/// The first of `folders` (then of PATH) that has `program`.
pub(crate) fn find(
    program: &'static str,
    folders: &[&str],
    package: &'static str,
) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> =
        folders.iter().map(PathBuf::from).chain(std::env::split_paths(&path)).collect();
    all.iter().map(|folder| folder.join(program)).find(|file| file.is_file()).ok_or_else(|| {
        let looked = all.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        Error::Missing { program, looked, package }
    })
}

impl Server {
    pub(crate) fn start(spec: Spec, dir: TempDir) -> Result<Self, Error> {
        let mut server = Self { spec, running: None, dir };
        server.restart()?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |r| r.child.id())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join(format!("{}.log", self.spec.name))
    }

    /// Starts it again, on the same port and data; stops it first if it runs.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.stop();
        let end = Instant::now() + READY_LIMIT;
        let mut starts = 1;
        loop {
            self.spawn()?;
            match self.await_ready(end) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.stop();
                    if starts == STARTS_MAX || Instant::now() >= end {
                        return Err(error);
                    }
                    starts += 1;
                    std::thread::sleep(RESTART_PAUSE);
                }
            }
        }
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(Error::io("opening a server's log"))?;
        let twin = log.try_clone().map_err(Error::io("opening a server's log"))?;
        let child = (self.spec.command)()
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(twin)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {}", self.spec.name)))?;
        let signal = self.spec.stop.as_str().trim_start_matches("SIG");
        let guard = Guard::watch(signal, child.id(), self.dir.path())?;
        self.running = Some(Running { child, _guard: guard });
        Ok(())
    }

    fn await_ready(&mut self, end: Instant) -> Result<(), Error> {
        let mut what = format!("did not answer within {READY_LIMIT:?}");
        let mut ended = false;
        while Instant::now() < end && !ended {
            if let Some(running) = &mut self.running
                && let Ok(Some(status)) = running.child.try_wait()
            {
                what = format!("ended with {status}");
                ended = true;
            } else if (self.spec.ready)() {
                return Ok(());
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let log = self.log();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        Err(Error::NotReady { name: self.spec.name, what, log, tail })
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running
            && let Ok(pid) = i32::try_from(running.child.id())
        {
            // A server that is gone already cannot be signalled; that is what the caller wants.
            let _gone = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills it without warning and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap();
    }

    /// Stops its process from running (SIGSTOP): connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// The inverse of [`Server::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn stop(&mut self) {
        self.thaw();
        self.signal(self.spec.stop);
        let gone = crate::eventually(STOP_LIMIT, || match &mut self.running {
            Some(running) => !matches!(running.child.try_wait(), Ok(None)),
            None => true,
        });
        if !gone {
            self.signal(Signal::SIGKILL);
        }
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _status = running.child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
