//! What can be set for events, remote control and scaling.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Range;
use crate::{CONCURRENCY_MAX, Error};

/// Options of [`super::Remote`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteOptions {
    /// Send task events from the start (`-E`); remote control can switch them. Default false.
    pub events: bool,
    /// Send worker events: online, heartbeat, offline. Default true.
    pub heartbeat: bool,
    /// Milliseconds between two heartbeats. Default 2000, as Celery's.
    pub heartbeat_interval_ms: u64,
    /// Read commands. Default true.
    pub control: bool,
    /// Slots follow demand within this range. Default: the number of slots is fixed.
    pub autoscale: Option<Range>,
    /// Seconds without need until slots are taken away again. Default 30, as Celery's.
    pub autoscale_keepalive_seconds: u64,
    /// Seconds that a revoked task id is remembered by the fleet. Default 7 days.
    pub revoke_ttl_seconds: u64,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            events: false,
            heartbeat: true,
            heartbeat_interval_ms: 2000,
            control: true,
            autoscale: None,
            autoscale_keepalive_seconds: 30,
            revoke_ttl_seconds: 7 * 86_400,
        }
    }
}

impl RemoteOptions {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |option, reason| Err(Error::Option { option, reason });
        for (option, value, range) in [
            ("heartbeat_interval_ms", self.heartbeat_interval_ms, 50..=600_000),
            ("autoscale_keepalive_seconds", self.autoscale_keepalive_seconds, 0..=86_400),
            ("revoke_ttl_seconds", self.revoke_ttl_seconds, 1..=366 * 86_400),
        ] {
            if !range.contains(&value) {
                return wrong(
                    option,
                    format!("is {value}; use {} to {}", range.start(), range.end()),
                );
            }
        }
        match self.autoscale {
            Some(range)
                if range.min == 0 || range.min > range.max || range.max > CONCURRENCY_MAX =>
            {
                let reason = format!(
                    "is {},{}; use MAX,MIN with 1 <= MIN <= MAX <= {CONCURRENCY_MAX}",
                    range.max, range.min
                );
                wrong("autoscale", reason)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, RemoteOptions};

    #[test]
    fn defaults_are_valid_and_bad_options_are_named() {
        let options: RemoteOptions = serde_json::from_str("{}").expect("empty");
        options.validate().expect("defaults");
        for (json, option) in [
            (r#"{"heartbeat_interval_ms": 1}"#, "heartbeat_interval_ms"),
            (r#"{"autoscale": "2,4"}"#, "autoscale"),
            (r#"{"autoscale": "2,0"}"#, "autoscale"),
            (r#"{"revoke_ttl_seconds": 0}"#, "revoke_ttl_seconds"),
        ] {
            let options: RemoteOptions = serde_json::from_str(json).expect(json);
            assert!(options.validate().expect_err(json).to_string().contains(option));
        }
        let options: RemoteOptions =
            serde_json::from_str(r#"{"autoscale": "8,2"}"#).expect("range");
        assert_eq!(options.autoscale, Some(Range { max: 8, min: 2 }));
    }
}
