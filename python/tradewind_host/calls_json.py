"""JSON as Celery writes it: dates, decimals, UUIDs and bytes are wrapped in `__type__` objects."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import date, datetime, time
from decimal import Decimal


def _wrapped(kind: str, value) -> dict:
    return {"__type__": kind, "__value__": value}


def _default(value):
    if isinstance(value, datetime):
        return _wrapped("datetime", value.isoformat())
    if isinstance(value, date):
        return _wrapped("date", value.isoformat())
    if isinstance(value, time):
        return _wrapped("time", value.isoformat())
    if isinstance(value, Decimal):
        return _wrapped("decimal", str(value))
    if isinstance(value, uuid.UUID):
        return _wrapped("uuid", {"hex": value.hex, "version": value.version})
    if isinstance(value, (bytes, bytearray)):
        return _wrapped("base64", base64.b64encode(value).decode())
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_READERS = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda value: uuid.UUID(value["hex"]),
    "bytes": str.encode,
    "base64": base64.b64decode,
}


def _hook(value: dict):
    if value.keys() == {"__type__", "__value__"}:
        reader = _READERS.get(value["__type__"])
        if reader is not None:
            return reader(value["__value__"])
    return value


def dumps(value) -> str:
    # Python's NaN is no JSON, and other readers refuse it.
    return json.dumps(value, default=_default, allow_nan=False)


def loads(line):
    return json.loads(line, object_hook=_hook)
