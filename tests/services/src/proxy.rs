//! A TCP proxy inside the test process whose link can be cut or made silent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    /// New connections are closed at once.
    Cut,
    /// Connections stay open, bytes wait here.
    BlackHole,
    Closed,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    streams: Vec<TcpStream>,
    accepted: usize,
    refused: usize,
    /// Connections up to this number are silent for ever.
    lost: usize,
}

#[derive(Debug)]
struct Link {
    state: Mutex<State>,
    changed: Condvar,
    target: SocketAddr,
}

/// Listens on a free port and forwards to a target.
#[derive(Debug)]
pub struct Proxy {
    link: Arc<Link>,
    addr: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts forwarding to `target` (a port of 127.0.0.1).
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(target: u16) -> Result<Self, Error> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("binding the proxy's port"))?;
        let addr = listener.local_addr().map_err(Error::io("binding the proxy's port"))?;
        let link = Arc::new(Link {
            state: Mutex::new(State {
                mode: Mode::Forward,
                streams: Vec::new(),
                accepted: 0,
                refused: 0,
                lost: 0,
            }),
            changed: Condvar::new(),
            target: SocketAddr::from(([127, 0, 0, 1], target)),
        });
        let shared = Arc::clone(&link);
        let acceptor = std::thread::spawn(move || accept(&listener, &shared));
        Ok(Self { link, addr, acceptor: Some(acceptor) })
    }

    /// Port to connect to.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// `url` with its port replaced by the proxy's.
    pub fn url(&self, url: &str) -> String {
        url.replace(&format!(":{}", self.link.target.port()), &format!(":{}", self.port()))
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.link.lock().accepted
    }

    /// Connections closed at once so far.
    pub fn refused(&self) -> usize {
        self.link.lock().refused
    }

    /// Closes all connections; new ones are closed at once, until [`Proxy::restore`].
    pub fn cut(&self) {
        self.link.set(Mode::Cut);
    }

    /// Connections stay open but nothing passes, until [`Proxy::restore`].
    pub fn black_hole(&self) {
        self.link.set(Mode::BlackHole);
    }

    /// Connections so far stay open and nothing ever passes on them, as when a firewall forgets them; new
    /// ones pass.
    pub fn lose(&self) {
        let mut state = self.link.lock();
        state.lost = state.accepted;
        drop(state);
        self.link.set(Mode::Forward);
    }

    /// Forwards again; what a black hole held back passes on.
    pub fn restore(&self) {
        self.link.set(Mode::Forward);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.link.set(Mode::Closed);
        // Wakes the acceptor, which then sees the mode.
        let _woken = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _joined = acceptor.join();
        }
    }
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mode: Mode) {
        let mut state = self.lock();
        state.mode = mode;
        if matches!(mode, Mode::Cut | Mode::Closed) {
            for stream in state.streams.drain(..) {
                let _closed = stream.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }

    /// Waits while the link is a black hole; false when the connection must end.
    fn pass(&self, number: usize) -> bool {
        let mut state = self.lock();
        let silent = |state: &State| {
            state.mode == Mode::BlackHole || (state.mode == Mode::Forward && number <= state.lost)
        };
        while silent(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.mode == Mode::Forward
    }
}

fn accept(listener: &TcpListener, link: &Arc<Link>) {
    for client in listener.incoming() {
        let mode = link.lock().mode;
        match (mode, client) {
            (Mode::Closed, _) => return,
            (Mode::Cut, _) => link.lock().refused += 1,
            (_, Err(_)) => {}
            (_, Ok(client)) => join(client, link),
        }
    }
}

fn join(client: TcpStream, link: &Arc<Link>) {
    let Ok(server) = TcpStream::connect(link.target) else { return };
    let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else { return };
    let (Ok(client3), Ok(server3)) = (client.try_clone(), server.try_clone()) else { return };
    // Delay by Nagle would distort what tests measure.
    let _nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let mut state = link.lock();
    state.streams.extend([client3, server3]);
    state.accepted += 1;
    let number = state.accepted;
    drop(state);
    let (up, down) = (Arc::clone(link), Arc::clone(link));
    std::thread::spawn(move || copy(client, server, number, &up));
    std::thread::spawn(move || copy(server2, client2, number, &down));
}

fn copy(mut from: TcpStream, mut to: TcpStream, number: usize, link: &Link) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !link.pass(number) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _closed = from.shutdown(Shutdown::Both).and_then(|()| to.shutdown(Shutdown::Both));
}
