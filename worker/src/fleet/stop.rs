//! Asking a running handler to stop, and why.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Why a running task is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its soft time limit passed.
    SoftTimeLimit,
    /// Its hard time limit passed.
    TimeLimit,
    /// It was revoked with `terminate`; the signal that was named.
    Terminated(i32),
    /// The worker stops and will not wait any longer; the message goes back to its queue.
    Drained,
}

/// The first reason stays, except that a soft limit can be followed by a harder one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: CancellationToken,
    /// The handler is dropped.
    killed: CancellationToken,
    reason: Mutex<Option<StopReason>>,
}

impl Stop {
    pub(crate) fn ask(&self, why: StopReason) {
        let mut reason = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if reason.is_none() || *reason == Some(StopReason::SoftTimeLimit) {
            *reason = Some(why);
        }
        drop(reason);
        self.0.asked.cancel();
        if why != StopReason::SoftTimeLimit {
            self.0.killed.cancel();
        }
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        *self.0.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn asked(&self) -> &CancellationToken {
        &self.0.asked
    }

    pub(crate) fn killed(&self) -> &CancellationToken {
        &self.0.killed
    }
}
