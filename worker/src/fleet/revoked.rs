//! The ids and stamps that this worker was told to skip: bounded in number and age, as in Celery.

use std::collections::{HashSet, VecDeque};

use jiff::SignedDuration;
use serde_json::Value;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::Request;

/// Celery's `REVOKES_MAX`.
pub(crate) const REVOKED_MAX: usize = 50_000;
/// Celery's `REVOKE_EXPIRES`: three hours.
const REVOKED_AGE_MAX: SignedDuration = SignedDuration::from_hours(3);

/// Before and inside a stamp among revoked ids: no task id has a control character.
const STAMP: char = '\u{1f}';

/// A stamp as it stands among revoked ids, here and in [`tradewind_broker::Coordinator::revoke`].
pub fn stamp_key(header: &str, value: &str) -> String {
    format!("{STAMP}{header}{STAMP}{value}")
}

/// Whether a revoked id is a stamp.
pub(crate) fn is_stamp(id: &str) -> bool {
    id.starts_with(STAMP)
}

/// The values that a request is stamped with under a header.
pub(crate) fn stamped(request: &Request, header: &str) -> Vec<String> {
    match request.headers.get("stamps").and_then(|stamps| stamps.get(header)) {
        Some(Value::Array(many)) => many.iter().map(stamp_text).collect(),
        Some(one) => vec![stamp_text(one)],
        None => Vec::new(),
    }
}

/// All stamps of a request, as [`stamp_key`] writes them.
pub(crate) fn stamp_keys(request: &Request) -> Vec<String> {
    let Some(Value::Object(stamps)) = request.headers.get("stamps") else { return Vec::new() };
    let of = |header: &String| {
        stamped(request, header).into_iter().map(|value| stamp_key(header, &value)).collect()
    };
    stamps.keys().flat_map(|header| -> Vec<String> { of(header) }).collect()
}

/// The text of a stamp, as a command line has it.
pub(crate) fn stamp_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Debug, Default)]
pub(crate) struct RevokedIds {
    ids: HashSet<String>,
    order: VecDeque<(Timestamp, String)>,
}

impl RevokedIds {
    pub(crate) fn insert(&mut self, id: &str, now: Timestamp) {
        self.forget_old(now);
        if self.ids.insert(id.to_owned()) {
            self.order.push_back((now, id.to_owned()));
        }
        while self.order.len() > REVOKED_MAX {
            self.drop_oldest();
        }
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Without stamps: those are no tasks.
    pub(crate) fn all(&self) -> Vec<String> {
        self.order.iter().map(|(_, id)| id.clone()).filter(|id| !is_stamp(id)).collect()
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| now.duration_since(*at) > REVOKED_AGE_MAX) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tradewind_proto::clock::from_micros;

    use super::{REVOKED_MAX, RevokedIds};

    #[test]
    fn bounded_in_number_and_age() {
        let mut revoked = RevokedIds::default();
        let hour = 3_600_000_000;
        revoked.insert("old", from_micros(0));
        revoked.insert("newer", from_micros(hour));
        revoked.insert("x", from_micros(3 * hour + 1));
        assert!(!revoked.contains("old") && revoked.contains("newer"));
        for n in 0..REVOKED_MAX {
            revoked.insert(&n.to_string(), from_micros(3 * hour + 2));
        }
        assert_eq!(revoked.all().len(), REVOKED_MAX);
        assert!(!revoked.contains("x") && revoked.contains("0"));
    }
}
