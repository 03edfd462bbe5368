//! Lines waiting to be shipped, with their bounds. Pure: time comes in as an argument.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use tradewind_proto::AttemptId;
use tradewind_proto::execution::LogChunk;
use tradewind_proto::limits::{LOG_ATTEMPT_BYTES_MAX, LOG_LINE_BYTES_MAX};

/// Output of all attempts together that may wait while the log store is away.
const BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest text of one chunk.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Largest text of one call.
const CALL_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, Default)]
struct Buffer {
    token: i64,
    text: String,
    next_seq: u32,
    /// Bytes accepted over the attempt's life.
    accepted: usize,
    /// Lines refused over the attempt's cap.
    refused: u64,
    /// Lines dropped because they could not be shipped in time.
    lost: u64,
    in_flight: bool,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Buffers {
    attempts: BTreeMap<AttemptId, Buffer>,
    bytes: usize,
    bytes_lost: u64,
    /// Chunks of the call under way.
    sending: Vec<LogChunk>,
}

impl Buffers {
    /// A second opening (a message that was given back and came again) goes on where it was.
    pub(super) fn open(&mut self, attempt: AttemptId, token: i64) {
        let buffer = self.attempts.entry(attempt).or_default();
        buffer.token = token;
        buffer.closed = false;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn append(&mut self, id: AttemptId, now: Timestamp, stream: &str, text: &[u8]) {
        let Some(buffer) = self.attempts.get_mut(&id) else { return };
        let (text, cut) = match text.get(..LOG_LINE_BYTES_MAX) {
            Some(head) if text.len() > LOG_LINE_BYTES_MAX => (head, true),
            _ => (text, false),
        };
        if buffer.accepted + text.len() > LOG_ATTEMPT_BYTES_MAX {
            buffer.refused += 1;
            return;
        }
        let before = buffer.text.len();
        // U+0000 is valid UTF-8 that databases refuse as text.
        let text = String::from_utf8_lossy(text).replace('\0', "\u{fffd}");
        let mark = if cut { " [line cut]" } else { "" };
        let _ = writeln!(buffer.text, "{now:.3} {stream} {text}{mark}");
        let added = buffer.text.len() - before;
        buffer.accepted += added;
        self.bytes += added;
        if self.bytes > BUFFER_BYTES_MAX {
            self.drop_oldest(now);
        }
    }

    /// Halves the largest buffer.
    fn drop_oldest(&mut self, now: Timestamp) {
        let Some(buffer) = self.attempts.values_mut().max_by_key(|buffer| buffer.text.len()) else {
            return;
        };
        let half = buffer.text.len() / 2;
        let cut = buffer.text.bytes().skip(half).position(|byte| byte == b'\n');
        let cut = cut.map_or(buffer.text.len(), |at| half + at + 1);
        let before = buffer.text.len();
        buffer.lost += buffer.text.bytes().take(cut).filter(|byte| *byte == b'\n').count() as u64;
        let rest = buffer.text.split_off(cut);
        buffer.text = format!(
            "{now:.3} worker output lost here: the log store could not be reached in time ({} lines so far)\n{rest}",
            buffer.lost
        );
        self.bytes = self.bytes - before + buffer.text.len();
        self.bytes_lost += cut as u64;
    }

    pub(super) fn close(&mut self, id: AttemptId, now: Timestamp) {
        let Some(buffer) = self.attempts.get_mut(&id) else { return };
        buffer.closed = true;
        if buffer.refused > 0 {
            let before = buffer.text.len();
            let _ = writeln!(
                buffer.text,
                "{now:.3} worker {} more lines dropped: the log is limited to {LOG_ATTEMPT_BYTES_MAX} bytes",
                buffer.refused
            );
            buffer.refused = 0;
            self.bytes += buffer.text.len() - before;
        }
        self.forget_if_done(id);
    }

    pub(super) fn is_clear(&self, id: AttemptId) -> bool {
        self.attempts.get(&id).is_none_or(|buffer| buffer.text.is_empty() && !buffer.in_flight)
    }

    /// What to send now: the chunks of a call that was cut off, else new ones.
    pub(super) fn outgoing(&mut self) -> Option<Vec<LogChunk>> {
        if self.sending.is_empty() {
            self.sending = self.take();
        }
        (!self.sending.is_empty()).then(|| self.sending.clone())
    }

    /// Moves text out for one call.
    fn take(&mut self) -> Vec<LogChunk> {
        let mut chunks = Vec::new();
        let mut total = 0;
        for (id, buffer) in &mut self.attempts {
            while !buffer.text.is_empty() && total < CALL_BYTES_MAX {
                let rest = match buffer.text.len() > CHUNK_BYTES_MAX {
                    true => {
                        let head = buffer.text.bytes().take(CHUNK_BYTES_MAX).collect::<Vec<_>>();
                        let cut = head.iter().rposition(|byte| *byte == b'\n');
                        buffer.text.split_off(cut.map_or(buffer.text.len(), |at| at + 1))
                    }
                    false => String::new(),
                };
                let text = std::mem::replace(&mut buffer.text, rest);
                total += text.len();
                self.bytes -= text.len();
                buffer.in_flight = true;
                chunks.push(LogChunk {
                    attempt_id: *id,
                    token: buffer.token,
                    seq: buffer.next_seq,
                    text,
                });
                buffer.next_seq += 1;
            }
        }
        chunks
    }

    /// The chunks of one call have arrived, or were refused for good.
    pub(super) fn settled(&mut self, chunks: &[LogChunk]) {
        self.sending.clear();
        for chunk in chunks {
            if let Some(buffer) = self.attempts.get_mut(&chunk.attempt_id) {
                buffer.in_flight = false;
            }
            self.forget_if_done(chunk.attempt_id);
        }
    }

    /// Bytes lost since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_lost)
    }

