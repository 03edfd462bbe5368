//! What a delivery is: decides, without I/O, whether a message can be worked on and how. Never reads
//! a pickle, and never looks into a body that is too large.

use serde::de::IgnoredAny;
use tradewind_broker::Payload;
use tradewind_proto::limits::MESSAGE_BODY_BYTES_MAX;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;

use crate::Handlers;

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A signed workload of the orchestrator.
    Workload,
    /// A task with a registered handler.
    Native,
}

/// Why a message is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Label of the metric.
    pub(crate) kind: &'static str,
    /// The dead-letter reason.
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

/// Looks at a payload.
pub(crate) fn admit(payload: &Payload, handlers: &Handlers) -> Result<Kind, Refusal> {
    let message = match payload {
        Payload::Message(message) => message,
        Payload::Malformed { reason, .. } => {
            return Err(Refusal::new("malformed", format!("malformed message: {reason}")));
        }
    };
    if message.body.len() > MESSAGE_BODY_BYTES_MAX {
        let found = message.body.len();
        let reason = format!("oversized body: {found} bytes, limit {MESSAGE_BODY_BYTES_MAX}");
        return Err(Refusal::new("oversized", reason));
    }
    let Some(task) = message.task() else {
        let reason = "missing header \"task\": not a Celery protocol 2 message";
        return Err(Refusal::new("no_task", reason));
    };
    if is_pickle(&message.content_type) {
        let reason = format!(
            "content type {} is never read; set task_serializer to json at the sender",
            message.content_type
        );
        return Err(Refusal::new("pickle", reason));
    }
    if let Some(compression) = message.header_str("compression") {
        let reason = format!("unknown codec: compressed body ({compression})");
        return Err(Refusal::new("content_type", reason));
    }
    if task == names::TASK_WORKLOAD {
        expect_type(message, names::CONTENT_TYPE_FRAME)?;
        return Ok(Kind::Workload);
    }
    if !handlers.contains(task) {
        let reason = format!("unknown task {task:?}: no handler in this worker");
        return Err(Refusal::new("unknown_task", reason));
    }
    expect_type(message, names::CONTENT_TYPE_JSON)?;
    // Arguments are the handler's business; the shape is protocol 2's.
    serde_json::from_slice::<(IgnoredAny, IgnoredAny, IgnoredAny)>(&message.body)
        .map_err(|error| Refusal::new("malformed", format!("malformed JSON body: {error}")))?;
    Ok(Kind::Native)
}

fn is_pickle(content_type: &str) -> bool {
    matches!(content_type, "application/x-python-serialize" | "application/x-python")
        || content_type.contains("pickle")
}

fn expect_type(message: &TaskMessage, expected: &str) -> Result<(), Refusal> {
    let essence = message.content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let reason = format!(
        "unknown content type {:?} for task {:?}: expected {expected}",
        message.content_type,
        message.task().unwrap_or_default()
    );
    Err(Refusal::new("content_type", reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_broker::Payload;
    use tradewind_proto::limits::MESSAGE_BODY_BYTES_MAX;
    use tradewind_proto::message::TaskMessage;
    use tradewind_proto::names;
    use uuid::Uuid;

    use super::{Kind, admit};
    use crate::Handlers;

    fn noop() -> TaskMessage {
        TaskMessage::json(names::TASK_NOOP, Uuid::from_u128(1), &json!([]), &json!({}))
    }

    fn refused(change: impl FnOnce(&mut TaskMessage)) -> (&'static str, String) {
        let mut message = noop();
        change(&mut message);
        let refusal = admit(&Payload::Message(message), &Handlers::default()).expect_err("refused");
        (refusal.kind, refusal.reason)
    }

    #[test]
    fn good_messages_pass() {
        let handlers = Handlers::default();
        assert_eq!(admit(&Payload::Message(noop()), &handlers), Ok(Kind::Native));
        let frame = TaskMessage::frame(names::TASK_WORKLOAD, Uuid::from_u128(1), vec![1]);
        assert_eq!(admit(&Payload::Message(frame), &handlers), Ok(Kind::Workload));
    }

    #[test]
    fn each_bad_kind_has_its_reason() {
        let raw = Payload::Malformed { reason: "no JSON".to_owned(), raw: vec![0] };
        assert_eq!(admit(&raw, &Handlers::default()).expect_err("bad").kind, "malformed");
        let (kind, reason) = refused(|m| m.body = vec![b' '; MESSAGE_BODY_BYTES_MAX + 1]);
        assert_eq!(kind, "oversized");
        assert!(reason.contains("4194305 bytes"), "{reason}");
        let (kind, reason) = refused(|m| drop(m.headers.remove("task")));
        assert_eq!(kind, "no_task");
        assert!(reason.contains("\"task\""), "{reason}");
        let (kind, reason) = refused(|m| m.set_header("task", "proj.add"));
        assert_eq!(kind, "unknown_task");
        assert!(reason.contains("proj.add"), "{reason}");
        let (kind, _) = refused(|m| m.content_type = "application/x-python-serialize".to_owned());
        assert_eq!(kind, "pickle");
        let (kind, reason) = refused(|m| m.content_type = "application/x-yaml".to_owned());
        assert_eq!(kind, "content_type");
        assert!(reason.contains("application/x-yaml"), "{reason}");
        let (kind, _) = refused(|m| m.set_header("compression", "application/x-gzip"));
        assert_eq!(kind, "content_type");
        let (kind, _) = refused(|m| m.set_header("task", names::TASK_WORKLOAD));
        assert_eq!(kind, "content_type");
        let (kind, reason) = refused(|m| m.body = b"{not json".to_vec());
        assert_eq!(kind, "malformed");
        assert!(reason.contains("JSON"), "{reason}");
    }
}
