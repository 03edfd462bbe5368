//! JSON as Python writes it: bounded in depth, with whole numbers of any size, and with bare `NaN` and
//! `Infinity`, which become null.
//!
//! Null, and not a refusal: such a number is legal for every Python worker of the same queue, and a task
//! that is dead-lettered there and not here would be the greater surprise.

use serde_json::Value;

use crate::limits::JSON_DEPTH_MAX;

use super::super::wide::{self, outside_strings};
use super::BadMessage;

/// The body's own nesting (`[args, …]`) comes on top of that of the arguments.
pub(super) const DEPTH_MAX: usize = JSON_DEPTH_MAX + 2;

/// Numbers that Python writes and JSON does not know; the longer first.
const BARE: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// A value out of JSON text of a Python client or worker. Whole numbers of more than 64 bits have a stand-in
/// ([`crate::celery::wide`]).
///
/// # Errors
/// When it is no JSON or nests too deep.
pub fn parse(body: &[u8]) -> Result<Value, BadMessage> {
    let depth = depth(body);
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let body = wide::stand_in(body);
    let strict = match serde_json::from_slice(&body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(replaced) = without_bare_numbers(&body) {
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
