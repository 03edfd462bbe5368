"""Just enough of cron for task contexts: the tick after and before a moment.

Runs are never scheduled from here; the scheduler has its own timetable code.
"""

from __future__ import annotations

import datetime as dt

# Days looked at before giving up; 29 February on a given weekday comes within 40 years.
DAYS_MAX = 366 * 41

_MONTHS = {
    n: i
    for i, n in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_DAYS = {n: i for i, n in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}


class CronFields:
    """A five-field expression as sets of numbers."""

    def __init__(self, expression: str):
        fields = expression.split()[:5]
        self.minutes = _numbers(fields[0], 0, 59)
        self.hours = _numbers(fields[1], 0, 23)
        self.days = _numbers(fields[2], 1, 31)
        self.months = _numbers(fields[3], 1, 12, _MONTHS)
        self.weekdays = {day % 7 for day in _numbers(fields[4], 0, 7, _DAYS)}
        self._either = not fields[2].startswith("*") and not fields[4].startswith("*")

    def has_day(self, day: dt.date) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        hit = by_month or by_week if self._either else by_month and by_week
        return day.month in self.months and hit

    def times(self) -> list[dt.time]:
        return [dt.time(h, m) for h in sorted(self.hours) for m in sorted(self.minutes)]


def _numbers(field: str, low: int, high: int, names: dict | None = None) -> set[int]:
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            begin = _number(first, names)
            end = _number(last, names) if dash else (high if step else begin)
        found.update(range(begin, end + 1, int(step or 1)))
    return found


def _number(text: str, names: dict | None) -> int:
    return names[text] if names and text in names else int(text)


def next_after(expression: str, moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime | None:
    return _search(expression, moment, zone, 1)


def previous_before(expression: str, moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime | None:
    return _search(expression, moment, zone, -1)


def _search(expression, moment, zone, direction) -> dt.datetime | None:
    try:
        fields = CronFields(expression)
    except (ValueError, KeyError, IndexError):
        return None
    times = fields.times()[::direction]
    day = moment.astimezone(zone).date()
    for _ in range(DAYS_MAX):
        if fields.has_day(day):
            for time in times:
                tick = dt.datetime.combine(day, time, zone).astimezone(dt.timezone.utc)
                if (tick - moment).total_seconds() * direction > 0:
                    return tick
        day += dt.timedelta(days=direction)
    return None
