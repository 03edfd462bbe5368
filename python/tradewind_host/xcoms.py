"""XCom values as JSON text and back.

JSON values stay as they are. Others are written as `{"__type": name, "__var": value}`: datetime,
date, time (ISO 8601), timedelta (seconds), decimal (text), tuple, set, frozenset (list), bytes
(base64). A dict that itself has a key `__type` is wrapped as type `dict`.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import json

from airflow._core import datetimes

TYPE, VAR = "__type", "__var"
DEPTH_MAX = 60


class NotJson(TypeError):
    """A value that cannot be an XCom."""


def encode(value) -> str:
    """JSON text; raises `NotJson` saying where the value is none."""
    try:
        return json.dumps(_plain(value, "value", 0), allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise NotJson(f"an XCom must be JSON: {error}") from None


def decode(value):
    """A parsed JSON value with the original Python types."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {TYPE, VAR} and value[TYPE] in _READERS:
        return _READERS[value[TYPE]](value[VAR])
    return {key: decode(item) for key, item in value.items()}


def _tagged(name: str, value) -> dict:
    return {TYPE: name, VAR: value}


def _plain(value, path: str, depth: int):
    if depth > DEPTH_MAX:
        raise NotJson(f"an XCom may be nested {DEPTH_MAX} deep, {path} is deeper")
    if value is None or isinstance(value, (bool, str)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return _plain(value.value, path, depth)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return _plain_dict(value, path, depth)
    if isinstance(value, list):
        return _items(value, path, depth)
    for kind, name in ((tuple, "tuple"), (frozenset, "frozenset"), (set, "set")):
        if isinstance(value, kind):
            members = value if kind is tuple else sorted(value, key=repr)
            return _tagged(name, _items(members, path, depth))
    return _scalar(value, path)


def _items(values, path: str, depth: int) -> list:
    return [_plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(values)]


def _plain_dict(value: dict, path: str, depth: int) -> dict:
    for key in value:
        if not (key is None or isinstance(key, (str, int, float))):
            raise NotJson(f"an XCom must be JSON: a key of {path} is a {type(key).__name__}")
    plain = {key: _plain(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items()}
    return _tagged("dict", plain) if TYPE in plain else plain


def _scalar(value, path: str):
    if isinstance(value, dt.datetime):
        return _tagged("datetime", value.isoformat())
    if isinstance(value, (dt.date, dt.time)):
        return _tagged("date" if isinstance(value, dt.date) else "time", value.isoformat())
    if isinstance(value, dt.timedelta):
        return _tagged("timedelta", value.total_seconds())
    if isinstance(value, decimal.Decimal):
        return _tagged("decimal", str(value))
    if isinstance(value, (bytes, bytearray)):
        return _tagged("bytes", base64.b64encode(value).decode("ascii"))
    raise NotJson(
        f"an XCom must be JSON: {path} is a {type(value).__module__}.{type(value).__qualname__} "
        "(return plain values, or write large data to a file or table and return its name)"
    )


def _datetime(text: str):
    value = dt.datetime.fromisoformat(text)
    return datetimes.DateTime.instance(value) if value.tzinfo else value


_READERS = {
    "datetime": _datetime,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "timedelta": lambda seconds: dt.timedelta(seconds=seconds),
    "decimal": decimal.Decimal,
    "bytes": base64.b64decode,
    "tuple": lambda items: tuple(decode(items)),
    "set": lambda items: set(decode(items)),
    "frozenset": lambda items: frozenset(decode(items)),
    "dict": lambda items: {key: decode(item) for key, item in items.items()},
}
