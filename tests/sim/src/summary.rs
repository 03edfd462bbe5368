//! Sums over many seeds, and whether every fault class has proven that it bites.

use std::collections::BTreeMap;
use std::fmt;

use crate::faults::Fault;
use crate::sim::Report;

/// Consequences that must be seen, or the faults did not reach what they are for.
const MUST_HAPPEN: [&str; 5] = [
    "stale heartbeats refused",
    "duplicate claims refused",
    "stale writes refused by schedulers",
    "commits refused by version",
    "messages republished",
];

/// Sums over the reports of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    seeds: u64,
    virtual_seconds: u64,
    bites: BTreeMap<Fault, u64>,
    tallies: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Adds one seed.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.virtual_seconds += report.virtual_seconds;
        for (fault, times) in &report.bites {
            *self.bites.entry(*fault).or_default() += times;
        }
        for (what, times) in &report.tallies {
            *self.tallies.entry(what).or_default() += times;
        }
    }

    /// Fault classes and consequences that were never seen.
    pub fn toothless(&self) -> Vec<&'static str> {
        let seen = |count: Option<&u64>| count.is_some_and(|count| *count > 0);
        let faults = Fault::ALL.iter().filter(|fault| !seen(self.bites.get(fault)));
        let consequences = MUST_HAPPEN.into_iter().filter(|what| !seen(self.tallies.get(what)));
        faults.map(|fault| fault.name()).chain(consequences).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {} virtual seconds", self.seeds, self.virtual_seconds)?;
        writeln!(f, "faults that bit:")?;
        for fault in Fault::ALL {
            let times = self.bites.get(fault).copied().unwrap_or(0);
            writeln!(f, "  {:<30} {times:>8}", fault.name())?;
        }
        writeln!(f, "seen:")?;
        for (what, times) in &self.tallies {
            writeln!(f, "  {what:<38} {times:>8}")?;
        }
        Ok(())
    }
}
