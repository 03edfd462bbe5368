//! What processes use, from `/proc`: CPU time and peak memory, of one process or of a tree.

use std::fs;
use std::time::Duration;

/// CPU time of user and system, and peak resident memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
}

/// Of this process.
pub(crate) fn own() -> Usage {
    of(std::process::id())
}

/// Of a process and all that it started and that still live.
pub(crate) fn tree(pid: u32) -> Usage {
    let mut total = of(pid);
    for child in children(pid) {
        let usage = tree(child);
        total.cpu += usage.cpu;
        total.peak_kib += usage.peak_kib;
    }
    total
}

/// Starts the peak of this process anew; where the kernel refuses, it stays the peak of all its life.
pub(crate) fn reset_own_peak() {
    let _older = fs::write("/proc/self/clear_refs", "5");
}

fn of(pid: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Usage { cpu: cpu(&stat), peak_kib: peak(&status) }
}

/// The kernel counts in ticks of 10 ms, on every architecture that matters.
fn cpu(stat: &str) -> Duration {
    // The name of the program, in brackets, may hold anything.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return Duration::ZERO };
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn peak(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 9 1 2";
        assert_eq!(cpu(stat), Duration::from_millis(1750));
        assert_eq!(peak("VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n"), 1234);
        assert!(own().peak_kib > 0);
    }
}
