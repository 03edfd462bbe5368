//! Plans become messages on their queues: batched, confirmed, tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::{Plan, Planned};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;

use super::{Client, ClientError, TaskHandle};
use crate::{Error, Outgoing, trace};

/// Wait before the first repetition of a publish, and how much longer each further one is, as in Celery.
const RETRY_STEP: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Where one message goes.
#[derive(Debug, Clone)]
enum Target {
    Queue(String),
    Exchange { exchange: String, routing_key: String },
}

impl Client {
    /// Begins the joins of a plan and sends its messages.
    ///
    /// # Errors
    /// The first of what the servers said. Others of its messages may have been sent.
    pub async fn execute(&self, plan: Plan) -> Result<TaskHandle, ClientError> {
        let mut results = self.execute_many(vec![Ok(plan)]).await;
        results.pop().unwrap_or_else(|| Err(ClientError::Canvas("nothing to send".to_owned())))
    }

    /// The same for many, with their messages in common batches. One answer per plan, in order.
    pub(super) async fn execute_many(
        &self,
        plans: Vec<Result<Plan, ClientError>>,
    ) -> Vec<Result<TaskHandle, ClientError>> {
        let now = self.inner.clock.now();
        let traceparent = trace::traceparent(&tracing::Span::current());
        let (mut answers, mut owners, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for plan in plans {
            let begun = match plan {
                Ok(plan) => self.begin_joins(&plan).await.map(|()| plan),
                Err(error) => Err(error),
            };
            answers.push(begun.map(|plan| {
                for planned in plan.sends {
                    owners.push(answers.len());
                    items.push(self.message(planned, &traceparent, now));
                }
                TaskHandle::new(self.clone(), plan.result)
            }));
        }
        let sent = self.publish(items).await;
        for (owner, result) in owners.into_iter().zip(sent) {
            if let Err(error) = result
                && answers[owner].is_ok()
            {
                answers[owner] = Err(error.into());
            }
        }
        answers
    }

    /// Before the first part can end.
    async fn begin_joins(&self, plan: &Plan) -> Result<(), ClientError> {
        let ttl = Duration::from_secs(self.inner.options.join_ttl_s);
        for (group, size) in &plan.joins {
            self.inner.results.begin_join(group, *size, ttl).await?;
        }
        Ok(())
    }

    fn message(
        &self,
        planned: Planned,
        traceparent: &str,
        now: Timestamp,
    ) -> (Target, TaskMessage) {
        let Planned { mut request, queue, exchange, routing_key, priority } = planned;
        let route = self.inner.routes.find(&request.task);
        request.priority = priority.or(route.and_then(|route| route.priority)).unwrap_or(0);
        let said = queue.is_some() || exchange.is_some();
        let (queue, exchange, routing_key) = match route {
            Some(route) if !said => {
                (route.queue.clone(), route.exchange.clone(), route.routing_key.clone())
            }
            _ => (queue, exchange, routing_key),
        };
        let target = match (queue, exchange) {
            (Some(queue), _) => Target::Queue(queue),
            (None, Some(exchange)) => Target::Exchange {
                exchange,
                routing_key: routing_key.unwrap_or_else(|| request.task.clone()),
            },
            (None, None) => Target::Queue(self.inner.routes.default_queue().to_owned()),
        };
        let mut message = request.to_message();
        message.expiration_ms = request.expires.map(|expires| {
            u64::try_from(expires.as_millisecond() - now.as_millisecond()).unwrap_or(0)
        });
        if !traceparent.is_empty() && !message.headers.contains_key(names::HEADER_TRACEPARENT) {
            message.set_header(names::HEADER_TRACEPARENT, traceparent);
        }
        (target, message)
    }

    /// Publishes, and again what was not confirmed.
    async fn publish(&self, items: Vec<(Target, TaskMessage)>) -> Vec<Result<(), Error>> {
        let mut results: Vec<Result<(), Error>> = Vec::new();
        let mut open: Vec<usize> = (0..items.len()).collect();
        results.resize_with(items.len(), || Ok(()));
        for attempt in 0..=self.inner.options.publish_retries {
            if attempt > 0 {
                tokio::time::sleep((RETRY_STEP * (attempt - 1)).min(RETRY_MAX)).await;
            }
            let batch = open.iter().map(|place| items[*place].clone()).collect();
            let outcome = self.publish_once(batch).await;
            for (place, result) in open.iter().zip(outcome) {
                results[*place] = result;
            }
            open.retain(|place| may_be_repeated(&results[*place]));
            if open.is_empty() {
                break;
            }
            tracing::debug!(messages = open.len(), attempt, "publishing again");
        }
        results
    }

    async fn publish_once(&self, items: Vec<(Target, TaskMessage)>) -> Vec<Result<(), Error>> {
        let queues: BTreeSet<String> = items
            .iter()
            .filter_map(|(target, _)| match target {
                Target::Queue(queue) => Some(queue.clone()),
                Target::Exchange { .. } => None,
            })
            .collect();
        if let Err(error) = self.declare(queues).await {
            return vec![Err(error); items.len()];
        }
        let (mut places, mut batch) = (Vec::new(), Vec::new());
        let mut results: Vec<Result<(), Error>> = Vec::with_capacity(items.len());
        for (place, (target, message)) in items.into_iter().enumerate() {
            results.push(Ok(()));
            match target {
                Target::Queue(queue) => {
                    places.push(place);
                    batch.push(Outgoing { queue, message });
                }
                Target::Exchange { exchange, routing_key } => {
                    let broker = &self.inner.broker;
                    results[place] = broker.publish_routed(&exchange, &routing_key, message).await;
                }
            }
        }
        let outcome = match (batch.len(), batch.pop()) {
            (1, Some(one)) => vec![self.inner.broker.publish(&one.queue, one.message).await],
            (_, Some(last)) => {
                batch.push(last);
                self.inner.broker.publish_many(batch).await
            }
            (_, None) => Vec::new(),
        };
        for (place, result) in places.into_iter().zip(outcome) {
            if let Err(Error::Unroutable { queue }) = &result {
                // Somebody has removed it since.
                self.forget_queue(queue);
            }
            results[place] = result;
        }
        results
    }

    fn forget_queue(&self, queue: &str) {
        let declared = self.inner.declared.lock();
        declared.unwrap_or_else(std::sync::PoisonError::into_inner).remove(queue);
    }
}

/// A queue that is not there any more is declared again.
fn may_be_repeated(result: &Result<(), Error>) -> bool {
    match result {
        Ok(()) => false,
        Err(error) => error.is_retryable() || matches!(error, Error::Unroutable { .. }),
    }
}
