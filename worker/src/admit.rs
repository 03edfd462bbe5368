//! What a delivery is: decides, without I/O, which half of the worker a message is for.

use tradewind_broker::Payload;
use tradewind_proto::names;

use crate::fleet::batch::Refusal;

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A signed workload of the orchestrator.
    Workload,
    /// Anything else: a fleet task, or nothing that can be run.
    Fleet,
}

/// Looks at a payload. A message that names a workload must carry a frame.
pub(crate) fn admit(payload: &Payload) -> Result<Kind, Refusal> {
    let Payload::Message(message) = payload else { return Ok(Kind::Fleet) };
    if message.task() != Some(names::TASK_WORKLOAD) {
        return Ok(Kind::Fleet);
    }
    let essence = message.content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(names::CONTENT_TYPE_FRAME) {
        return Ok(Kind::Workload);
    }
    let reason = format!(
        "unknown content type {:?} for task {:?}: expected {}",
        message.content_type,
        names::TASK_WORKLOAD,
        names::CONTENT_TYPE_FRAME
    );
    Err(Refusal::new("content-type", reason))
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
    use crate::fleet::{Tasks, batch};

    fn noop() -> TaskMessage {
        TaskMessage::json(names::TASK_NOOP, Uuid::from_u128(1), &json!([]), &json!({}))
    }

    fn refused(change: impl FnOnce(&mut TaskMessage)) -> (&'static str, String) {
        let mut message = noop();
        change(&mut message);
        let refusal = batch::admit(Payload::Message(message), &Tasks::default()).expect_err("no");
        (refusal.kind, refusal.reason)
    }

    #[test]
    fn workloads_are_frames_and_the_rest_is_the_fleets() {
        assert_eq!(admit(&Payload::Message(noop())), Ok(Kind::Fleet));
        let mut frame = TaskMessage::frame(names::TASK_WORKLOAD, Uuid::from_u128(1), vec![1]);
        assert_eq!(admit(&Payload::Message(frame.clone())), Ok(Kind::Workload));
        frame.content_type = "application/json".to_owned();
        assert!(admit(&Payload::Message(frame)).is_err());
    }

    #[test]
    fn each_bad_kind_has_its_reason() {
        batch::admit(Payload::Message(noop()), &Tasks::default()).expect("a good one");
        let raw = Payload::Malformed { reason: "no JSON".to_owned(), raw: vec![0] };
        assert_eq!(batch::admit(raw, &Tasks::default()).expect_err("bad").kind, "malformed");
        let (kind, reason) = refused(|m| m.body = vec![b' '; MESSAGE_BODY_BYTES_MAX + 1]);
        assert_eq!(kind, "oversized");
        assert!(reason.contains("4194305 bytes"), "{reason}");
        let (_, reason) = refused(|m| drop(m.headers.remove("task")));
        assert!(reason.contains("task"), "{reason}");
        let (kind, reason) = refused(|m| m.set_header("task", "proj.add"));
        assert_eq!(kind, "unknown_task");
        assert!(reason.contains("proj.add"), "{reason}");
        let (_, reason) = refused(|m| m.content_type = "application/x-python-serialize".to_owned());
        assert!(reason.contains("pickle") || reason.contains("never"), "{reason}");
        let (_, reason) = refused(|m| m.content_type = "application/x-yaml".to_owned());
        assert!(reason.contains("yaml"), "{reason}");
        let (kind, _) = refused(|m| m.body = b"{not json".to_vec());
        assert_eq!(kind, "syntax");
    }
}
