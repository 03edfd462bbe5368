//! States of runs, task instances and outcomes, under Airflow's names.

use serde::{Deserialize, Serialize};

/// An unknown state name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {value:?}")]
pub struct UnknownName {
    /// What kind of name was expected.
    pub kind: &'static str,
    /// The text found.
    pub value: String,
}

macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident ($kind:literal) { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the wire, in the database and in listings.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result { f.pad(self.as_str()) }
        }

        impl ::std::str::FromStr for $name {
            type Err = UnknownName;
            fn from_str(s: &str) -> Result<Self, UnknownName> {
                match s {
                    $($text => Ok(Self::$variant),)+
                    other => Err(UnknownName { kind: $kind, value: other.to_owned() }),
                }
            }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// State of a DAG run.
    RunState ("run state") {
        /// Waiting for `max_active_runs`.
        Queued = "queued",
        /// Being planned.
        Running = "running",
        /// Every leaf succeeded or was skipped.
        Success = "success",
        /// A leaf failed, the run timed out, or it can make no progress.
        Failed = "failed",
    }
}

impl RunState {
    /// Whether the run will not change any more by itself.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }
}

named_enum! {
    /// How a run came to be; also the prefix of its default run id (`<type>__<date>`).
    RunType ("run type") {
        /// By its timetable.
        Scheduled = "scheduled",
        /// By a person or a program.
        Manual = "manual",
        /// By a backfill.
        Backfill = "backfill",
        /// By asset events.
        AssetTriggered = "asset_triggered",
    }
}

named_enum! {
    /// State of a task instance. `None` is Airflow's null: not looked at yet.
    TaskState ("task state") {
        /// Not looked at yet (null in Airflow's listings).
        None = "none",
        /// Dependencies hold; waits for a slot under the limits.
        Scheduled = "scheduled",
        /// Has an attempt and an outbox row, or a message in a queue.
        Queued = "queued",
        /// Claimed by a worker.
        Running = "running",
        /// Finished well.
        Success = "success",
        /// Finished badly with no retry left.
        Failed = "failed",
        /// Finished badly; a retry is due later.
        UpForRetry = "up_for_retry",
        /// A sensor that gave its slot back until later.
        UpForReschedule = "up_for_reschedule",
        /// Waits for a trigger.
        Deferred = "deferred",
        /// Not run, by a branch or its trigger rule.
        Skipped = "skipped",
        /// Not run, because an upstream failed.
        UpstreamFailed = "upstream_failed",
        /// No longer in the DAG.
        Removed = "removed",
    }
}

impl TaskState {
    /// Whether the state is final for this generation of the task instance.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Removed
        )
    }

    /// Whether the instance holds a slot (Airflow's "executing" set).
    pub const fn holds_slot(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

named_enum! {
    /// How an attempt ended, as its worker (or the reaper) reports it.
    OutcomeState ("outcome state") {
        /// Exit 0 or a normal return.
        Success = "success",
        /// An error; retried if retries are left.
        Failed = "failed",
        /// An error that must not be retried (`AirflowFailException`).
        FailedNoRetry = "failed_no_retry",
        /// `AirflowSkipException` or the skip exit code.
        Skipped = "skipped",
        /// `execution_timeout` passed and the process tree was killed; retried like a failure.
        TimedOut = "timed_out",
        /// Killed because the attempt was cancelled or superseded.
        Cancelled = "cancelled",
        /// The worker died or stopped heartbeating; has a budget of its own.
        Lost = "lost",
        /// The worker is draining and gives the attempt back unrun.
        HandedBack = "handed_back",
    }
}
