//! A proxy before RabbitMQ that writes down what its clients call: `tests/python/amqp_proxy.py`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A running proxy.
#[derive(Debug)]
pub struct Recorder {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Recorder {
    /// Starts one before the RabbitMQ at this port.
    ///
    /// # Panics
    /// When Python cannot be started.
    pub fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/amqp_proxy.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(format!("127.0.0.1:{port}")).arg(Self::file(&folder));
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its port");
        let port = line.trim().parse().expect("a port");
        Self { child, folder, port }
    }

    fn file(folder: &TempDir) -> PathBuf {
        folder.path().join("methods.json")
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it; the methods that were called.
    ///
    /// # Panics
    /// When it has failed.
    pub fn methods(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "the proxy ended with {status}");
        let text = std::fs::read_to_string(Self::file(&self.folder)).expect("methods");
        serde_json::from_str(&text).expect("methods")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Its input has ended, or ends now: it does so by itself.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}
