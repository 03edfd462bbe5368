//! What a run that is triggered by hand looks like: its name, date and data interval. Creates nothing.

use jiff::Timestamp;
use tradewind_proto::dag::{DagSpec, Generation};
use tradewind_proto::state::RunType;

use crate::timetable;

/// What the one who triggers asks for; all optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManualRequest {
    /// Run name.
    pub run_id: Option<String>,
    /// Logical date; `now` when absent.
    pub logical_date: Option<Timestamp>,
    /// Data interval; inferred from the schedule when absent.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// Earliest start; `now` when absent.
    pub run_after: Option<Timestamp>,
}

/// A run to be created by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManualRun {
    /// Run name.
    pub run_id: String,
    /// Logical date.
    pub logical_date: Timestamp,
    /// Data interval.
    pub interval: (Timestamp, Timestamp),
    /// Earliest start.
    pub run_after: Timestamp,
}

/// Fills in what was not asked for, by the rules of the DAG's generation: 1.10 and 2.x derive name and
/// interval from the logical date, 3.x from `run_after`.
pub fn manual_run(spec: &DagSpec, request: ManualRequest, now: Timestamp) -> ManualRun {
    let run_after = request.run_after.unwrap_or(now);
    let logical_date = request.logical_date.unwrap_or(now);
    let anchor = match spec.generation {
        Generation::V1 | Generation::V2 => logical_date,
        Generation::V3 => run_after,
    };
    let interval = request.interval.unwrap_or_else(|| timetable::manual_interval(spec, anchor));
    let run_id = request.run_id.unwrap_or_else(|| timetable::run_id(RunType::Manual, anchor));
    ManualRun { run_id, logical_date, interval, run_after }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use tradewind_proto::dag::DagSpec;

    use super::{ManualRequest, manual_run};

    fn daily(generation: &str) -> DagSpec {
        serde_json::from_value(json!({
            "dag_id": "d", "fileloc": "d.py", "generation": generation, "tasks": [],
            "schedule": {"kind": "cron", "expr": "0 0 * * *", "timezone": "UTC", "interval": true},
        }))
        .expect("spec")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    #[test]
    fn without_wishes_it_is_now_and_the_last_complete_interval() {
        let now = at("2026-11-21T12:30:00.5Z");
        let run = manual_run(&daily("2"), ManualRequest::default(), now);
        assert_eq!(run.run_id, "manual__2026-11-21T12:30:00.500000+00:00");
        assert_eq!((run.logical_date, run.run_after), (now, now));
        let last = (at("2026-11-20T00:00:00Z"), at("2026-11-21T00:00:00Z"));
        assert_eq!(run.interval, last);
    }

    #[test]
    fn legacy_runs_are_named_by_logical_date_and_new_ones_by_run_after() {
        let now = at("2026-11-21T12:00:00Z");
        let wish = ManualRequest {
            logical_date: Some(at("2026-01-05T06:00:00Z")),
            ..ManualRequest::default()
        };
        let old = manual_run(&daily("2"), wish.clone(), now);
        assert_eq!(old.run_id, "manual__2026-01-05T06:00:00+00:00");
        assert_eq!(old.interval.1, at("2026-01-05T00:00:00Z"));
        let new = manual_run(&daily("3"), wish, now);
        assert_eq!(new.run_id, "manual__2026-11-21T12:00:00+00:00");
        assert_eq!(new.interval.1, at("2026-11-21T00:00:00Z"));
        assert_eq!(new.logical_date, at("2026-01-05T06:00:00Z"));
    }

    #[test]
    fn wishes_are_kept() {
        let interval = (at("2026-01-01T00:00:00Z"), at("2026-01-03T00:00:00Z"));
        let wish = ManualRequest {
            run_id: Some("mine".to_owned()),
            interval: Some(interval),
            ..ManualRequest::default()
        };
        let run = manual_run(&daily("3"), wish, at("2026-11-21T12:00:00Z"));
        assert_eq!((run.run_id.as_str(), run.interval), ("mine", interval));
    }
}
