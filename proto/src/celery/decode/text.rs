//! JSON as Python writes it: bounded in depth, and with bare `NaN` and `Infinity`, which become null.
//!
//! Null, and not a refusal: such a number is legal for every Python worker of the same queue, and a task
//! that is dead-lettered there and not here would be the greater surprise.

use serde_json::Value;

use crate::limits::JSON_DEPTH_MAX;

use super::BadMessage;

/// The body's own nesting (`[args, …]`) comes on top of that of the arguments.
pub(super) const DEPTH_MAX: usize = JSON_DEPTH_MAX + 2;

/// So many digits fit 64 bits whatever they are.
const DIGITS_SAFE: usize = 18;

/// Numbers that Python writes and JSON does not know; the longer first.
const BARE: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// A value out of JSON text of a Python client or worker.
///
/// # Errors
/// When it is no JSON or nests too deep.
pub fn parse(body: &[u8]) -> Result<Value, BadMessage> {
    let depth = depth(body);
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let strict = match serde_json::from_slice(body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(replaced) = without_bare_numbers(body) {
        return serde_json::from_slice(&replaced).map_err(|error| broken(&error));
    }
    Err(broken(&strict))
}

pub(super) fn too_deep() -> BadMessage {
    BadMessage::new("depth", format!("the body nests deeper than {DEPTH_MAX} levels"))
}

fn broken(error: &serde_json::Error) -> BadMessage {
    BadMessage::new("syntax", format!("the body is not valid JSON: {error}"))
}

/// Deepest nesting of arrays and objects; looks at nothing but brackets outside strings.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    outside_strings(body, |at| {
        match body[at] {
            b'[' | b'{' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        1
    });
    deepest
}

/// Whether a whole number outside strings fits neither `i64` nor `u64`.
pub(super) fn has_wide_integer(body: &[u8]) -> bool {
    let mut found = false;
    outside_strings(body, |at| match body[at] {
        b'-' | b'0'..=b'9' => {
            let rest = body[at + 1..].iter();
            let more = rest
                .take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
            let length = 1 + more.count();
            found |= length > DIGITS_SAFE && is_wide(&body[at..at + length]);
            length
        }
        _ => 1,
    });
    found
}

fn is_wide(number: &[u8]) -> bool {
    let Ok(number) = std::str::from_utf8(number) else { return false };
    let whole = !number.contains(['.', 'e', 'E']);
    whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err()
}

/// The text with null in place of [`BARE`] numbers; none if it has none.
fn without_bare_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut copied) = (Vec::new(), 0);
    outside_strings(body, |at| {
        let bare = BARE.iter().find(|bare| body[at..].starts_with(bare));
        bare.map_or(1, |bare| {
            out.extend_from_slice(&body[copied..at]);
            out.extend_from_slice(b"null");
            copied = at + bare.len();
            bare.len()
        })
    });
    (copied > 0).then(|| {
        out.extend_from_slice(&body[copied..]);
        out
    })
}

/// Calls `see` with each position outside string literals; it says how many bytes it has dealt with.
fn outside_strings(body: &[u8], mut see: impl FnMut(usize) -> usize) {
    let mut at = 0;
    while at < body.len() {
        if body[at] != b'"' {
            at += see(at);
            continue;
        }
        at += 1;
        while at < body.len() && body[at] != b'"' {
            at += if body[at] == b'\\' { 2 } else { 1 };
        }
        at += 1;
    }
}