    fn forget_if_done(&mut self, id: AttemptId) {
        let done = |b: &Buffer| b.closed && b.text.is_empty() && !b.in_flight;
        if self.attempts.get(&id).is_some_and(done) {
            self.attempts.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tradewind_proto::AttemptId;
    use tradewind_proto::limits::{LOG_ATTEMPT_BYTES_MAX, LOG_LINE_BYTES_MAX};
    use uuid::Uuid;

    use super::{BUFFER_BYTES_MAX, Buffers, CHUNK_BYTES_MAX};

    const ID: AttemptId = AttemptId(Uuid::from_u128(7));

    fn at() -> Timestamp {
        "2026-11-21T01:02:03.456Z".parse().expect("time")
    }

    fn open() -> Buffers {
        let mut buffers = Buffers::default();
        buffers.open(ID, 3);
        buffers
    }

    #[test]
    fn lines_have_time_stream_and_clean_text() {
        let mut buffers = open();
        buffers.append(ID, at(), "stdout", b"hi \xff\0");
        buffers.append(ID, at(), "stderr", &vec![b'x'; LOG_LINE_BYTES_MAX + 5]);
        let chunks = buffers.take();
        assert_eq!((chunks.len(), chunks[0].seq, chunks[0].token), (1, 0, 3));
        let mut lines = chunks[0].text.lines();
        assert_eq!(lines.next(), Some("2026-11-21T01:02:03.456Z stdout hi \u{fffd}\u{fffd}"));
        let cut = lines.next().expect("second");
        assert!(cut.ends_with("x [line cut]"));
        assert_eq!(cut.matches('x').count(), LOG_LINE_BYTES_MAX);
        assert!(!buffers.is_clear(ID));
        buffers.close(ID, at());
        buffers.settled(&chunks);
        assert!(buffers.is_clear(ID) && buffers.attempts.is_empty() && buffers.bytes() == 0);
    }

    #[test]
    fn big_text_is_cut_into_numbered_chunks_of_whole_lines() {
        let mut buffers = open();
        for _ in 0..100 {
            buffers.append(ID, at(), "stdout", &[b'y'; 10_000]);
        }
        let mut all = String::new();
        let mut seqs = Vec::new();
        while buffers.bytes() > 0 {
            for chunk in buffers.take() {
                assert!(chunk.text.ends_with('\n') && chunk.text.len() <= CHUNK_BYTES_MAX);
                seqs.push(chunk.seq);
                all.push_str(&chunk.text);
            }
        }
        assert_eq!(all.lines().count(), 100);
        assert!(seqs.iter().copied().eq(0..u32::try_from(seqs.len()).expect("few")));
    }

    #[test]
    fn overflow_drops_the_oldest_and_says_so() {
        let mut buffers = open();
        let mut lines = 0_u32;
        while buffers.take_lost() == 0 {
            lines += 1;
            buffers.append(
                ID,
                at(),
                "stdout",
                format!("{lines:08} {}", "z".repeat(5000)).as_bytes(),
            );
        }
        assert!(buffers.bytes() < BUFFER_BYTES_MAX);
        let chunks = buffers.take();
        assert!(chunks[0].text.lines().next().expect("line").contains("output lost here"));
        let mut last = chunks;
        while buffers.bytes() > 0 {
            last = buffers.take();
        }
        assert!(last.last().expect("chunk").text.contains(&format!("{lines:08} z")));
    }

    #[test]
    fn an_attempts_cap_is_counted_at_the_end() {
        let mut buffers = open();
        let line = [b'w'; 16_000];
        for _ in 0..(LOG_ATTEMPT_BYTES_MAX / 16_000 + 4) {
            buffers.append(ID, at(), "stdout", &line);
            buffers.take();
        }
        buffers.close(ID, at());
        let end = buffers.take().pop().expect("marker").text;
        assert!(end.contains("more lines dropped"), "{end}");
    }
}
