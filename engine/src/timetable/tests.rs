//! Timetables against croniter vectors and naive iteration.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tradewind_proto::dag::{DagSpec, Schedule};
use tradewind_proto::state::RunType;

use super::*;
use crate::testing::dag;

fn ts(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn cron(expr: &str, zone: &str, interval: bool) -> DagSpec {
    let mut spec = dag(vec![]);
    spec.schedule = Schedule::Cron { expr: expr.to_owned(), timezone: zone.to_owned(), interval };
    spec.start_date = Some(ts("2024-01-01T00:00:00Z"));
    spec
}

fn delta(seconds: f64, interval: bool) -> DagSpec {
    let mut spec = dag(vec![]);
    spec.schedule = Schedule::Delta { seconds, interval };
    spec.start_date = Some(ts("2024-01-01T00:10:00Z"));
    spec
}

fn last(due: DueRun) -> LastRun {
    LastRun { logical_date: due.logical_date, interval_end: due.interval_end }
}

#[derive(Deserialize)]
struct Vector {
    expr: String,
    zone: String,
    start: String,
    next: Vec<String>,
    prev: Vec<String>,
}

/// Vectors by an independent implementation; `make_cron_vectors.py` beside them says how.
#[test]
fn ticks_equal_the_reference_vectors() {
    let text = include_str!("../../tests/data/cron_vectors.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).expect("vectors");
    assert!(vectors.len() > 200);
    let mut wrong = Vec::new();
    for v in &vectors {
        let ticks = CronTicks::new(&v.expr, &v.zone).expect(&v.expr);
        let walk = |expected: &[String], step: &dyn Fn(Timestamp) -> Option<Timestamp>| {
            let mut at = ts(&v.start);
            let mut found = Vec::new();
            for _ in expected {
                at = step(at).expect("a tick");
                found.push(at.to_string());
            }
            (found != expected)
                .then(|| format!("{} {} {}\n  {found:?}\n  {expected:?}", v.expr, v.zone, v.start))
        };
        wrong.extend(walk(&v.next, &|at| ticks.next(at)));
        wrong.extend(walk(&v.prev, &|at| ticks.prev(at)));
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_interval_run_is_due_at_its_end() {
    let spec = cron("@daily", "UTC", true);
    let now = ts("2024-03-01T10:00:00Z");
    let first = next_run(&spec, None, now, true).expect("due");
    assert_eq!(first.logical_date, ts("2024-01-01T00:00:00Z"));
    assert_eq!(first.run_after, ts("2024-01-02T00:00:00Z"));
    let newest = next_run(&spec, None, now, false).expect("due");
    assert_eq!(newest.logical_date, ts("2024-02-29T00:00:00Z"));
    assert_eq!(newest.run_after, ts("2024-03-01T00:00:00Z"));
    let on_the_dot = next_run(&spec, None, ts("2024-03-01T00:00:00Z"), false).expect("due");
    assert_eq!(on_the_dot, newest);
}

#[test]
fn a_trigger_run_is_its_instant() {
    let spec = cron("0 6 * * *", "Europe/Berlin", false);
    let now = ts("2024-03-01T10:00:00Z");
    let first = next_run(&spec, None, now, true).expect("due");
    assert_eq!(first, DueRun::exact(ts("2024-01-01T05:00:00Z")));
    let newest = next_run(&spec, None, now, false).expect("due");
    assert_eq!(newest, DueRun::exact(ts("2024-03-01T05:00:00Z")));
    let after = next_run(&spec, Some(&last(newest)), now, false).expect("due");
    assert_eq!(after.run_after, ts("2024-03-02T05:00:00Z"), "in the future");
    assert_eq!(next_run(&spec, Some(&last(first)), now, false), Some(newest), "skips the gap");
}

#[test]
fn start_and_end_dates_bound_the_runs() {
    let mut spec = cron("@daily", "UTC", true);
    spec.start_date = Some(ts("2024-01-01T12:00:00Z"));
    spec.end_date = Some(ts("2024-01-03T00:00:00Z"));
    let now = ts("2024-06-01T00:00:00Z");
    let mut dates = Vec::new();
    let mut previous = None;
    while let Some(due) = next_run(&spec, previous.as_ref(), now, true) {
        dates.push(due.logical_date.to_string());
        previous = Some(last(due));
    }
    assert_eq!(dates, ["2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"]);
    assert_eq!(next_run(&spec, None, now, false), None);
    spec.start_date = None;
    spec.end_date = None;
    assert_eq!(next_run(&spec, None, now, true), None, "nowhere to catch up from");
}

#[test]
fn a_changed_schedule_does_not_repeat_a_date() {
    let previous = LastRun {
        logical_date: ts("2024-01-31T00:00:00Z"),
        interval_end: ts("2024-02-01T00:00:00Z"),
    };
    let weekly = cron("@weekly", "UTC", true);
    let due = next_run(&weekly, Some(&previous), ts("2024-02-20T00:00:00Z"), true).expect("due");
    assert_eq!(due.logical_date, ts("2024-02-04T00:00:00Z"));
}

#[test]
fn deltas_keep_their_rhythm() {
    let now = ts("2024-01-01T05:20:00Z");
    let every = delta(3600.0, false);
    let newest = next_run(&every, None, now, false).expect("due");
    assert_eq!(newest, DueRun::exact(ts("2024-01-01T05:10:00Z")));
    let next = next_run(&every, Some(&last(newest)), now, false).expect("due");
    assert_eq!(next.run_after, ts("2024-01-01T06:10:00Z"));
    let interval = delta(3600.0, true);
    let first = next_run(&interval, None, now, true).expect("due");
    assert_eq!(
        (first.interval_start, first.run_after),
        (ts("2024-01-01T00:10:00Z"), ts("2024-01-01T01:10:00Z"))
    );
    let newest = next_run(&interval, None, now, false).expect("due");
    assert_eq!(
        (newest.interval_start, newest.run_after),
        (ts("2024-01-01T04:00:00Z"), ts("2024-01-01T05:00:00Z"))
    );
}

#[test]
fn once_and_continuous() {
    let now = ts("2024-02-01T00:00:00Z");
    let mut spec = cron("@daily", "UTC", true);
    spec.schedule = Schedule::Once;
    let only = next_run(&spec, None, now, true).expect("due");
    assert_eq!(only, DueRun::exact(ts("2024-01-01T00:00:00Z")));
    assert_eq!(next_run(&spec, Some(&last(only)), now, true), None);
    spec.schedule = Schedule::Continuous;
    let first = next_run(&spec, None, now, true).expect("due");
    assert_eq!((first.interval_start, first.run_after), (ts("2024-01-01T00:00:00Z"), now));
    let next = next_run(&spec, Some(&last(first)), now, true).expect("due");
    assert_eq!(next.logical_date, now);
    let again = next_run(&spec, Some(&last(next)), now, true).expect("due");
    assert!(again.logical_date > next.logical_date, "never the same date twice");
    spec.schedule = Schedule::None;
    assert_eq!(next_run(&spec, None, now, true), None);
}

#[test]
fn manual_runs_take_the_last_complete_interval() {
    let at = ts("2024-03-10T01:30:00Z");
    let daily = (ts("2024-03-09T00:00:00Z"), ts("2024-03-10T00:00:00Z"));
    assert_eq!(manual_interval(&cron("@daily", "UTC", true), at), daily);
    assert_eq!(manual_interval(&cron("@daily", "UTC", true), daily.1), daily);
    assert_eq!(manual_interval(&cron("@daily", "UTC", false), at), (at, at));
    assert_eq!(manual_interval(&delta(1800.0, true), at), (ts("2024-03-10T01:00:00Z"), at));
}

#[test]
fn run_ids_have_airflows_form() {
    let date = ts("2024-01-01T00:00:00Z");
    assert_eq!(run_id(RunType::Scheduled, date), "scheduled__2024-01-01T00:00:00+00:00");
    let odd = ts("2024-01-01T00:00:00.012345Z");
    assert_eq!(run_id(RunType::Manual, odd), "manual__2024-01-01T00:00:00.012345+00:00");
}

#[test]
fn bad_schedules_say_what_is_wrong() {
    for (expr, part) in [
        ("61 * * * *", "minute"),
        ("* * *", "3 fields"),
        ("0 0 * foo *", "month"),
        ("", "0 fields"),
        ("0 0 * * 8", "weekday"),
    ] {
        let error = CronTicks::new(expr, "UTC").expect_err(expr).to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(CronTicks::new("@daily", "Nowhere/City").is_err());
    assert!(
        DeltaTicks::new(0.0).is_err()
            && DeltaTicks::new(f64::NAN).is_err()
            && DeltaTicks::new(-1.0).is_err()
    );
    assert!(
        CronTicks::new("0 0 30 2 *", "UTC")
            .expect("parses")
            .next(ts("2024-01-01T00:00:00Z"))
            .is_none()
    );
    assert!(time_zone("+05:30").is_ok());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const EXPRESSIONS: [&str; 9] = [
        "0 0 * * *",
        "*/15 * * * *",
        "30 2 * * *",
        "0 */6 * * *",
        "5 1,2,3 * * *",
        "0 0 * * 1",
        "0 * * * *",
        "15 2 * * sun",
        "0 0 1 * *",
    ];
    const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

    fn schedules() -> impl Strategy<Value = Schedule> {
        prop_oneof![
            (0..EXPRESSIONS.len(), 0..ZONES.len(), any::<bool>()).prop_map(|(e, z, interval)| {
                Schedule::Cron { expr: EXPRESSIONS[e].into(), timezone: ZONES[z].into(), interval }
            }),
            (1_u32..500_000, any::<bool>())
                .prop_map(|(s, interval)| Schedule::Delta { seconds: f64::from(s), interval }),
        ]
    }

    /// All ticks from `from`, found by stepping alone.
    fn naive_ticks(schedule: &Schedule, from: Timestamp, count: usize) -> Vec<Timestamp> {
        match schedule {
            Schedule::Cron { expr, timezone, .. } => {
                let ticks = CronTicks::new(expr, timezone).expect("valid");
                let before = from.checked_sub(SignedDuration::from_hours(24 * 70)).expect("small");
                std::iter::successors(ticks.next(before), |at| ticks.next(*at))
                    .filter(|at| *at >= from)
                    .take(count)
                    .collect()
            }
            Schedule::Delta { seconds, .. } => (0..count)
                .map(|n| {
                    from.checked_add(SignedDuration::from_secs_f64(seconds * n as f64))
                        .expect("small")
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn catching_up_visits_every_tick_once(schedule in schedules(), start in 1_700_000_000_i64..1_735_000_000) {
            let mut spec = cron("", "UTC", true);
            spec.schedule = schedule;
            let start = Timestamp::from_second(start).expect("small");
            spec.start_date = Some(start);
            let now = ts("2026-01-01T00:00:00Z");
            let ticks = naive_ticks(&spec.schedule, start, 31);
            let mut previous: Option<LastRun> = None;
            for pair in ticks.windows(2) {
                let due = next_run(&spec, previous.as_ref(), now, true).expect("due");
                prop_assert_eq!(due.logical_date, pair[0]);
                let interval = matches!(spec.schedule, Schedule::Cron { interval: true, .. } | Schedule::Delta { interval: true, .. });
                prop_assert_eq!(due.run_after, if interval { pair[1] } else { pair[0] });
                previous = Some(last(due));
            }
        }

        #[test]
        fn dates_rise_strictly_whatever_the_clock_does(
            schedule in schedules(), start in 1_700_000_000_i64..1_735_000_000,
            steps in prop::collection::vec(0_i64..400_000, 1..30), catchup in any::<bool>(),
        ) {
            let mut spec = cron("", "UTC", true);
            spec.schedule = schedule;
            spec.start_date = Some(Timestamp::from_second(start).expect("small"));
            let mut now = start;
            let mut previous: Option<LastRun> = None;
            for step in steps {
                now += step;
                let at = Timestamp::from_second(now).expect("small");
                let due = next_run(&spec, previous.as_ref(), at, catchup).expect("no end date");
                prop_assert!(due.interval_end >= due.interval_start);
                if let Some(previous) = previous {
                    prop_assert!(due.logical_date > previous.logical_date);
                }
                if due.run_after <= at {
                    previous = Some(last(due));
                }
            }
        }
    }
}
