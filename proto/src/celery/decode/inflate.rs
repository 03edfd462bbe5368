//! The `compression` header of kombu: what it names, and the bytes behind it, never more than a body may have.

use std::borrow::Cow;
use std::io::Read;

use crate::limits::MESSAGE_BODY_BYTES_MAX;

use super::BadMessage;

/// The body as it was before compression. Names: kombu's `compression.py`, content types and aliases.
pub(super) fn inflate<'a>(
    body: &'a [u8],
    compression: Option<&str>,
) -> Result<Cow<'a, [u8]>, BadMessage> {
    let Some(name) = compression.filter(|name| !name.is_empty()) else {
        return match body.len() {
            bytes if bytes > MESSAGE_BODY_BYTES_MAX => Err(too_large()),
            _ => Ok(Cow::Borrowed(body)),
        };
    };
    match name.to_ascii_lowercase().as_str() {
        // kombu calls it gzip and writes a zlib stream.
        "application/x-gzip" | "gzip" | "zlib" => {
            bounded(flate2::read::ZlibDecoder::new(body), "zlib").map(Cow::Owned)
        }
        "application/zstd" | "zstd" | "zstandard" => {
            let mut rest = body;
            let stream = ruzstd::decoding::StreamingDecoder::new(&mut rest)
                .map_err(|error| broken("zstd", &error))?;
            bounded(stream, "zstd").map(Cow::Owned)
        }
        _ => Err(BadMessage::new(
            "compression",
            format!(
                "the body is compressed with {name:?}, which is not read here; let the client \
                 use zlib or zstd, or none"
            ),
        )),
    }
}

/// Reads all, and stops a decompression bomb at the limit.
fn bounded(stream: impl Read, name: &str) -> Result<Vec<u8>, BadMessage> {
    let mut out = Vec::new();
    let limit = MESSAGE_BODY_BYTES_MAX as u64 + 1;
    stream.take(limit).read_to_end(&mut out).map_err(|error| broken(name, &error))?;
    if out.len() > MESSAGE_BODY_BYTES_MAX { Err(too_large()) } else { Ok(out) }
}

fn too_large() -> BadMessage {
    let limit = MESSAGE_BODY_BYTES_MAX;
    BadMessage::new("too-large", format!("the body has more than {limit} bytes uncompressed"))
}

fn broken(name: &str, error: &dyn std::fmt::Display) -> BadMessage {
    BadMessage::new("compression", format!("the body is no whole {name} stream: {error}"))
}
