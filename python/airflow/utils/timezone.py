"""Time zone helpers."""

from __future__ import annotations

import datetime as dt

from airflow._core import datetimes
from airflow._core.datetimes import get_zone as parse_timezone
from airflow._core.datetimes import parse, utc

__all__ = [
    "coerce_datetime",
    "convert_to_utc",
    "datetime",
    "is_localized",
    "is_naive",
    "make_aware",
    "make_naive",
    "parse",
    "parse_timezone",
    "utc",
    "utc_epoch",
    "utcnow",
]


def is_localized(value: dt.datetime) -> bool:
    return value.utcoffset() is not None


def is_naive(value: dt.datetime) -> bool:
    return not is_localized(value)


def utcnow():
    return datetimes.now()


def utc_epoch():
    return datetimes.DateTime(1970, 1, 1, tzinfo=utc)


def convert_to_utc(value):
    return None if value is None else datetimes.aware(value).in_timezone("UTC")


def make_aware(value, timezone=None):
    """A naive date gets the zone; an aware one is refused."""
    if value is None:
        return None
    if is_localized(value):
        raise ValueError(f"make_aware expects a naive datetime, got {value}")
    return datetimes.aware(value, timezone or utc)


def make_naive(value, timezone=None):
    return value.astimezone(datetimes.get_zone(timezone or utc)).replace(tzinfo=None)


def coerce_datetime(value, tz=None):
    return datetimes.aware(value, tz or utc)


def datetime(*args, **kwargs):
    """An aware datetime, in UTC unless `tzinfo` says otherwise."""
    kwargs.setdefault("tzinfo", utc)
    return datetimes.DateTime(*args, **kwargs)
