//! A private RabbitMQ node with its own epmd, cookie and data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::server::{Server, Spec, find, temp_dir};
use crate::{Error, ports};

const ENV_ERL_ARGS: &str = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS";
const ERL_ARGS: &str = "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false";
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// How the node is configured.
#[derive(Debug, Clone, Default)]
pub struct RabbitOptions {
    /// Milliseconds that a delivery may stay unsettled (30 minutes unless given); looked at each
    /// second.
    pub consumer_timeout_ms: Option<u64>,
    /// Folder of a [`crate::Tls`]: speak TLS on a port of its own as well.
    pub tls: Option<PathBuf>,
}

/// A running RabbitMQ; stopped when dropped.
#[derive(Debug)]
pub struct Rabbit {
    // Before `epmd`: fields drop in order, and the node talks to it.
    server: Server,
    _epmd: Server,
    url: String,
    tls_url: String,
    port: u16,
    node: String,
    epmd_port: u16,
}

impl Rabbit {
    /// Starts a node with user `guest`; returns when it speaks AMQP (a few seconds).
    ///
    /// # Errors
    /// When `rabbitmq-server` or `epmd` is missing, or the node does not come up.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(RabbitOptions::default())
    }

    /// As [`Rabbit::start`], configured.
    ///
    /// # Errors
    /// As [`Rabbit::start`].
    pub fn start_with(options: RabbitOptions) -> Result<Self, Error> {
        // Not the wrapper in /usr/sbin: it switches user and hides the pid.
        let folders = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];
        let program = find("rabbitmq-server", &folders, "rabbitmq-server")?;
        let epmd_port = ports::free();
        let epmd = start_epmd(epmd_port)?;
        let dir = temp_dir("rabbit")?;
        let port = ports::free();
        let tls_port = ports::free();
        write_config(dir.path(), port, tls_port, &options)?;
        let home = dir.path().to_path_buf();
        let own = format!("tw{}@localhost", &uuid::Uuid::new_v4().simple().to_string()[..10]);
        let (dist_port, node) = (ports::free(), own.clone());
        let spec = Spec {
            name: "rabbitmq-server",
            command: Box::new(move || {
                let mut command = node_command(&program, &home, &node, epmd_port, dist_port);
                if options.consumer_timeout_ms.is_some() {
                    // How often channels look for deliveries that are too old; no key in its file.
                    let args = format!("{ERL_ARGS} -rabbit channel_tick_interval 1000");
                    command.env(ENV_ERL_ARGS, args);
                }
                command
            }),
            ready: Box::new(move || answers(port)),
            stop: Signal::SIGKILL,
        };
        let server = Server::start(spec, dir)?;
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let tls_url = format!("amqps://guest:guest@127.0.0.1:{tls_port}/%2f");
        Ok(Self { server, _epmd: epmd, url, tls_url, port, node: own, epmd_port })
    }

    /// URL for clients with TLS, if [`RabbitOptions::tls`] is set.
    pub fn tls_url(&self) -> &str {
        &self.tls_url
    }

    /// Runs `rabbitmqctl` on the node, as an operator does.
    ///
    /// # Errors
    /// When it is missing or refuses.
    pub fn ctl(&self, args: &[&str]) -> Result<(), Error> {
        let folders = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];
        let program = find("rabbitmqctl", &folders, "rabbitmq-server")?;
        let home = self.server.dir();
        let mut command = Command::new(program);
        command
            .env("HOME", home)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_CONF_ENV_FILE", home.join("rabbitmq-env.conf"))
            .env_remove("ERL_CRASH_DUMP")
            .args(args);
        let output = command.output().map_err(Error::io("running rabbitmqctl"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Helper { program: "rabbitmqctl", output: format!("{args:?}: {said}") })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn start_epmd(port: u16) -> Result<Server, Error> {
    let program = find("epmd", &["/usr/bin", "/usr/lib/erlang/bin"], "erlang-base")?;
    let command = move || {
        let mut command = Command::new(&program);
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        command
    };
    let spec = Spec {
        name: "epmd",
        command: Box::new(command),
        ready: Box::new(move || TcpStream::connect(("127.0.0.1", port)).is_ok()),
        stop: Signal::SIGKILL,
    };
    Server::start(spec, temp_dir("epmd")?)
}

fn write_config(
    dir: &Path,
    port: u16,
    tls_port: u16,
    options: &RabbitOptions,
) -> Result<(), Error> {
    let mut config = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         disk_free_limit.absolute = 1MB\n\
         log.console.level = info\n\
         log.file = false\n"
    );
    if let Some(ms) = options.consumer_timeout_ms {
        config.push_str(&format!("consumer_timeout = {ms}\n"));
    }
    if let Some(tls) = &options.tls {
        let tls = tls.display();
        config.push_str(&format!(
            "listeners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {tls}/ca.pem\n\
             ssl_options.certfile = {tls}/server.pem\n\
             ssl_options.keyfile = {tls}/server.key\n\
             ssl_options.verify = verify_none\n\
             ssl_options.fail_if_no_peer_cert = false\n"
        ));
    }
    let write = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).map_err(Error::io(format!("writing {name}")))
    };
    write("rabbitmq.conf", &config)?;
    write("enabled_plugins", "[].\n")?;
    // An empty one of our own, so that the machine's rabbitmq-env.conf is not read.
    write("rabbitmq-env.conf", "")
}

fn node_command(
    program: &PathBuf,
    dir: &Path,
    node: &str,
    epmd_port: u16,
    dist_port: u16,
) -> Command {
    let mut command = Command::new(program);
    command
        .env("HOME", dir)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("RABBITMQ_NODENAME", node)
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", dir.join("rabbitmq-env.conf"))
        .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", dir.join("rabbit.pid"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("generated"))
        .env(ENV_ERL_ARGS, ERL_ARGS)
        // Makes the script exec the Erlang VM, so that the pid that we hold is the node's own.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("ERL_CRASH_DUMP");
    command
}

fn answers(port: u16) -> bool {
    let greet = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0; 1];
        stream.read_exact(&mut first)?;
        // A method frame: connection.start.
        Ok(first[0] == 1)
    };
    greet().unwrap_or(false)
}

crate::server_handle!(Rabbit);
