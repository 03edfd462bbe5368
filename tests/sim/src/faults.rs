//! Fault classes, how likely each is in a world, and the proof that each has bitten.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock;
use crate::rng::Rng;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A way in which the world misbehaves.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $name,)+ }

        impl Fault {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in summaries.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

classes! {
    /// A store call fails and did nothing.
    StoreRefused = "store call refused",
    /// A store call takes effect and its answer is lost.
    StoreAnswerLost = "store answer lost",
    /// A store call takes seconds.
    StoreSlow = "store slow",
    /// The store is away for everybody.
    StoreOutage = "store outage",
    /// A publish or settle fails and did nothing.
    BrokerRefused = "broker call refused",
    /// A publish or settle takes effect and its answer is lost.
    BrokerAnswerLost = "broker answer lost",
    /// A broker call takes seconds.
    BrokerSlow = "broker slow",
    /// The broker restarts without what it had confirmed.
    MessagesLost = "confirmed messages lost",
    /// A message is published twice.
    MessageDoubled = "message doubled",
    /// A confirmed message becomes visible late, after younger ones.
    MessageLate = "message late and out of order",
    /// A connection breaks: unsettled deliveries go back, the old ones are stale.
    BrokerDisconnect = "broker connection broken",
    /// Sending outcomes, or acking them, fails and did nothing.
    ResultsRefused = "results call refused",
    /// It takes effect and the answer is lost.
    ResultsAnswerLost = "results answer lost",
    /// It takes seconds.
    ResultsSlow = "results slow",
    /// An outcome arrives twice.
    OutcomeDoubled = "outcome doubled",
    /// A confirmed outcome never arrives.
    OutcomeLost = "confirmed outcome lost",
    /// A reader of the inbox dies with unacked items.
    InboxReaderDied = "inbox reader died",
    /// A call of the execution API fails and did nothing.
    ApiRefused = "API call refused",
    /// It takes effect and the answer is lost.
    ApiAnswerLost = "API answer lost",
    /// It takes seconds.
    ApiSlow = "API slow",
    /// The web process is away: for all workers, and its heartbeats stop.
    ApiOutage = "API outage",
    /// A scheduler is dropped at whatever it awaits.
    SchedulerCrash = "scheduler crash",
    /// A scheduler stands still for a while.
    SchedulerFrozen = "scheduler frozen",
    /// A scheduler is stopped in order and started again.
    SchedulerStop = "scheduler restart",
    /// A worker and its task processes are dropped at whatever they await.
    WorkerCrash = "worker crash",
    /// A worker stands still for longer than its leases.
    WorkerFrozen = "worker frozen past its leases",
    /// A worker is drained and started again.
    WorkerDrain = "worker drain",
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It works.
    Works,
    /// It fails before it has an effect.
    Refused,
    /// It takes effect and then fails.
    AnswerLost,
}

/// The three classes of one seam.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeamFaults {
    pub(crate) refused: Fault,
    pub(crate) answer_lost: Fault,
    pub(crate) slow: Fault,
}

/// Faults of the store seam.
pub(crate) const STORE: SeamFaults = SeamFaults {
    refused: Fault::StoreRefused,
    answer_lost: Fault::StoreAnswerLost,
    slow: Fault::StoreSlow,
};
/// Faults of the broker seam.
pub(crate) const BROKER: SeamFaults = SeamFaults {
    refused: Fault::BrokerRefused,
    answer_lost: Fault::BrokerAnswerLost,
    slow: Fault::BrokerSlow,
};
/// Faults of the results seam.
pub(crate) const RESULTS: SeamFaults = SeamFaults {
    refused: Fault::ResultsRefused,
    answer_lost: Fault::ResultsAnswerLost,
    slow: Fault::ResultsSlow,
};
/// Faults of the execution API's seam.
pub(crate) const API: SeamFaults = SeamFaults {
    refused: Fault::ApiRefused,
    answer_lost: Fault::ApiAnswerLost,
    slow: Fault::ApiSlow,
};

/// Calls that take longer were hit by a fault.
pub(crate) const SLOW: Duration = Duration::from_millis(100);
/// Longest extra delay of a slow call. Below the worker's patience with a heartbeat.
const SLOW_MS_MAX: u64 = 4_000;
/// A class is switched off in so many of 1000 worlds: faults are also to be seen alone.
const OFF_PERMILLE: u32 = 350;

/// The faults of one world.
#[derive(Debug)]
pub(crate) struct Faults {
    on: AtomicBool,
    permille: BTreeMap<Fault, u32>,
    bites: Mutex<BTreeMap<Fault, u64>>,
    outages: Mutex<BTreeMap<Fault, Instant>>,
}

impl Faults {
    /// Draws which classes this world has, and how often.
    pub(crate) fn draw(rng: &Rng) -> Self {
        let mut permille = BTreeMap::new();
        for fault in Fault::ALL {
            let rate = rng.small(3, 60);
            permille.insert(*fault, if rng.chance(OFF_PERMILLE) { 0 } else { rate });
        }
        Self {
            on: AtomicBool::new(false),
            permille,
            bites: Mutex::default(),
            outages: Mutex::default(),
        }
    }

    /// Faults happen from now on, or no more.
    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
        if !on {
            lock(&self.outages).clear();
        }
    }

    /// Whether this world has the class at all.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.permille.get(&fault).is_some_and(|rate| *rate > 0)
    }

    /// Whether the fault happens now; counts it.
    pub(crate) fn strikes(&self, fault: Fault, rng: &Rng) -> bool {
        let rate = self.permille.get(&fault).copied().unwrap_or(0);
        let strikes = self.on.load(Ordering::Relaxed) && rng.chance(rate);
        if strikes {
            self.bit(fault, 1);
        }
        strikes
    }

    /// The fate of one call of a seam.
    pub(crate) fn fate(&self, seam: SeamFaults, rng: &Rng) -> Fate {
        if self.strikes(seam.refused, rng) {
            Fate::Refused
        } else if self.strikes(seam.answer_lost, rng) {
            Fate::AnswerLost
        } else {
            Fate::Works
        }
    }

    /// How long a call takes: a few milliseconds, or seconds when the fault strikes.
    pub(crate) fn delay(&self, seam: SeamFaults, rng: &Rng) -> Duration {
        if self.strikes(seam.slow, rng) {
            return rng.millis(100, SLOW_MS_MAX);
        }
        if rng.chance(500) { Duration::ZERO } else { rng.millis(1, 3) }
    }

    /// Counts a consequence that was seen.
    pub(crate) fn bit(&self, fault: Fault, times: u64) {
        *lock(&self.bites).entry(fault).or_default() += times;
    }

    /// Begins an outage.
    pub(crate) fn outage(&self, fault: Fault, until: Instant) {
        lock(&self.outages).insert(fault, until);
    }

    /// Whether an outage is on.
    pub(crate) fn outage_is_on(&self, fault: Fault) -> bool {
        lock(&self.outages).get(&fault).is_some_and(|until| *until > Instant::now())
    }

    /// Whether an outage is on; counts the call that met it.
    pub(crate) fn is_out(&self, fault: Fault) -> bool {
        let out = self.outage_is_on(fault);
        if out {
            self.bit(fault, 1);
        }
        out
    }

    /// How often each class has bitten.
    pub(crate) fn bites(&self) -> BTreeMap<Fault, u64> {
        lock(&self.bites).clone()
    }
}
