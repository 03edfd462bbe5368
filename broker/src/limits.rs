//! Checks and names that every driver applies alike.

use tradewind_proto::Timestamp;
use tradewind_proto::limits::{MESSAGE_BODY_BYTES_MAX, NAME_CHARS_MAX};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::{DEAD_LETTER_SUFFIX, HEADER_SENT_AT};

use crate::Error;

/// Refuses what no consumer would accept.
pub(crate) fn check_outgoing(queue: &str, message: &TaskMessage) -> Result<(), Error> {
    check_queue(queue)?;
    let bytes = message.body.len();
    if bytes > MESSAGE_BODY_BYTES_MAX {
        return Err(Error::TooLarge { bytes, limit: MESSAGE_BODY_BYTES_MAX });
    }
    Ok(())
}

/// Refuses queue names that some server cannot carry (AMQP short strings have 255 bytes; the
/// suffixes of dead-letter and delay queues must fit too).
pub(crate) fn check_queue(queue: &str) -> Result<(), Error> {
    if queue.is_empty() || queue.len() > NAME_CHARS_MAX - DEAD_LETTER_SUFFIX.len() {
        let limit = NAME_CHARS_MAX - DEAD_LETTER_SUFFIX.len();
        return Err(Error::Config(format!(
            "queue name {queue:?} has {} bytes; use 1 to {limit}",
            queue.len()
        )));
    }
    Ok(())
}

/// The dead-letter queue of a queue; a dead-letter queue is its own.
pub(crate) fn dead_letter_queue(queue: &str) -> String {
    if queue.ends_with(DEAD_LETTER_SUFFIX) {
        queue.to_owned()
    } else {
        format!("{queue}{DEAD_LETTER_SUFFIX}")
    }
}

/// Refuses names of exchanges and routing keys that AMQP cannot carry.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let bytes = name.len();
    if bytes > NAME_CHARS_MAX {
        return Err(Error::Config(format!(
            "{what} has {bytes} bytes; use at most {NAME_CHARS_MAX}"
        )));
    }
    Ok(())
}

/// Notes when a message was first published.
pub(crate) fn stamp(message: &mut TaskMessage, now: Timestamp) {
    if !message.headers.contains_key(HEADER_SENT_AT) {
        message.set_header(HEADER_SENT_AT, now.to_string());
    }
}

/// When a message was first published, if it says so.
pub(crate) fn sent_at(message: &TaskMessage) -> Option<Timestamp> {
    message.header_str(HEADER_SENT_AT)?.parse().ok()
}

/// Why a received body cannot be handed on, if it cannot.
pub(crate) fn oversized(body: &[u8]) -> Option<String> {
    let bytes = body.len();
    (bytes > MESSAGE_BODY_BYTES_MAX)
        .then(|| format!("body of {bytes} bytes is over the limit of {MESSAGE_BODY_BYTES_MAX}"))
}
