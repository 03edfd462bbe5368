//! Memory and file descriptors of a process over time.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

/// Most growth of resident memory from the second quarter of a soak to its last. Buffers wobble by some MiB
/// whatever the number of tasks; an AMQP client that has just reconnected holds old and new ones, some 12 MiB
/// each. State that is kept for each task would be far above: 100 bytes for each of half a million tasks are
/// 48 MiB.
pub(super) const RSS_GROWTH_KIB_MAX: i64 = 32 * 1024;
/// Most growth of file descriptors: connections that are being replaced at that moment.
pub(super) const FDS_GROWTH_MAX: i64 = 16;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    rss_kib: i64,
    fds: i64,
}

/// One process.
#[derive(Debug, Clone)]
pub struct Vitals {
    name: &'static str,
    proc: PathBuf,
    samples: Vec<Sample>,
}

impl Vitals {
    /// Of the process with this id.
    pub fn of(name: &'static str, pid: u32) -> Self {
        Self { name, proc: PathBuf::from(format!("/proc/{pid}")), samples: Vec::new() }
    }

    /// What the process is.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Looks.
    pub fn sample(&mut self) {
        let status = std::fs::read_to_string(self.proc.join("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        let Some(rss_kib) = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()) else {
            return;
        };
        let fds = std::fs::read_dir(self.proc.join("fd")).map_or(0, Iterator::count);
        let fds = i64::try_from(fds).unwrap_or(i64::MAX);
        self.samples.push(Sample { at: Instant::now(), rss_kib, fds });
    }

    /// How it is now.
    pub fn now(&self) -> String {
        match self.samples.last() {
            Some(last) => format!("{} {} KiB, {} files", self.name, last.rss_kib, last.fds),
            None => self.name.to_owned(),
        }
    }

    /// From the highest of the second quarter of the time to the highest of the last.
    pub fn rss_growth_kib(&self) -> i64 {
        self.growth(|sample| sample.rss_kib)
    }

    /// As [`Vitals::rss_growth_kib`].
    pub fn fds_growth(&self) -> i64 {
        self.growth(|sample| sample.fds)
    }

    fn growth(&self, of: impl Fn(&Sample) -> i64) -> i64 {
        let [early, late] = [self.quarter(1, &of), self.quarter(3, &of)];
        late.zip(early).map_or(0, |(late, early)| late - early)
    }

    /// The highest value in a quarter of the time.
    fn quarter(&self, number: u32, of: impl Fn(&Sample) -> i64) -> Option<i64> {
        let (first, last) = (self.samples.first()?.at, self.samples.last()?.at);
        let step = last.duration_since(first) / 4;
        let (from, to) = (first + step * number, first + step * (number + 1));
        let inside = self.samples.iter().filter(|sample| {
            sample.at >= from && (sample.at < to || (number == 3 && sample.at <= last))
        });
        inside.map(of).max()
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} KiB by quarter", self.name)?;
        for number in 0..4 {
            write!(f, " {}", self.quarter(number, |sample| sample.rss_kib).unwrap_or(0))?;
        }
        write!(f, "; files")?;
        for number in 0..4 {
            write!(f, " {}", self.quarter(number, |sample| sample.fds).unwrap_or(0))?;
        }
        Ok(())
    }
}
