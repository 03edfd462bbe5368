//! The duty that sends events: the worker's heartbeats, and what happens to tasks while somebody wants to
//! know. The run core writes into a bounded ring and never waits; what overflows it is counted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tradewind_broker::ControlBus;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{Event, wire_time};
use tradewind_proto::seal::ENCRYPTED;

use super::panel::{Panel, seconds};
use super::{RemoteOptions, system};
use crate::fleet::{Lifecycle, What};

/// Most task events of one message.
const BATCH_MAX: usize = 200;
/// Longest text of one member: a monitor shows it, nobody computes with it.
const TEXT_CHARS_MAX: usize = 4096;
/// Events that cannot be sent in this time are lost.
const PUBLISH_MAX: Duration = Duration::from_secs(5);

/// Sends events until `stop`, and says goodbye.
pub(super) async fn events(
    panel: Arc<Panel>,
    bus: Arc<dyn ControlBus>,
    options: RemoteOptions,
    stop: CancellationToken,
) {
    let mut sender = Sender { panel: Arc::clone(&panel), bus, options, silent: false };
    let mut wanted = panel.task_events.subscribe();
    let mut source = None;
    let mut beats = interval(sender.options.heartbeat_interval());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sender.worker("worker-online").await;
    loop {
        let on = *wanted.borrow_and_update();
        match (&source, on) {
            (None, true) => source = Some(panel.state.events()),
            (Some(_), false) => source = None,
            _ => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = panel.beat.notified() => sender.worker("worker-heartbeat").await,
            _ = beats.tick() => sender.worker("worker-heartbeat").await,
            // The panel, which is held here, has the other end.
            _ = wanted.changed() => {}
            batch = next(&mut source, &panel) => sender.tasks(batch).await,
        }
    }
    // What the last tasks did comes before the goodbye.
    while let Some(receiver) = &mut source {
        let batch = at_hand(receiver, &panel, Vec::new());
        if batch.is_empty() {
            break;
        }
        sender.tasks(batch).await;
    }
    sender.worker("worker-offline").await;
}

