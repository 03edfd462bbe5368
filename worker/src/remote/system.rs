//! What the host says about this process, in Python's shapes.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

/// Load averages of 1, 5 and 15 minutes.
pub(super) fn load_average() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut all = text.split_ascii_whitespace().filter_map(|part| part.parse().ok());
    std::array::from_fn(|_| all.next().unwrap_or(0.0))
}

/// Hours west of Greenwich, as Python's `time.timezone // 3600`.
pub(super) fn utc_offset(at: Timestamp) -> i32 {
    (-TimeZone::system().to_offset(at).seconds()).div_euclid(3600)
}

/// Python's `resource.getrusage`, as Celery's `stats` shows it.
pub(super) fn rusage() -> Value {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return json!("N/A") };
    json!({
        "utime": float(usage.user_time()), "stime": float(usage.system_time()),
        "maxrss": usage.max_rss(), "ixrss": usage.shared_integral(),
        "idrss": usage.unshared_data_integral(), "isrss": usage.unshared_stack_integral(),
        "minflt": usage.minor_page_faults(), "majflt": usage.major_page_faults(),
        "nswap": usage.full_swaps(), "inblock": usage.block_reads(),
        "oublock": usage.block_writes(), "msgsnd": usage.ipc_sends(),
        "msgrcv": usage.ipc_receives(), "nsignals": usage.signals(),
        "nvcsw": usage.voluntary_context_switches(),
        "nivcsw": usage.involuntary_context_switches(),
    })
}

fn float(time: TimeVal) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds of CPU time")]
    let (seconds, micros) = (time.tv_sec() as f64, time.tv_usec() as f64);
    seconds + micros / 1e6
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_host_answers() {
        assert!(super::load_average().iter().all(|load| *load >= 0.0));
        assert!(super::rusage()["maxrss"].as_i64().is_some_and(|kb| kb > 0));
        assert!((-14..=12).contains(&super::utc_offset(jiff::Timestamp::UNIX_EPOCH)));
    }
}
