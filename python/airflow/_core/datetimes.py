"""Dates as DAG authors use them: time zones, parsing, and a datetime with the methods that task
code calls on context dates.

Never depends on the third-party `pendulum`; a DAG file that has it installed keeps its own.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from zoneinfo import ZoneInfo

utc = dt.timezone.utc

_DATE = re.compile(
    r"^\s*(\d{4})-?(\d{2})-?(\d{2})"
    r"(?:[T ]?(\d{2}):?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r"\s*(Z|[+-]\d{2}:?\d{2}|[+-]\d{2})?\s*$"
)
# Author-style format tokens, longest first.
_TOKENS = re.compile(
    r"\[([^\]]*)\]|YYYY|YY|MMMM|MMM|MM|M|DDDD|DD|D|dddd|ddd|HH|H|hh|h|mm|m|ss|s|SSSSSS|SSS|ZZ|Z|zz|z|A|X"
)


class Timezone(ZoneInfo):
    """An IANA zone that also answers to `.name` and `.convert()`."""

    @property
    def name(self) -> str:
        return self.key

    def convert(self, value: dt.datetime) -> DateTime:
        return DateTime.instance(value).in_timezone(self)


def get_zone(zone) -> dt.tzinfo:
    """A zone from its IANA name; zones are passed through."""
    if isinstance(zone, dt.tzinfo):
        return zone
    if isinstance(zone, (int, float)):
        return dt.timezone(dt.timedelta(hours=zone))
    try:
        return Timezone(zone)
    except (KeyError, ValueError, OSError):
        if str(zone).upper() in ("UTC", "Z"):
            return utc
        raise ValueError(
            f"unknown time zone {zone!r}: use an IANA name like Europe/Berlin"
        ) from None


def zone_name(zone: dt.tzinfo | None) -> str | None:
    """The IANA name of a zone of any library, or None when it has none."""
    if zone is None or zone is utc:
        return "UTC"
    for attribute in ("key", "name", "zone"):
        name = getattr(zone, attribute, None)
        if isinstance(name, str) and name:
            try:
                return Timezone(name).key
            except (KeyError, ValueError, OSError):
                continue
    offset = zone.utcoffset(None)
    if offset == dt.timedelta(0):
        return "UTC"
    if offset is not None and offset % dt.timedelta(hours=1) == dt.timedelta(0):
        hours = int(offset / dt.timedelta(hours=1))
        return f"Etc/GMT{-hours:+d}"
    return None


class Duration(dt.timedelta):
    """A timedelta with the read-out methods that authors expect of a difference of dates."""

    @classmethod
    def of(cls, delta: dt.timedelta) -> Duration:
        return cls(days=delta.days, seconds=delta.seconds, microseconds=delta.microseconds)

    def total_minutes(self) -> float:
        return self.total_seconds() / 60

    def total_hours(self) -> float:
        return self.total_seconds() / 3600

    def total_days(self) -> float:
        return self.total_seconds() / 86400

    def in_seconds(self) -> int:
        return int(self.total_seconds())

    def in_minutes(self) -> int:
        return int(self.total_minutes())

    def in_hours(self) -> int:
        return int(self.total_hours())

    def in_days(self) -> int:
        return int(self.total_days())

    def in_weeks(self) -> int:
        return int(self.total_days() / 7)

    def as_timedelta(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.total_seconds())


class DateTime(dt.datetime):
    """An aware datetime; days and longer are added on the wall clock, hours and shorter in time."""

    @classmethod
    def instance(cls, value: dt.datetime, tz=utc) -> DateTime:
        """The same moment (naive ones are in `tz`)."""
        zone = value.tzinfo or get_zone(tz)
        return cls(
            value.year,
            value.month,
            value.day,
            value.hour,
            value.minute,
            value.second,
            value.microsecond,
            tzinfo=zone,
            fold=value.fold,
        )

    @property
    def timezone(self):
        return self.tzinfo

    tz = timezone

    @property
    def timezone_name(self) -> str | None:
        return zone_name(self.tzinfo)

    @property
    def int_timestamp(self) -> int:
        return int(self.timestamp())

    @property
    def float_timestamp(self) -> float:
        return self.timestamp()

    @property
    def offset(self) -> int:
        return int(self.utcoffset().total_seconds())

    @property
    def day_of_week(self) -> int:
        return self.weekday()

    @property
    def day_of_year(self) -> int:
        return self.timetuple().tm_yday

    @property
    def days_in_month(self) -> int:
        return calendar.monthrange(self.year, self.month)[1]

    @property
    def quarter(self) -> int:
        return (self.month + 2) // 3

    def in_timezone(self, tz) -> DateTime:
        return DateTime.instance(self.astimezone(get_zone(tz)))

    in_tz = in_timezone

    def set(self, **fields) -> DateTime:
        return self.replace(**fields)

    def add(
        self, years=0, months=0, weeks=0, days=0, hours=0, minutes=0, seconds=0, microseconds=0
    ):
        """A later (or, with negative numbers, earlier) date."""
        index = (self.year + int(years)) * 12 + self.month - 1 + int(months)
        year, month = divmod(index, 12)
        day = min(self.day, calendar.monthrange(year, month + 1)[1])
        wall = self.replace(year=year, month=month + 1, day=day) + dt.timedelta(
            weeks=weeks, days=days
        )
        exact = dt.timedelta(
            hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds
        )
        if not exact:
            return DateTime.instance(wall)
        moment = dt.datetime.astimezone(wall, utc) + exact
        return DateTime.instance(moment.astimezone(self.tzinfo))

    def subtract(self, **fields) -> DateTime:
        return self.add(**{name: -amount for name, amount in fields.items()})

    def start_of(self, unit: str) -> DateTime:
        day = {"hour": self.hour, "minute": 0, "second": 0, "microsecond": 0}
        if unit == "hour":
            return self.replace(**day)
        if unit == "minute":
            return self.replace(second=0, microsecond=0)
        midnight = self.replace(**{**day, "hour": 0})
        if unit == "day":
            return midnight
        if unit == "week":
            return midnight.add(days=-self.weekday())
        if unit == "month":
            return midnight.replace(day=1)
        if unit == "year":
            return midnight.replace(month=1, day=1)
        raise ValueError(f"unknown unit {unit!r}: use minute, hour, day, week, month or year")

    def end_of(self, unit: str) -> DateTime:
        return self.start_of(unit).add(**{f"{unit}s": 1}).add(microseconds=-1)

    def diff(self, other: dt.datetime | None = None, abs: bool = True) -> Duration:
        delta = (other or now()) - self
        return Duration.of(-delta if abs and delta < dt.timedelta(0) else delta)

    def __sub__(self, other):
        result = super().__sub__(other)
        return Duration.of(result) if isinstance(result, dt.timedelta) else result

    def naive(self) -> DateTime:
        return self.replace(tzinfo=None)

    def to_date_string(self) -> str:
        return self.strftime("%Y-%m-%d")

    def to_time_string(self) -> str:
        return self.strftime("%H:%M:%S")

    def to_datetime_string(self) -> str:
        return self.strftime("%Y-%m-%d %H:%M:%S")

    def to_iso8601_string(self) -> str:
        text = self.isoformat()
        return text[:-6] + "Z" if text.endswith("+00:00") else text

    def format(self, pattern: str, **_ignored) -> str:
        """Formats with tokens like `YYYY-MM-DD HH:mm:ss`; `[text]` is literal."""
        return _TOKENS.sub(lambda m: _token(self, m), pattern)

    def __str__(self) -> str:
        return self.isoformat()


def _token(value: DateTime, match: re.Match) -> str:
    if match.group(1) is not None:
        return match.group(1)
    token = match.group(0)
    offset = value.strftime("%z")
    simple = {
        "YYYY": "%Y",
        "YY": "%y",
        "MMMM": "%B",
        "MMM": "%b",
        "MM": "%m",
        "DDDD": "%j",
        "DD": "%d",
        "dddd": "%A",
        "ddd": "%a",
        "HH": "%H",
        "hh": "%I",
        "mm": "%M",
        "ss": "%S",
        "SSSSSS": "%f",
        "A": "%p",
    }
    if token in simple:
        return value.strftime(simple[token])
    numbers = {
        "M": value.month,
        "D": value.day,
        "H": value.hour,
        "h": (value.hour + 11) % 12 + 1,
        "m": value.minute,
        "s": value.second,
        "X": int(value.timestamp()),
    }
    if token in numbers:
        return str(numbers[token])
    other = {
        "SSS": f"{value.microsecond // 1000:03d}",
        "Z": f"{offset[:3]}:{offset[3:]}",
        "ZZ": offset,
        "z": str(value.timezone_name or ""),
        "zz": value.tzname() or "",
    }
    return other[token]


def now(tz=utc) -> DateTime:
    return DateTime.instance(dt.datetime.now(get_zone(tz)))


def parse(text: str, tz=utc) -> DateTime:
    """A date from ISO 8601 text, with or without time and offset."""
    match = _DATE.match(text)
    if not match:
        raise ValueError(f"cannot read {text!r} as a date: write it like 2024-01-31T12:00:00")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    zone = get_zone(tz) if offset is None else _offset(offset)
    micro = int((fraction or "0").ljust(6, "0")[:6])
    return DateTime(
        *(int(part or 0) for part in (year, month, day, hour, minute, second)), micro, tzinfo=zone
    )


def _offset(text: str) -> dt.tzinfo:
    if text == "Z":
        return get_zone("UTC")
    digits = text[1:].replace(":", "").ljust(4, "0")
    delta = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.timezone(-delta if text[0] == "-" else delta)


def aware(value, tz=utc) -> DateTime | None:
    """A date from what an author wrote: datetime, date or text; naive ones are in `tz`."""
    if value is None:
        return None
    if isinstance(value, str):
        return parse(value, tz)
    if isinstance(value, dt.datetime):
        return DateTime.instance(value, tz)
    if isinstance(value, dt.date):
        return DateTime(value.year, value.month, value.day, tzinfo=get_zone(tz))
    raise TypeError(f"expected a date, got {type(value).__name__} {value!r}")
