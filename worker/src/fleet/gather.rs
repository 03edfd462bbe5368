//! Batches: calls of one task that a handler gets together, by number or by time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::context::Context;
use super::error::TaskError;
use super::registry::Outcome;

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Calls. Each holds a slot while it waits, so that more than the worker's slots never come together.
    pub size: usize,
    /// Longest wait of the first one.
    pub within: Duration,
}

type Calls<A> = Vec<(Context, A)>;
type Handler<A> = dyn Fn(Calls<A>) -> BoxFuture<'static, Vec<Outcome>> + Send + Sync;

pub(crate) struct Gatherer<A> {
    batch: Batch,
    waiting: Mutex<Waiting<A>>,
    handler: Box<Handler<A>>,
}

struct Waiting<A> {
    calls: Vec<(Context, A, oneshot::Sender<Outcome>)>,
    /// Tells a timer whether its batch has gone already.
    number: u64,
}

impl<A: Send + 'static> Gatherer<A> {
    pub(crate) fn new(batch: Batch, handler: Box<Handler<A>>) -> Arc<Self> {
        let waiting = Mutex::new(Waiting { calls: Vec::new(), number: 0 });
        Arc::new(Self { batch, waiting, handler })
    }

    /// Waits with others and returns what the handler says of this call.
    pub(crate) async fn call(self: Arc<Self>, context: Context, args: A) -> Outcome {
        let (tell, told) = oneshot::channel();
        self.join(context, args, tell);
        told.await.unwrap_or_else(|_| Err(TaskError::failed("the handler of its batch panicked")))
    }

    fn join(self: &Arc<Self>, context: Context, args: A, tell: oneshot::Sender<Outcome>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.calls.push((context, args, tell));
        if waiting.calls.len() >= self.batch.size {
            drop(waiting);
            self.flush(None);
        } else if waiting.calls.len() == 1 {
            let (number, gatherer) = (waiting.number, Arc::clone(self));
            tokio::spawn(async move {
                tokio::time::sleep(gatherer.batch.within).await;
                gatherer.flush(Some(number));
            });
        }
    }

    /// Runs what waits, unless the batch of that number has gone.
    fn flush(self: &Arc<Self>, number: Option<u64>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if number.is_some_and(|number| number != waiting.number) {
            return;
        }
        waiting.number += 1;
        let calls = std::mem::take(&mut waiting.calls);
        drop(waiting);
        // Those whose tasks were stopped meanwhile do not listen any more.
        let calls = calls.into_iter().filter(|(_, _, tell)| !tell.is_closed());
        let (calls, tells): (Calls<A>, Vec<_>) =
            calls.map(|(context, args, tell)| ((context, args), tell)).unzip();
        if calls.is_empty() {
            return;
        }
        let gatherer = Arc::clone(self);
        tokio::spawn(async move {
            let mut outcomes = (gatherer.handler)(calls).await.into_iter();
            for tell in tells {
                let missing =
                    || Err(TaskError::failed("its batch's handler gave no outcome for it"));
                // A call that was stopped does not listen.
                let _stopped = tell.send(outcomes.next().unwrap_or_else(missing));
            }
        });
    }
}

/// Boxes a typed handler.
pub(crate) fn boxed<F, A, R, T>(handler: F) -> Box<Handler<A>>
where
    F: Fn(Calls<A>) -> R + Send + Sync + 'static,
    A: Send + 'static,
    R: Future<Output = Vec<Result<T, TaskError>>> + Send + 'static,
    T: serde::Serialize + 'static,
{
    let handler = Arc::new(handler);
    Box::new(move |calls| {
        let handler = Arc::clone(&handler);
        async move {
            let outcomes = handler(calls).await;
            outcomes.into_iter().map(|outcome| super::registry::to_json(outcome?)).collect()
        }
        .boxed()
    })
}
