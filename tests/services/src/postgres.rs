//! A private PostgreSQL.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, chown};

use crate::server::{Server, Spec, find, temp_dir};
use crate::{Error, Tls, ports};

const ANSWER_LIMIT: Duration = Duration::from_millis(500);
const FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
];

/// How the server keeps data.
#[derive(Debug, Clone, Copy)]
pub struct PostgresOptions {
    /// Whether commits wait for the disk.
    pub fsync: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { fsync: true }
    }
}

/// A running PostgreSQL; stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    url: String,
    port: u16,
}

impl Postgres {
    /// Starts one with fsync on; returns when it accepts a session (one or two seconds).
    ///
    /// # Errors
    /// When `initdb` or `postgres` is missing or fails.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(PostgresOptions::default())
    }

    /// As [`Postgres::start`], with options.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_with(options: PostgresOptions) -> Result<Self, Error> {
        Self::start_as(options, None)
    }

    /// Starts one that takes TLS beside clear text.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_tls(tls: &Tls) -> Result<Self, Error> {
        Self::start_as(PostgresOptions { fsync: false }, Some(tls.dir()))
    }

    fn start_as(options: PostgresOptions, tls: Option<&Path>) -> Result<Self, Error> {
        let initdb = find("initdb", &FOLDERS, "postgresql")?;
        let program = find("postgres", &FOLDERS, "postgresql")?;
        let user = server_user()?;
        let dir = temp_dir("postgres")?;
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid))
                .map_err(|e| Error::io("handing the data folder to postgres")(e.into()))?;
        }
        init(&initdb, dir.path(), user)?;
        if let Some(tls) = tls {
            certify(dir.path(), tls, user)?;
        }
        let ssl = if tls.is_some() { "on" } else { "off" };
        let port = ports::free();
        let data = dir.path().join("data");
        let sockets = dir.path().display().to_string();
        let fsync = if options.fsync { "on" } else { "off" };
        let command = move || {
            let mut command = as_user(&program, user);
            command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
            command.args(["-k", &sockets]);
            for setting in [
                format!("fsync={fsync}"),
                format!("ssl={ssl}"),
                "max_connections=300".to_owned(),
                "log_min_messages=warning".to_owned(),
                "timezone=UTC".to_owned(),
            ] {
                command.args(["-c", &setting]);
            }
            command
        };
        let spec = Spec {
            name: "postgres",
            command: Box::new(command),
            ready: Box::new(move || accepts(port)),
            // Immediate shutdown: it ends its children, which SIGKILL would leave to notice.
            stop: Signal::SIGQUIT,
        };
        let server = Server::start(spec, dir)?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        Ok(Self { server, url, port })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// The account to run as: `postgres` when we are root (the server refuses root), else our own.
fn server_user() -> Result<Option<(Uid, Gid)>, Error> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    match User::from_name("postgres") {
        Ok(Some(user)) => Ok(Some((user.uid, user.gid))),
        _ => Err(Error::Helper {
            program: "postgres",
            output: "we run as root, postgres refuses to, and there is no user `postgres`".into(),
        }),
    }
}

/// Puts certificate and key where the server looks for them, as its own.
fn certify(dir: &Path, tls: &Path, user: Option<(Uid, Gid)>) -> Result<(), Error> {
    let put = |name: &str, mode: u32| -> std::io::Result<()> {
        let path =
            dir.join("data").join(name).with_extension(if mode == 0o600 { "key" } else { "crt" });
        std::fs::copy(tls.join(name), &path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        if let Some((uid, gid)) = user {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(())
    };
    put("server.pem", 0o644).map_err(Error::io("installing the certificate"))?;
    put("server.key", 0o600).map_err(Error::io("installing the key"))
}

fn as_user(program: &PathBuf, user: Option<(Uid, Gid)>) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8");
    if let Some((uid, gid)) = user {
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    command
}

fn init(initdb: &PathBuf, dir: &Path, user: Option<(Uid, Gid)>) -> Result<(), Error> {
    let output = as_user(initdb, user)
        .current_dir(dir)
        .arg("-D")
        .arg(dir.join("data"))
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        .output()
        .map_err(Error::io("running initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Helper { program: "initdb", output: text })
}

/// Opens a session: the server answers `R` (authentication) once it is past recovery, else `E`.
fn accepts(port: u16) -> bool {
    let open = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let body = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0";
        let length = u32::try_from(body.len() + 4).unwrap_or(0);
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(body)?;
        let mut first = [0; 1];
        stream.read_exact(&mut first)?;
        Ok(first[0] == b'R')
    };
    open().unwrap_or(false)
}

crate::server_handle!(Postgres);
