//! Listening: bind first, so that the address is known, then serve until told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// How long open requests may take after the stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct BoundServer {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl BoundServer {
    /// Listens on `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn bind(host: &str, port: u16, router: Router) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address: format!("{host}:{port}"), source };
        let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, router })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets open requests finish for at most five seconds.
    ///
    /// # Errors
    /// [`Error::Serve`] when listening fails for good.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let serve = axum::serve(self.listener, self.router)
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            biased;
            served = serve => served.map_err(Error::Serve),
            () = deadline => Ok(()),
        }
    }
}
