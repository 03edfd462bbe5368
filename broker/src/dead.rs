//! Dead letters: how they are marked, named and made messages again. Pure; alike in all drivers.

use std::collections::BTreeSet;

use serde::Serialize;
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::{
    DEAD_LETTER_SUFFIX, HEADER_DEAD_AT, HEADER_DEAD_ID, HEADER_DEAD_QUEUE, HEADER_DEAD_RAW,
    HEADER_DEAD_REASON,
};

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Names it in [`Selection::Ids`].
    pub id: String,
    /// Id of its task, if it has one; names it too.
    pub task_id: Option<String>,
    /// Name of its task, if it has one.
    pub task: Option<String>,
    /// Why it was given up; empty for letters that something else than Tradewind put there.
    pub reason: String,
    /// Queue that it came from and goes back to.
    pub queue: String,
    /// When it was given up, if it says so.
    pub at: Option<Timestamp>,
    /// Size of its body, or of the bytes that were no message.
    pub bytes: usize,
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that are there at the time of the call.
    All,
    /// Those with these ids, or whose tasks have these ids.
    Ids(BTreeSet<String>),
}

impl Selection {
    /// Some by their ids.
    pub fn ids<S: Into<String>>(ids: impl IntoIterator<Item = S>) -> Self {
        Self::Ids(ids.into_iter().map(Into::into).collect())
    }

    pub(crate) fn has(&self, letter: &DeadLetter) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => {
                ids.contains(&letter.id)
                    || letter.task_id.as_ref().is_some_and(|id| ids.contains(id))
            }
        }
    }
}

/// Marks a message as a dead letter.
pub(crate) fn mark(message: &mut TaskMessage, reason: &str, queue: &str, at: Timestamp, id: &str) {
    message.mark_dead(reason, queue, at);
    message.set_header(HEADER_DEAD_ID, id);
}

/// Takes the marks away again. `Err` are the bytes of a letter that was no message.
pub(crate) fn unmark(mut message: TaskMessage) -> Result<TaskMessage, Vec<u8>> {
    for name in [HEADER_DEAD_REASON, HEADER_DEAD_QUEUE, HEADER_DEAD_AT, HEADER_DEAD_ID] {
        message.headers.remove(name);
    }
    match message.headers.remove(HEADER_DEAD_RAW) {
        Some(_) => Err(message.body),
        None => Ok(message),
    }
}

/// What a message in a dead-letter queue says.
pub(crate) fn describe(message: &TaskMessage, grave: &str) -> DeadLetter {
    let text = |name: &str| message.header_str(name).map(str::to_owned);
    let task_id = text("id").filter(|id| !id.is_empty());
    let id = text(HEADER_DEAD_ID).or_else(|| task_id.clone());
    DeadLetter {
        id: id.unwrap_or_else(|| digest(&message.body)),
        task_id,
        task: text("task"),
        reason: text(HEADER_DEAD_REASON).unwrap_or_default(),
        queue: text(HEADER_DEAD_QUEUE).unwrap_or_else(|| origin(grave)),
        at: text(HEADER_DEAD_AT).and_then(|at| at.parse().ok()),
        bytes: message.body.len(),
    }
}

/// Bytes in a dead-letter queue that are no message.
pub(crate) fn describe_raw(raw: &[u8], reason: String, grave: &str) -> DeadLetter {
    DeadLetter {
        id: digest(raw),
        task_id: None,
        task: None,
        reason,
        queue: origin(grave),
        at: None,
        bytes: raw.len(),
    }
}

/// The queue that a dead-letter queue belongs to.
fn origin(grave: &str) -> String {
    grave.strip_suffix(DEAD_LETTER_SUFFIX).unwrap_or(grave).to_owned()
}

/// A name for bytes that have none: FNV-1a, which is the same in every build.
fn digest(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("raw-{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// One page of letters that are listed in order: at most `max` after the one with the id `after`.
pub(crate) fn page(letters: Vec<DeadLetter>, max: usize, after: Option<&str>) -> Vec<DeadLetter> {
    let start = after.and_then(|id| letters.iter().rposition(|letter| letter.id == id));
    let start = start.map_or(0, |place| place + 1);
    letters.into_iter().skip(start).take(max).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn dead() -> (TaskMessage, TaskMessage) {
        let mut sent = TaskMessage::json("tests.dead", Uuid::from_u128(7), &json!([1]), &json!({}));
        sent.set_header("x-tradewind-deaths", 3);
        let mut letter = sent.clone();
        let at = Timestamp::from_second(1_700_000_000).expect("a time");
        mark(&mut letter, "poison", "mail", at, "letter-1");
        (sent, letter)
    }

    #[test]
    fn a_letter_comes_back_as_it_went_with_its_counters() {
        let (sent, letter) = dead();
        let told = describe(&letter, "mail.dlq");
        assert_eq!((told.id.as_str(), told.queue.as_str()), ("letter-1", "mail"));
        assert_eq!((told.reason.as_str(), told.task.as_deref()), ("poison", Some("tests.dead")));
        assert_eq!(told.at.map(Timestamp::as_second), Some(1_700_000_000));
        assert_eq!(unmark(letter), Ok(sent));
    }

    #[test]
    fn letters_are_named_by_their_own_id_or_their_tasks() {
        let (sent, letter) = dead();
        let told = describe(&letter, "mail.dlq");
        for (id, expected) in [("letter-1", true), (sent.id().expect("id"), true), ("x", false)] {
            assert_eq!(Selection::ids([id]).has(&told), expected, "{id}");
        }
        assert!(Selection::All.has(&told));
    }

    #[test]
    fn foreign_letters_and_bytes_have_a_name_and_an_origin() {
        let (sent, _) = dead();
        let told = describe(&sent, "mail.dlq");
        assert_eq!((told.queue.as_str(), told.reason.as_str()), ("mail", ""));
        let raw = describe_raw(b"\x80", "no JSON".to_owned(), "mail.dlq");
        assert_eq!(raw.id, describe_raw(b"\x80", String::new(), "other").id);
        assert_ne!(raw.id, describe_raw(b"\x81", String::new(), "other").id);
    }

    #[test]
    fn pages_follow_each_other() {
        let letter = |n: u8| describe_raw(&[n], String::new(), "q.dlq");
        let all: Vec<_> = (0..5).map(letter).collect();
        let first = page(all.clone(), 2, None);
        assert_eq!(first, all[..2]);
        let second = page(all.clone(), 9, Some(&first[1].id));
        assert_eq!(second, all[2..]);
        assert_eq!(page(all.clone(), 1, Some("gone")), all[..1]);
    }
}
