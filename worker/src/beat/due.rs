//! When an entry is due. Pure.

use jiff::Timestamp;
use tradewind_engine::timetable::Ticks;

/// The next sending of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The tick to send now: the latest one; earlier ones that were missed are gone.
    Now(Timestamp),
    /// Nothing is to be sent before this tick.
    At(Timestamp),
    /// Never again.
    Never,
}

/// Decides for an entry whose last sent tick is `last`; one that was never sent is due from `since` on, the
/// time at which its first beat saw it.
pub fn next_due(ticks: &Ticks, last: Option<Timestamp>, since: Timestamp, now: Timestamp) -> Due {
    match ticks.after(last.unwrap_or(since)) {
        None => Due::Never,
        Some(next) if next > now => Due::At(next),
        Some(next) => Due::Now(ticks.latest(now).unwrap_or(next).max(next)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tradewind_engine::timetable::Ticks;

    use super::{Due, next_due};

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    #[test]
    fn the_first_tick_is_the_one_after_the_entry_was_seen() {
        let ticks = Ticks::cron("*/5 * * * *", "UTC").expect("cron");
        let since = at("2026-03-01T10:02:00Z");
        assert_eq!(next_due(&ticks, None, since, since), Due::At(at("2026-03-01T10:05:00Z")));
        let now = at("2026-03-01T10:05:00Z");
        assert_eq!(next_due(&ticks, None, since, now), Due::Now(now));
        assert_eq!(next_due(&ticks, Some(now), since, now), Due::At(at("2026-03-01T10:10:00Z")));
    }

    #[test]
    fn missed_ticks_collapse_into_one() {
        let ticks = Ticks::every(30.0).expect("every");
        let last = at("2026-03-01T10:00:00Z");
        let now = at("2026-03-03T11:00:12Z");
        let tick = at("2026-03-03T11:00:00Z");
        assert_eq!(next_due(&ticks, Some(last), last, now), Due::Now(tick));
        assert_eq!(next_due(&ticks, Some(tick), last, now), Due::At(at("2026-03-03T11:00:30Z")));
    }

    #[test]
    fn a_tick_from_a_clock_that_runs_ahead_is_not_sent_again() {
        let ticks = Ticks::every(60.0).expect("every");
        let (last, now) = (at("2026-03-01T10:01:00Z"), at("2026-03-01T10:00:59Z"));
        assert_eq!(next_due(&ticks, Some(last), now, now), Due::At(at("2026-03-01T10:02:00Z")));
    }

    #[test]
    fn all_beats_know_the_same_ticks_of_a_distance() {
        let ticks = Ticks::every(7.5).expect("every");
        for since in ["2026-03-01T10:00:00.1Z", "2026-03-01T10:00:03.7Z"] {
            let since = at(since);
            assert_eq!(next_due(&ticks, None, since, since), Due::At(at("2026-03-01T10:00:07.5Z")));
        }
    }

    #[test]
    fn wall_clock_times_are_kept_when_the_clocks_change() {
        let ticks = Ticks::cron("30 2 * * *", "Europe/Berlin").expect("cron");
        let due = |last: &str| next_due(&ticks, Some(at(last)), at(last), at(last));
        // Winter: 02:30 is 01:30 UTC. On 29 March there is no 02:30: an hour later by the clock.
        assert_eq!(due("2026-03-27T02:00:00Z"), Due::At(at("2026-03-28T01:30:00Z")));
        assert_eq!(due("2026-03-28T01:30:00Z"), Due::At(at("2026-03-29T01:30:00Z")));
        assert_eq!(due("2026-03-29T01:30:00Z"), Due::At(at("2026-03-30T00:30:00Z")));
        // On 25 October there are two 02:30: one of them is taken.
        let Due::At(first) = due("2026-10-24T00:30:00Z") else { panic!("a tick") };
        assert_eq!(first.strftime("%Y-%m-%d").to_string(), "2026-10-25");
        let next = next_due(&ticks, Some(first), first, first);
        assert_eq!(next, Due::At(at("2026-10-26T01:30:00Z")));
    }

    #[test]
    fn an_hourly_entry_runs_in_the_repeated_hour_too() {
        let ticks = Ticks::cron("0 * * * *", "Europe/Berlin").expect("cron");
        let mut last = at("2026-10-24T23:00:00Z");
        for expected in ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"] {
            let Due::At(next) = next_due(&ticks, Some(last), last, last) else { panic!("a tick") };
            assert_eq!(next, at(expected));
            last = next;
        }
    }
}