/// Waits for task events; for ever without a source. Cancel-safe: an event is taken only when it is ready.
async fn next(source: &mut Option<Receiver<Lifecycle>>, panel: &Panel) -> Vec<Lifecycle> {
    let Some(receiver) = source else { return std::future::pending().await };
    loop {
        match receiver.recv().await {
            Ok(first) => return at_hand(receiver, panel, vec![first]),
            Err(RecvError::Lagged(lost)) => panel.lose(lost),
            // The state is held by the panel.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Adds what is there without waiting.
fn at_hand(
    receiver: &mut Receiver<Lifecycle>,
    panel: &Panel,
    mut batch: Vec<Lifecycle>,
) -> Vec<Lifecycle> {
    while batch.len() < BATCH_MAX {
        match receiver.try_recv() {
            Ok(event) => batch.push(event),
            Err(TryRecvError::Lagged(lost)) => panel.lose(lost),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    batch
}

struct Sender {
    panel: Arc<Panel>,
    bus: Arc<dyn ControlBus>,
    options: RemoteOptions,
    /// Whether the bus is known to be away: said once.
    silent: bool,
}

impl Sender {
    async fn worker(&mut self, kind: &str) {
        if !self.options.heartbeat {
            return;
        }
        let now = self.panel.clock.now();
        let state = &self.panel.state;
        let processed: u64 = state.totals().values().sum();
        let fields = json!({
            "freq": self.options.heartbeat_interval().as_secs_f64(),
            "active": state.active().len(), "processed": processed,
            "loadavg": system::load_average(), "sw_ident": "tradewind",
            "sw_ver": env!("CARGO_PKG_VERSION"), "sw_sys": "Linux",
        });
        let event = complete(&self.panel, Event::new(kind, fields), now);
        self.publish(&[event]).await;
    }

    async fn tasks(&mut self, batch: Vec<Lifecycle>) {
        let events: Vec<Event> =
            batch.iter().map(|one| complete(&self.panel, task_event(one), one.at)).collect();
        self.publish(&events).await;
    }

    async fn publish(&mut self, events: &[Event]) {
        let reason = match timeout(PUBLISH_MAX, self.bus.publish_events(events)).await {
            Ok(Ok(())) => {
                self.silent = false;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.panel.lose(events.len() as u64);
        if !self.silent {
            tracing::warn!(reason, "events are not sent for now; tasks go on");
            self.silent = true;
        }
    }
}

/// Adds the sender's members.
fn complete(panel: &Panel, mut event: Event, at: Timestamp) -> Event {
    for (name, value) in [
        ("hostname", json!(panel.node)),
        ("utcoffset", json!(system::utc_offset(at))),
        ("pid", json!(panel.pid)),
        ("clock", json!(panel.tick())),
        ("timestamp", json!(seconds(at))),
    ] {
        event.0.insert(name.to_owned(), value);
    }
    event
}

/// What happened to a task, with Celery's members.
fn task_event(one: &Lifecycle) -> Event {
    let request = &one.seen.request;
    let said = |text| if request.is_hidden() { ENCRYPTED } else { String::as_str(text) };
    let (kind, mut fields) = match &one.what {
        What::Received => (
            "task-received",
            json!({
                "name": request.task, "args": shorten(&request.argsrepr),
                "kwargs": shorten(&request.kwargsrepr), "root_id": request.root_id,
                "parent_id": request.parent_id, "retries": request.retries,
                "eta": request.eta.map(wire_time), "expires": request.expires.map(wire_time),
                "queue": &*one.seen.queue,
            }),
        ),
        What::Started => ("task-started", json!({})),
        What::Succeeded { result, runtime } => {
            ("task-succeeded", json!({"result": shorten(said(result)), "runtime": runtime}))
        }
        What::Failed { exception, traceback, .. } => {
            ("task-failed", raised(said(exception), said(traceback)))
        }
        What::Retried { exception, traceback } => {
            ("task-retried", raised(said(exception), said(traceback)))
        }
        What::Revoked { terminated, signum, expired } => (
            "task-revoked",
            json!({"terminated": terminated, "signum": signum, "expired": expired}),
        ),
        What::Rejected { requeue } => ("task-rejected", json!({"requeue": requeue})),
    };
    fields["uuid"] = json!(request.id);
    Event::new(kind, fields)
}

fn raised(exception: &str, traceback: &str) -> Value {
    json!({"exception": shorten(exception), "traceback": shorten(traceback)})
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tradewind_proto::celery::Request;
    use tradewind_proto::clock::from_micros;

    use super::{ENCRYPTED, TEXT_CHARS_MAX, shorten, task_event};
    use crate::fleet::{Lifecycle, Seen, What};

    fn event(what: What) -> serde_json::Map<String, serde_json::Value> {
        let request =
            Request { argsrepr: "(1,)".to_owned(), retries: 2, ..Request::new("add", "a") };
        let at = from_micros(1_500_000);
        let seen = Arc::new(Seen { request, queue: "q".into(), redelivered: false, received: at });
        task_event(&Lifecycle { at, seen, what }).0
    }

    #[test]
    fn task_events_have_celerys_members() {
        let received = event(What::Received);
        for (name, value) in [
            ("type", json!("task-received")),
            ("uuid", json!("a")),
            ("name", json!("add")),
            ("args", json!("(1,)")),
            ("retries", json!(2)),
            ("root_id", json!("a")),
            ("eta", json!(null)),
        ] {
            assert_eq!(received[name], value, "{name}");
        }
        let failed = event(What::Failed {
            exception: "ValueError('x')".to_owned(),
            kind: "ValueError".to_owned(),
            traceback: "tb".to_owned(),
        });
        assert_eq!(
            (&failed["exception"], &failed["traceback"]),
            (&json!("ValueError('x')"), &json!("tb"))
        );
        let revoked = event(What::Revoked { terminated: true, signum: Some(15), expired: false });
        assert_eq!((&revoked["type"], &revoked["signum"]), (&json!("task-revoked"), &json!(15)));
    }

    #[test]
    fn what_came_encrypted_is_not_told() {
        let request = Request { argsrepr: ENCRYPTED.to_owned(), ..Request::new("add", "a") };
        let at = from_micros(1_500_000);
        let seen = Arc::new(Seen { request, queue: "q".into(), redelivered: false, received: at });
        let text = || "4711".to_owned();
        for what in [
            What::Received,
            What::Succeeded { result: text(), runtime: 0.1 },
            What::Failed { exception: text(), kind: "ValueError".to_owned(), traceback: text() },
            What::Retried { exception: text(), traceback: text() },
        ] {
            let event = task_event(&Lifecycle { at, seen: Arc::clone(&seen), what }).0;
            let told = serde_json::to_string(&event).expect("JSON");
            assert!(!told.contains("4711"), "{told}");
            assert_eq!(event["uuid"], "a");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten(&"ä".repeat(TEXT_CHARS_MAX + 1)).chars().count(), TEXT_CHARS_MAX + 3);
    }
}
