//! The contract of every background duty: started, stopped early or twice, and started again, without
//! harm.
//!
//! A duty owns no state that outlives `run`; what must survive is in the store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// One background duty.
#[async_trait]
pub trait Duty: fmt::Debug + Send + Sync + 'static {
    /// Name for logs.
    fn name(&self) -> &'static str;

    /// Works until `stop` is cancelled, then returns soon. Returning earlier is a defect. Errors of
    /// the outside world are handled inside: logged, waited out, tried again.
    async fn run(&self, stop: CancellationToken);
}

/// Starts and stops one duty.
#[derive(Debug)]
pub struct DutyRunner {
    duty: Arc<dyn Duty>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl DutyRunner {
    /// A runner of a duty, not started.
    pub fn new(duty: Arc<dyn Duty>) -> Self {
        Self { duty, running: None }
    }

    /// Name of the duty.
    pub fn name(&self) -> &'static str {
        self.duty.name()
    }

    /// Starts it under `parent`; does nothing if it is running.
    pub fn start(&mut self, parent: &CancellationToken) {
        if self.running.is_some() {
            return;
        }
        let stop = parent.child_token();
        let duty = Arc::clone(&self.duty);
        let child = stop.clone();
        self.running = Some((stop, tokio::spawn(async move { duty.run(child).await })));
    }

    /// Asks it to stop and waits until it has; does nothing if it is not running.
    ///
    /// # Errors
    /// [`Error::DutyEnded`] if it had panicked.
    pub async fn stop(&mut self) -> Result<(), Error> {
        let Some((stop, task)) = self.running.take() else { return Ok(()) };
        stop.cancel();
        task.await.map_err(|e| self.ended(&e.to_string()))
    }

    /// Waits until it ends by itself, which is an error unless it was told to stop. Never returns
    /// while it is not started. Cancel-safe.
    pub async fn ended_early(&mut self) -> Error {
        let Some((stop, task)) = self.running.as_mut() else { return std::future::pending().await };
        let result = task.await;
        let asked = stop.is_cancelled();
        self.running = None;
        match result {
            Err(e) => self.ended(&e.to_string()),
            Ok(()) if asked => std::future::pending().await,
            Ok(()) => self.ended("returned"),
        }
    }

    fn ended(&self, reason: &str) -> Error {
        Error::DutyEnded { duty: self.duty.name(), reason: reason.to_owned() }
    }
}

impl Drop for DutyRunner {
    fn drop(&mut self) {
        if let Some((stop, task)) = self.running.take() {
            stop.cancel();
            task.abort();
        }
    }
}
