//! Rate limits: Celery's notation, and a token bucket per task. Pure.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewind_proto::Timestamp;

/// Starts per second, read from Celery's notation: `100/s`, `10/m`, `5/h`, a bare number is per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// Starts per second, above zero.
    pub per_second: f64,
    /// Starts that an idle task may make at once.
    pub burst: u32,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("rate {text:?}: use a number with /s, /m or /h, as in 10/m");
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        if number.is_finite() && number > 0.0 {
            Ok(Self { per_second: number / seconds, burst: 1 })
        } else {
            Err(wrong())
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = |number: f64| (number.round() - number).abs() < 1e-9;
        for (unit, seconds) in [("s", 1.0), ("m", 60.0), ("h", 3600.0)] {
            if whole(self.per_second * seconds) {
                return write!(f, "{}/{unit}", (self.per_second * seconds).round());
            }
        }
        write!(f, "{}/h", self.per_second * 3600.0)
    }
}

/// Starts that may be made now.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Timestamp) -> Self {
        Self { tokens: f64::from(rate.burst), at: now }
    }

    /// Takes a token, or says how long until there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Timestamp) -> Option<Duration> {
        // A clock that steps backwards refills nothing.
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * rate.per_second).min(f64::from(rate.burst.max(1)));
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.tokens) / rate.per_second))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tradewind_proto::clock::from_micros;

    use super::{Bucket, Rate};

    #[test]
    fn celerys_notation_is_read_and_written() {
        for (text, per_second) in [("10/s", 10.0), ("30/m", 0.5), ("36/h", 0.01), ("2.5", 2.5)] {
            assert_eq!(text.parse::<Rate>().expect(text).per_second, per_second);
        }
        for text in ["10/s", "30/m", "7/h"] {
            assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
        }
        for text in ["", "ten/s", "10/d", "-1/s", "0", "inf"] {
            assert!(text.parse::<Rate>().expect_err(text).contains("10/m"));
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 2.0, burst: 2 };
        let at = |ms: i64| from_micros(1_000_000 + ms * 1000);
        let mut bucket = Bucket::full(rate, at(0));
        assert_eq!((bucket.take(rate, at(0)), bucket.take(rate, at(0))), (None, None));
        assert_eq!(bucket.take(rate, at(0)), Some(Duration::from_millis(500)));
        assert_eq!(bucket.take(rate, at(250)), Some(Duration::from_millis(250)));
        assert_eq!(bucket.take(rate, at(500)), None);
        assert_eq!(bucket.take(rate, at(-900)), Some(Duration::from_millis(500)));
    }
}
