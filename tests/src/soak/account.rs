//! The account of a soak: what became of every task, and what speaks against the fleet.

use std::fmt;

use super::vitals::{FDS_GROWTH_MAX, RSS_GROWTH_KIB_MAX, Vitals};

/// Dead letters by their reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Letters {
    /// Poison: the reason names workers that died of it.
    pub poison: usize,
    /// Messages that nobody can read.
    pub unreadable: usize,
    /// Healthy tasks that were taken for poison. None is right.
    pub innocent: usize,
    /// Any other, or without a reason. None is right.
    pub other: usize,
    /// Second letters of a message whose worker or link died between the letter and the ack; in no sum.
    pub again: usize,
}

impl Letters {
    /// All of them, each message once.
    pub fn sum(self) -> usize {
        self.poison + self.unreadable + self.innocent + self.other
    }
}

/// The account. `offered` is the sum of `succeeded`, `failed`, the letters, and `lost`.
#[derive(Debug, Default, Clone)]
pub struct Account {
    /// Confirmed by the broker.
    pub offered: usize,
    /// State SUCCESS.
    pub succeeded: usize,
    /// State FAILURE, of tasks that fail.
    pub failed: usize,
    /// Of the succeeded: those whose handler says that it was its second run.
    pub retried: usize,
    /// In a dead-letter queue.
    pub letters: Letters,
    /// None of these.
    pub lost: usize,
    /// Ids of some of the lost.
    pub missing: Vec<String>,
    /// Of the plain tasks: ran more than once.
    pub twice: usize,
    /// Workers killed from outside.
    pub kills: usize,
    /// Workers killed by poison.
    pub poisoned: usize,
    /// Links cut.
    pub cuts: usize,
    /// Seconds from the first task sent to the last result.
    pub seconds: f64,
    /// Of the processes that nobody kills.
    pub vitals: Vec<Vitals>,
}

impl Account {
    /// What speaks against the fleet, after `tasks` tasks; nothing, if all is well.
    pub fn complaints(&self, tasks: usize) -> Vec<String> {
        let count = |wanted| (0..tasks).filter(|n| super::kind(*n) == wanted).count();
        let mut found = Vec::new();
        let mut equal = |what: &str, is: usize, should: usize| {
            if is != should {
                found.push(format!("{what}: {is}, not {should}"));
            }
        };
        equal("offered", self.offered, tasks);
        equal("lost", self.lost, 0);
        equal("failed", self.failed, count(super::Kind::Failing));
        equal("retried", self.retried, count(super::Kind::Retrying));
        equal("quarantined as poison", self.letters.poison, count(super::Kind::Poison));
        equal("quarantined as unreadable", self.letters.unreadable, count(super::Kind::Unreadable));
        equal("healthy tasks taken for poison", self.letters.innocent, 0);
        equal("dead letters for another reason", self.letters.other, 0);
        let sum = self.succeeded + self.failed + self.letters.sum() + self.lost;
        equal("the sum of all ends", sum, self.offered);
        for one in &self.vitals {
            let (rss, fds) = (one.rss_growth_kib(), one.fds_growth());
            if rss > RSS_GROWTH_KIB_MAX {
                let name = one.name();
                found.push(format!("{name}: memory grew by {rss} KiB, over {RSS_GROWTH_KIB_MAX}"));
            }
            if fds > FDS_GROWTH_MAX {
                found.push(format!("{}: {fds} more file descriptors", one.name()));
            }
        }
        found
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.letters;
        let rate = if self.seconds > 0.0 { self.offered as f64 / self.seconds } else { 0.0 };
        writeln!(f, "offered      {:>9}   {:.1} s, {rate:.0}/s", self.offered, self.seconds)?;
        writeln!(f, "succeeded    {:>9}   of these retried {}", self.succeeded, self.retried)?;
        writeln!(f, "failed       {:>9}", self.failed)?;
        write!(f, "quarantined  {:>9}   ", letters.sum())?;
        write!(f, "poison {}, unreadable {}, ", letters.poison, letters.unreadable)?;
        write!(f, "healthy {}, other {}; ", letters.innocent, letters.other)?;
        writeln!(f, "twice {}", letters.again)?;
        writeln!(f, "lost         {:>9}   {}", self.lost, self.missing.join(" "))?;
        writeln!(f, "run twice    {:>9}   of the plain tasks", self.twice)?;
        writeln!(f, "killed       {:>9}   and {} by poison", self.kills, self.poisoned)?;
        writeln!(f, "links cut    {:>9}", self.cuts)?;
        for one in &self.vitals {
            writeln!(f, "{one}")?;
        }
        Ok(())
    }
}
