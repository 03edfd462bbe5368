//! Who connects to the worker's socket: each connection is passed to the attempt it names. A
//! connection for an attempt that does not run here is closed.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tradewind_proto::AttemptId;

const HELLO_BYTES_MAX: u64 = 4096;
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
/// A control connection, a log connection and an end: more never arrive.
const ARRIVALS_MAX: usize = 8;

/// News for an attempt.
#[derive(Debug)]
pub(super) enum Arrival {
    Control(Connection, i32),
    Log(Connection),
    /// Root's word that the process ended without speaking for itself.
    Exited(String),
}

pub(super) type Connection = BufReader<UnixStream>;

#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<AttemptId, mpsc::Sender<Arrival>>>);

/// One attempt's place; leaving it closes its connections.
#[derive(Debug)]
pub(super) struct Session {
    sessions: Arc<Sessions>,
    attempt: AttemptId,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

#[derive(Debug, Deserialize)]
struct Hello {
    attempt: AttemptId,
    role: Role,
    pid: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Control,
    Log,
}

impl Sessions {
    pub(super) fn open(self: &Arc<Self>, attempt: AttemptId) -> Session {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        self.lock().insert(attempt, sender);
        Session { sessions: Arc::clone(self), attempt, arrivals }
    }

    pub(super) async fn tell(&self, attempt: AttemptId, news: Arrival) {
        let sender = self.lock().get(&attempt).cloned();
        if let Some(sender) = sender {
            let _left = sender.send(news).await;
        }
    }

    /// Binds the socket, which only this user may reach.
    pub(super) fn listen(self: &Arc<Self>, path: &Path) -> std::io::Result<Accepting> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        }
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let sessions = Arc::clone(self);
        Ok(Accepting(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(greet(Arc::clone(&sessions), stream))),
                    Err(error) => {
                        tracing::warn!(%error, "accepting a task's connection failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        })))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, mpsc::Sender<Arrival>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until it is dropped.
#[derive(Debug)]
pub(super) struct Accepting(tokio::task::JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.attempt);
    }
}

async fn greet(sessions: Arc<Sessions>, stream: UnixStream) {
    // The kernel knows the peer's process id better than the peer.
    let peer = stream.peer_cred().ok().and_then(|cred| cred.pid());
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut limited = (&mut stream).take(HELLO_BYTES_MAX);
    let read = timeout(HELLO_TIME_MAX, limited.read_until(b'\n', &mut line)).await;
    let Ok(Ok(1..)) = read else { return };
    match serde_json::from_slice::<Hello>(&line) {
        Ok(hello) => {
            let arrival = match hello.role {
                Role::Control => Arrival::Control(stream, peer.unwrap_or(hello.pid)),
                Role::Log => Arrival::Log(stream),
            };
            sessions.tell(hello.attempt, arrival).await;
        }
        Err(error) => tracing::warn!(%error, "a task's connection began with nonsense"),
    }
}
