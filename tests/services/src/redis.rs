//! A private Redis.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::server::{Server, Spec, find, temp_dir};
use crate::{Error, Tls, ports};

const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// How the Redis keeps data.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedisOptions {
    /// Append-only file, synced at each write: what was acknowledged survives `kill -9`. Off: a
    /// restart is empty.
    pub appendonly: bool,
}

/// A running Redis; stopped when dropped.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    url: String,
    port: u16,
}

impl Redis {
    /// Starts one; returns when it answers.
    ///
    /// # Errors
    /// When `redis-server` is missing or does not come up.
    pub fn start(options: RedisOptions) -> Result<Self, Error> {
        Self::start_with(options, None)
    }

    /// Starts one that speaks TLS only; returns when it listens.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn start_tls(tls: &Tls) -> Result<Self, Error> {
        Self::start_with(RedisOptions::default(), Some(tls.dir().to_path_buf()))
    }

    fn start_with(options: RedisOptions, tls: Option<PathBuf>) -> Result<Self, Error> {
        let program = find("redis-server", &["/usr/bin", "/usr/local/bin"], "redis-server")?;
        let dir = temp_dir("redis")?;
        let port = ports::free();
        let appendonly = if options.appendonly { "yes" } else { "no" };
        let secure = tls.is_some();
        let command = move || {
            let mut command = Command::new(&program);
            let plain = if secure { 0 } else { port };
            command.args(["--port", &plain.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            if let Some(dir) = &tls {
                command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
                command.arg("--tls-ca-cert-file").arg(dir.join("ca.pem"));
                command.arg("--tls-cert-file").arg(dir.join("server.pem"));
                command.arg("--tls-key-file").arg(dir.join("server.key"));
            }
            command.args(["--appendonly", appendonly, "--appendfsync", "always"]);
            command.args(["--loglevel", "notice", "--databases", "16"]);
            command
        };
        let spec = Spec {
            name: "redis-server",
            command: Box::new(command),
            ready: Box::new(move || {
                if secure { TcpStream::connect(("127.0.0.1", port)).is_ok() } else { answers(port) }
            }),
            stop: Signal::SIGKILL,
        };
        let server = Server::start(spec, dir)?;
        let scheme = if secure { "rediss" } else { "redis" };
        Ok(Self { server, url: format!("{scheme}://127.0.0.1:{port}/0"), port })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        Ok(&reply == b"+PONG")
    };
    ping().unwrap_or(false)
}

crate::server_handle!(Redis);
