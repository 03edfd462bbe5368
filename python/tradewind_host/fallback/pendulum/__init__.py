"""A small stand-in for DAG files that import `pendulum` where it is not installed.

Its folder comes last on `sys.path`, so that an installed one always wins.
"""

from __future__ import annotations

import datetime as _dt

from airflow._core.datetimes import DateTime, Duration, Timezone, get_zone, now, parse, utc

__all__ = [
    "UTC",
    "DateTime",
    "Duration",
    "Timezone",
    "date",
    "datetime",
    "duration",
    "from_format",
    "from_timestamp",
    "instance",
    "local",
    "local_timezone",
    "naive",
    "now",
    "parse",
    "timezone",
    "today",
    "tomorrow",
    "utcnow",
    "yesterday",
]
__version__ = "0.0+tradewind"

UTC = get_zone("UTC")
Date = _dt.date
Time = _dt.time
date = _dt.date
timezone = get_zone


def datetime(
    year, month, day, hour=0, minute=0, second=0, microsecond=0, tz="UTC", fold=0, **_ignored
) -> DateTime:
    """An aware date in `tz`."""
    zone = get_zone(tz) if tz is not None else None
    return DateTime(year, month, day, hour, minute, second, microsecond, tzinfo=zone, fold=fold)


def naive(year, month, day, hour=0, minute=0, second=0, microsecond=0, fold=0) -> DateTime:
    return DateTime(year, month, day, hour, minute, second, microsecond, fold=fold)


def local_timezone():
    return _dt.datetime.now().astimezone().tzinfo


def local(year, month, day, hour=0, minute=0, second=0, microsecond=0) -> DateTime:
    return datetime(year, month, day, hour, minute, second, microsecond, tz=local_timezone())


def instance(value: _dt.datetime, tz="UTC") -> DateTime:
    return DateTime.instance(value, tz)


def utcnow() -> DateTime:
    return now(utc)


def today(tz="UTC") -> DateTime:
    return now(tz).start_of("day")


def tomorrow(tz="UTC") -> DateTime:
    return today(tz).add(days=1)


def yesterday(tz="UTC") -> DateTime:
    return today(tz).add(days=-1)


def from_timestamp(timestamp, tz="UTC") -> DateTime:
    return DateTime.instance(_dt.datetime.fromtimestamp(timestamp, get_zone(tz)))


_FORMATS = (
    ("YYYY", "%Y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("HH", "%H"),
    ("mm", "%M"),
    ("ss", "%S"),
)


def from_format(string: str, fmt: str, tz="UTC", **_ignored) -> DateTime:
    """Reads tokens YYYY, MM, DD, HH, mm and ss."""
    for token, directive in _FORMATS:
        fmt = fmt.replace(token, directive)
    return DateTime.instance(_dt.datetime.strptime(string, fmt), tz)


def duration(
    days=0,
    seconds=0,
    microseconds=0,
    milliseconds=0,
    minutes=0,
    hours=0,
    weeks=0,
    years=0,
    months=0,
) -> Duration:
    """A length of time; a year counts as 365 days and a month as 30."""
    return Duration(
        days=days + 365 * years + 30 * months,
        seconds=seconds,
        microseconds=microseconds,
        milliseconds=milliseconds,
        minutes=minutes,
        hours=hours,
        weeks=weeks,
    )
