//! Putting log chunks together: pure, shared by the drivers.

use crate::model::LogRead;

/// Text returned by one read.
pub(crate) const READ_BYTES_MAX: usize = 1024 * 1024;
/// Chunks looked at by one read.
pub(crate) const READ_CHUNKS_MAX: u32 = 1024;

/// Joins chunks (in order of their number, from `seq` on). While the attempt runs, reading stops at a
/// gap, which a late chunk may still fill; afterwards gaps are passed over. `cut`: there may be more
/// chunks than these.
pub(crate) fn join(
    chunks: Vec<(u32, String)>,
    seq: u32,
    attempt_ended: bool,
    cut: bool,
) -> LogRead {
    let mut read = LogRead { text: String::new(), next_seq: seq, ended: false };
    let mut whole = !cut && chunks.len() < READ_CHUNKS_MAX as usize;
    for (number, text) in chunks {
        let gap = number != read.next_seq && !attempt_ended;
        let full = !read.text.is_empty() && read.text.len() + text.len() > READ_BYTES_MAX;
        if gap || full {
            whole = false;
            break;
        }
        read.text.push_str(&text);
        read.next_seq = number.saturating_add(1);
    }
    read.ended = attempt_ended && whole;
    read
}
