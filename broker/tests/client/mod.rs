//! In-process parts for a client, and the smallest worker that follows a canvas.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tradewind_broker::client::{Client, Routes};
use tradewind_broker::coordination::MemoryCoordinator;
use tradewind_broker::{
    Broker, BusOptions, ControlBus, Join, JoinPart, MemoryBroker, MemoryBus, MemoryResults,
    Payload, StoredResult,
};
use tradewind_proto::celery::canvas::Applied;
use tradewind_proto::celery::{ExceptionInfo, Meta, Request, Signature};
use tradewind_proto::clock::{SharedClock, SystemClock, SystemIds};

const TTL: Duration = Duration::from_secs(600);

/// A client and what is behind it.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) bus: Arc<dyn ControlBus>,
}

pub(crate) fn parts(routes: Routes) -> Parts {
    let clock: SharedClock = Arc::new(SystemClock);
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(Arc::clone(&clock)));
    let options = BusOptions::default();
    let bus: Arc<dyn ControlBus> = Arc::new(MemoryBus::with_options(&options, Arc::clone(&clock)));
    let client = Client::new(
        Arc::clone(&broker),
        Arc::new(MemoryResults::new()),
        Arc::clone(&bus),
        Arc::new(MemoryCoordinator::new()),
        routes,
        clock,
        Arc::new(SystemIds),
    );
    Parts { client, broker, bus }
}

/// Runs `add`, `sum` and `fail` from the default queue until aborted.
pub(crate) fn spawn_worker(parts: &Parts) -> JoinHandle<()> {
    let (client, broker) = (parts.client.clone(), Arc::clone(&parts.broker));
    tokio::spawn(async move {
        let mut consumer = broker.consume(&["default".to_owned()], 8).await.expect("a consumer");
        loop {
            for mut delivery in consumer.next_batch(8).await.expect("deliveries") {
                let Payload::Message(message) = delivery.payload() else { panic!("no message") };
                let request = Request::decode(message).expect("a request");
                run(&client, &request).await;
                delivery.ack().await.expect("an ack");
            }
        }
    })
}

fn outcome(request: &Request) -> Result<Value, ExceptionInfo> {
    let numbers = |values: &[Value]| values.iter().filter_map(Value::as_i64).sum::<i64>();
    match request.task.as_str() {
        "add" => Ok(json!(numbers(&request.args))),
        "sum" => Ok(json!(numbers(request.args[0].as_array().expect("a list")))),
        _ => Err(ExceptionInfo::new("builtins", "ValueError", "no")),
    }
}

async fn follow(client: &Client, next: Signature, after: &Applied) -> Value {
    client.apply_as(next, after).await.expect("sent").tuple().to_value()
}

async fn run(client: &Client, request: &Request) {
    let now = tradewind_proto::Timestamp::now();
    let outcome = outcome(request);
    let mut meta = match &outcome {
        Ok(value) => Meta::success(&request.id, value.clone(), now),
        Err(exception) => Meta::failure(&request.id, exception, None, now),
    };
    if let Ok(value) = &outcome {
        let mut chain = request.embed.chain.clone();
        if let Some(next) = chain.pop() {
            let after = Applied::by_task(request, vec![value.clone()], now);
            meta.children = Some(vec![follow(client, next, &Applied { chain, ..after }).await]);
        }
    }
    let stored = StoredResult {
        task_id: request.id.clone(),
        token: 1,
        state: meta.status.clone(),
        meta: meta.to_bytes(),
        reply_to: None,
    };
    client.results().put(stored, TTL).await.expect("stored");
    let (Some(group), Some(body)) = (&request.group, &request.embed.chord) else { return };
    let part = JoinPart {
        group: group.clone(),
        task_id: request.id.clone(),
        index: request.group_index.expect("a position"),
        state: meta.status.clone(),
        result: meta.result.clone(),
    };
    if let Join::Complete { claim, parts } = client.results().join(part, TTL).await.expect("joined")
    {
        let results: Vec<Value> = parts.into_iter().map(|part| part.result).collect();
        let after = Applied::by_task(request, vec![Value::Array(results)], now);
        follow(client, body.clone(), &after).await;
        client.results().finish_join(group, &claim).await.expect("finished");
    }
}
