"""Functions that templates reach as `macros`."""

from __future__ import annotations

import datetime as dt
import json
import random
import time
import uuid

__all__ = ["datetime", "ds_add", "ds_format", "json", "random", "time", "timedelta", "uuid"]

datetime = dt.datetime
timedelta = dt.timedelta


def ds_add(ds: str, days: int) -> str:
    """The date text `days` later, or earlier with a negative number."""
    moved = dt.datetime.strptime(str(ds), "%Y-%m-%d") + dt.timedelta(days=days)
    return moved.strftime("%Y-%m-%d")


def ds_format(ds: str, input_format: str, output_format: str, *_locale) -> str:
    """Reads a date text in one format and writes it in another."""
    return dt.datetime.strptime(str(ds), input_format).strftime(output_format)
