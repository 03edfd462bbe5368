//! Delayed redelivery: queues whose messages run out after a fixed time and then go to the target.
//!
//! One queue per target and rounded duration, so that no message waits behind a longer one; it
//! vanishes when unused.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};

use crate::QueueKind;

pub(super) const PREFIX: &str = "tradewind.delay.";
/// Shortest delay, and the grain of delays under a second.
const GRAIN_MS: u64 = 10;
/// Longest delay of one passage: RabbitMQ refuses a TTL over 2^32 ms.
const DELAY_MAX_MS: u64 = 40 * 24 * 3_600_000;
/// How long an unused queue stays beyond its delay.
const IDLE_MS: u64 = 60_000;

/// Rounds up: to 10 ms under a second, else to three digits. A message is never early and at most
/// 1 % late, and the number of queues stays small.
pub(super) fn rounded_ms(wait: Duration) -> u64 {
    let exact = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
    let ms = exact.clamp(1, DELAY_MAX_MS);
    let mut grain = GRAIN_MS;
    while ms > grain * 1_000 {
        grain *= 10;
    }
    ms.div_ceil(grain) * grain
}

pub(super) fn queue_name(target: &str, ms: u64) -> String {
    format!("{PREFIX}{ms}.{target}")
}

pub(super) fn arguments(target: &str, ms: u64, kind: QueueKind) -> FieldTable {
    let mut table = FieldTable::default();
    let number = |ms: u64| AMQPValue::LongLongInt(i64::try_from(ms).unwrap_or(i64::MAX));
    table.insert("x-message-ttl".into(), number(ms));
    table.insert("x-expires".into(), number(ms + IDLE_MS));
    table.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    table.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(target.into()));
    if kind == QueueKind::Quorum {
        table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        // The move to the target is confirmed, which classic queues cannot do.
        table
            .insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
        table.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_never_shortened_and_hardly_lengthened() {
        for ms in (0..5_000).chain((5_000..4_000_000).step_by(977)) {
            let rounded = rounded_ms(Duration::from_millis(ms));
            assert!(rounded >= ms && rounded <= ms + 10 + ms / 90, "{ms} became {rounded}");
        }
        assert_eq!(rounded_ms(Duration::from_secs(3_600)), 3_600_000);
        assert_eq!(rounded_ms(Duration::from_micros(10_001)), 20);
    }
}
