//! `events`: one line per event, as they happen.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::warn;
use tradewind_proto::celery::{ControlRequest, Event};

use super::reply::display;
use crate::args::EventsArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Format;
use crate::roles::signals;

/// Tasks whose names are remembered, so that later events can show them.
const NAMES_MAX: usize = 4096;

pub(crate) async fn events(context: &Context, args: EventsArgs) -> Result<(), Failure> {
    let bus = context.bus().await?;
    let mut stream = bus.subscribe_events().await?;
    let shutdown = signals::shutdown()?;
    let json = args.output.format() == Format::Json;
    if !json {
        line("-> capturing events; Ctrl-C ends")?;
    }
    // Everybody shows up at once instead of with the next heartbeat.
    let wake = ControlRequest { method: "heartbeat".to_owned(), ..ControlRequest::default() };
    if let Err(error) = bus.broadcast(wake).await {
        warn!(%error, "could not ask for heartbeats");
    }
    let mut printer = Printer { json, ..Printer::default() };
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let events = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            events = stream.next() => events,
        };
        match events {
            Ok(events) => {
                for event in events {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    // Whoever reads has gone: a normal end of a pipe.
                    if line(&printer.text(&event)).is_err() {
                        return Ok(());
                    }
                }
            }
            Err(error) => warn!(%error, "the connection was lost; trying again"),
        }
    }
    bus.close().await;
    Ok(())
}

/// Written at once: the reader may be a pipe.
fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Makes lines of events.
#[derive(Debug, Default)]
struct Printer {
    json: bool,
    names: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Printer {
    fn text(&mut self, event: &Event) -> String {
        if self.json {
            return Value::Object(event.0.clone()).to_string();
        }
        let mut fields = event.0.clone();
        let kind = take(&mut fields, "type").to_ascii_lowercase();
        let host = take(&mut fields, "hostname");
        let at = fields.shift_remove("timestamp").and_then(|at| at.as_f64()).unwrap_or_default();
        let task = if kind.starts_with("task-") { self.task(&kind, &mut fields) } else { None };
        let mut names: Vec<&String> = fields.keys().collect();
        names.sort();
        let texts: Vec<String> =
            names.into_iter().map(|name| format!("{name}={}", display(&fields[name]))).collect();
        let texts = texts.join(", ");
        let colon = if texts.is_empty() { "" } else { ":" };
        let task = task.map(|task| format!(" {task}")).unwrap_or_default();
        format!("{host} [{}] {}{colon}{task} {texts}", time(at), human(&kind))
    }

    /// The call that a task event is about.
    fn task(&mut self, kind: &str, fields: &mut Map<String, Value>) -> Option<String> {
        let id = take(fields, "uuid");
        if matches!(kind, "task-received" | "task-sent") {
            let name = take(fields, "name");
            let (args, kwargs) = (take(fields, "args"), take(fields, "kwargs"));
            let call = format!("{name}({id}) args={args} kwargs={kwargs}");
            if self.names.insert(id.clone(), call).is_none() {
                self.order.push_back(id.clone());
            }
            if self.order.len() > NAMES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.names.remove(&oldest);
            }
        }
        Some(self.names.get(&id).cloned().unwrap_or(id))
    }
}

fn take(fields: &mut Map<String, Value>, name: &str) -> String {
    fields.shift_remove(name).map(|value| display(&value)).unwrap_or_default()
}

fn human(kind: &str) -> String {
    match kind {
        "worker-offline" => "shutdown".to_owned(),
        "worker-online" => "started".to_owned(),
        "worker-heartbeat" => "heartbeat".to_owned(),
        other => other.replace('-', " "),
    }
}

fn time(seconds: f64) -> String {
    let at = Timestamp::from_microsecond((seconds * 1e6) as i64).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_have_the_layout_of_celerys_dump() {
        let mut printer = Printer::default();
        let common = json!({"hostname": "celery@h", "timestamp": 1_700_000_000.25, "clock": 7});
        let mut event = |kind: &str, fields: Value| {
            let mut event = Event::new(kind, common.clone());
            event.0.extend(fields.as_object().expect("object").clone());
            printer.text(&event)
        };
        assert_eq!(
            event("worker-online", json!({"sw_ident": "x"})),
            "celery@h [2023-11-14 22:13:20.250000+00:00] started: clock=7, sw_ident=x"
        );
        let sent = json!({"uuid": "id", "name": "t.add", "args": "(1,)", "kwargs": "{}"});
        let call = "t.add(id) args=(1,) kwargs={}";
        assert!(event("task-received", sent).contains(&format!("task received: {call} clock=7")));
        let done = event("task-succeeded", json!({"uuid": "id", "result": "3"}));
        assert!(done.ends_with(&format!("task succeeded: {call} clock=7, result=3")), "{done}");
        assert!(
            event("task-failed", json!({"uuid": "other"})).contains("task failed: other clock")
        );
    }

    #[test]
    fn remembered_names_are_bounded() {
        let mut printer = Printer::default();
        for n in 0..=NAMES_MAX {
            let fields = json!({"uuid": n.to_string(), "name": "t", "args": "", "kwargs": ""});
            printer.text(&Event::new("task-received", fields));
        }
        assert_eq!((printer.names.len(), printer.order.len()), (NAMES_MAX, NAMES_MAX));
        assert!(!printer.names.contains_key("0"));
    }
}
