"""What an attempt reports besides its state: XComs and tasks to skip. Limits are checked here."""

from __future__ import annotations

import json

from tradewind_host import xcoms

KEY_CHARS_MAX = 512


class XComTooLarge(ValueError):
    """A value, or all values together, over the limit."""


class Outbox:
    """Collected until the attempt ends; a later push under one key replaces the earlier."""

    MISSING = object()

    def __init__(self, value_bytes_max: int, total_bytes_max: int):
        self._value_max = value_bytes_max
        self._total_max = total_bytes_max
        self._values: dict[str, str] = {}
        self._skip: dict[str, None] = {}

    def push(self, key: str, value) -> None:
        """Keeps a value; raises when it is not JSON or too large."""
        if not isinstance(key, str) or not key or len(key) > KEY_CHARS_MAX:
            raise ValueError(f"an XCom key is a text of 1 to {KEY_CHARS_MAX} characters: {key!r}")
        text = xcoms.encode(value)
        size = len(text.encode())
        if size > self._value_max:
            raise XComTooLarge(
                f"the XCom {key!r} has {size} bytes, the limit is {self._value_max}: write large "
                "data to a file, table or bucket and push its name"
            )
        others = sum(len(t.encode()) for k, t in self._values.items() if k != key)
        if others + size > self._total_max:
            raise XComTooLarge(
                f"with {key!r} the XComs of this task have {others + size} bytes together, "
                f"the limit is {self._total_max}"
            )
        self._values[key] = text

    def get(self, key: str):
        text = self._values.get(key)
        return self.MISSING if text is None else xcoms.decode(json.loads(text))

    def skip(self, task_ids: list[str]) -> None:
        self._skip.update(dict.fromkeys(task_ids))

    def report(self) -> dict:
        values = [{"key": key, "json": text} for key, text in self._values.items()]
        return {"xcoms": values, "skip": list(self._skip)}
