//! Bytes of a pipe to lines, in bounded memory.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tradewind_proto::limits::LOG_LINE_BYTES_MAX;

use super::{AttemptLog, Stream};

const READ_BYTES: usize = 16 * 1024;

/// Copies lines from `reader` to the log until end of file, an error or cancellation. `last` always
/// holds the last line that is not blank (at most [`LOG_LINE_BYTES_MAX`] bytes of it).
pub(crate) async fn pump<R: AsyncRead + Unpin>(
    mut reader: R,
    stream: Stream,
    log: &AttemptLog,
    last: &mut Vec<u8>,
) {
    let mut bytes = vec![0; READ_BYTES];
    let mut line = Line::default();
    loop {
        let read = match reader.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(read) => &bytes[..read],
        };
        line.feed(read, |text| emit(text, stream, log, last));
    }
    line.finish(|text| emit(text, stream, log, last));
}

fn emit(text: &[u8], stream: Stream, log: &AttemptLog, last: &mut Vec<u8>) {
    log.line(stream, text);
    if !text.trim_ascii().is_empty() {
        last.clear();
        last.extend_from_slice(&text[..text.len().min(LOG_LINE_BYTES_MAX)]);
    }
}

/// A line under construction; what is over the limit is dropped, one byte excepted, which tells the
/// log that the line was cut.
#[derive(Debug, Default)]
struct Line(Vec<u8>);

impl Line {
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(at);
            if self.0.is_empty() {
                each(head.strip_suffix(b"\r").unwrap_or(head));
            } else {
                self.add(head);
                each(self.0.strip_suffix(b"\r").unwrap_or(&self.0));
                self.0.clear();
            }
            bytes = &tail[1..];
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = (LOG_LINE_BYTES_MAX + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            each(&self.0);
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use tradewind_proto::limits::LOG_LINE_BYTES_MAX;

    use super::Line;

    fn split(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut line = Line::default();
        let mut out = Vec::new();
        for part in parts {
            line.feed(part, |text| out.push(text.to_vec()));
        }
        line.finish(|text| out.push(text.to_vec()));
        out
    }

    #[test]
    fn lines_are_joined_over_reads() {
        let got = split(&[b"a\nb", b"c\r\n\nd", b"e"]);
        assert_eq!(got, [b"a".to_vec(), b"bc".to_vec(), b"".to_vec(), b"de".to_vec()]);
    }

    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let big = vec![b'x'; 100_000];
        let got = split(&[&big, &big, b"\nnext\n"]);
        assert_eq!(got[0].len(), LOG_LINE_BYTES_MAX + 1);
        assert_eq!(got[1], b"next");
    }
}
