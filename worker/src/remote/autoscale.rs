//! Slots by demand: the decision, and the duty that applies it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tradewind_broker::Broker;

use super::panel::Panel;

/// Time between two looks at the demand.
const INTERVAL: Duration = Duration::from_secs(1);
/// A queue that does not answer counts as empty.
const STATS_MAX: Duration = Duration::from_secs(5);

/// Least and most slots; read and written as `MAX,MIN`, Celery's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    /// Most slots.
    pub max: u16,
    /// Least slots.
    pub min: u16,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("autoscale {text:?}: use MAX,MIN as in 10,3");
        let (max, min) = text.split_once(',').unwrap_or((text, "1"));
        let max = max.trim().parse().map_err(|_| wrong())?;
        let min = min.trim().parse().map_err(|_| wrong())?;
        Ok(Self { max, min })
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.max, self.min)
    }
}

/// Decides on the number of slots. Grows at once, because a queue that waits is seen by users; shrinks only
/// to the highest demand of a whole keepalive, so that a pause between two bursts costs nothing. Pure.
#[derive(Debug)]
pub struct Scaler<T> {
    keepalive: Duration,
    /// Since when the demand has been below the size, and its peak since then.
    low: Option<(T, u16)>,
}

impl<T: Copy + std::ops::Sub<T, Output = Duration>> Scaler<T> {
    /// A scaler that has seen nothing.
    pub fn new(keepalive: Duration) -> Self {
        Self { keepalive, low: None }
    }

    /// The new number of slots, if it is to change. `demand` is what runs and what waits.
    pub fn decide(&mut self, now: T, size: u16, demand: u64, range: Range) -> Option<u16> {
        let wanted = u16::try_from(demand).unwrap_or(u16::MAX).clamp(range.min, range.max);
        // A narrower range is an order, not a demand.
        if size > range.max {
            self.low = None;
            return Some(range.max);
        }
        if wanted >= size {
            self.low = None;
            return (wanted > size).then_some(wanted);
        }
        let (since, peak) = self.low.get_or_insert((now, wanted));
        *peak = wanted.max(*peak);
        if now - *since < self.keepalive {
            return None;
        }
        let peak = *peak;
        self.low = None;
        (peak < size).then_some(peak)
    }
}

/// Applies decisions. Runs until it is dropped.
pub(super) async fn autoscale(panel: Arc<Panel>, broker: Arc<dyn Broker>, keepalive: Duration) {
    let mut scaler = Scaler::new(keepalive);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(range) = panel.range() else { continue };
        let mut demand = panel.state.pool().busy() as u64;
        for queue in panel.state.consuming().queues {
            if let Ok(Ok(stats)) = timeout(STATS_MAX, broker.stats(&queue)).await {
                demand = demand.saturating_add(stats.ready);
            }
        }
        let size = u16::try_from(panel.state.pool().size()).unwrap_or(u16::MAX);
        if let Some(slots) = scaler.decide(Instant::now(), size, demand, range) {
            tracing::info!(from = size, to = slots, demand, "slots follow demand");
            panel.state.resize_pool(slots);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Range, Scaler};

    const RANGE: Range = Range { max: 10, min: 2 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_grows_at_once_within_the_range() {
        let mut scaler = Scaler::new(at(30));
        assert_eq!(scaler.decide(at(0), 2, 0, RANGE), None);
        assert_eq!(scaler.decide(at(1), 2, 5, RANGE), Some(5));
        assert_eq!(scaler.decide(at(2), 5, 1_000_000, RANGE), Some(10));
        assert_eq!(scaler.decide(at(3), 10, 1_000_000, RANGE), None);
        assert_eq!(scaler.decide(at(4), 1, 0, RANGE), Some(2));
    }

    #[test]
    fn it_shrinks_to_the_peak_of_a_quiet_time() {
        let mut scaler = Scaler::new(at(30));
        assert_eq!(scaler.decide(at(0), 10, 3, RANGE), None);
        assert_eq!(scaler.decide(at(10), 10, 6, RANGE), None);
        assert_eq!(scaler.decide(at(29), 10, 0, RANGE), None);
        assert_eq!(scaler.decide(at(30), 10, 0, RANGE), Some(6));
        assert_eq!(scaler.decide(at(31), 6, 0, RANGE), None);
        assert_eq!(scaler.decide(at(61), 6, 0, RANGE), Some(2));
    }

    #[test]
    fn a_burst_begins_the_quiet_time_anew() {
        let mut scaler = Scaler::new(at(30));
        assert_eq!(scaler.decide(at(0), 10, 0, RANGE), None);
        assert_eq!(scaler.decide(at(29), 10, 10, RANGE), None);
        assert_eq!(scaler.decide(at(30), 10, 0, RANGE), None);
        assert_eq!(scaler.decide(at(59), 10, 0, RANGE), None);
        assert_eq!(scaler.decide(at(60), 10, 0, RANGE), Some(2));
    }

    #[test]
    fn a_narrower_range_is_obeyed_at_once() {
        let mut scaler = Scaler::new(at(30));
        assert_eq!(scaler.decide(at(0), 20, 20, RANGE), Some(10));
    }

    #[test]
    fn ranges_are_read_as_celery_writes_them() {
        assert_eq!("10,3".parse(), Ok(Range { max: 10, min: 3 }));
        assert_eq!("10".parse(), Ok(Range { max: 10, min: 1 }));
        assert!("a,b".parse::<Range>().expect_err("bad").contains("MAX,MIN"));
    }
}
