"""A warm process for `[tasks]` with `python = "module:function"`: JSON lines in, JSON lines out.

A line in: `{"function", "id", "task", "args", "kwargs", "retries"}`. A line out: `{"memory_kb": n}`
with one of `result`, `error`, `retry`, `ignore` and `reject`. SIGUSR1 raises
`SoftTimeLimitExceeded` in the call. Celery's own `Retry`, `Ignore` and `Reject` are understood when
the callable raises them.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import resource
import signal
import sys
import traceback

from tradewind_host import calls_json, processes

# Longest traceback that is sent; the end says most.
TRACEBACK_CHARS_MAX = 20_000


def _soft_limit_class() -> type[Exception]:
    try:
        from billiard.exceptions import SoftTimeLimitExceeded
    except ImportError:
        name = "SoftTimeLimitExceeded"
        return type(name, (Exception,), {"__module__": "billiard.exceptions"})
    return SoftTimeLimitExceeded


class Server:
    """Reads calls until stdin ends."""

    def __init__(self, source, sink: int):
        self._source = source
        self._sink = sink
        self._functions: dict[str, object] = {}
        self._running = False
        self._soft_limit: type[Exception] | None = None

    def run(self) -> None:
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        for line in self._source:
            answer = self._answer(calls_json.loads(line))
            answer["memory_kb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            _write(self._sink, answer)

    def _on_soft_limit(self, _signum, _frame) -> None:
        # A signal that comes when the call is over has nobody to interrupt.
        if self._running:
            self._running = False
            self._soft_limit = self._soft_limit or _soft_limit_class()
            raise self._soft_limit()

    def _answer(self, order: dict) -> dict:
        try:
            try:
                function = self._function(order["function"])
                self._running = True
                result = function(*order["args"], **order["kwargs"])
                if inspect.isawaitable(result):
                    result = asyncio.run(_awaited(result))
            finally:
                self._running = False
            return {"result": _checked(result)}
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            return _ending(exc)

    def _function(self, target: str):
        function = self._functions.get(target)
        if function is None:
            module, _, path = target.partition(":")
            function = importlib.import_module(module)
            for name in path.split("."):
                function = getattr(function, name)
            self._functions[target] = function
        return function


async def _awaited(awaitable):
    return await awaitable


def _checked(result):
    """The result, if it can be written as JSON; otherwise the call fails instead of the process."""
    calls_json.dumps(result)
    return result


def _ending(exc: BaseException) -> dict:
    kind = type(exc)
    if kind.__module__ == "celery.exceptions":
        if kind.__name__ == "Ignore":
            return {"ignore": {}}
        if kind.__name__ == "Reject":
            reason = str(getattr(exc, "reason", None) or "rejected by the task")
            return {"reject": {"requeue": bool(getattr(exc, "requeue", False)), "reason": reason}}
        if kind.__name__ == "Retry":
            because = getattr(exc, "exc", None)
            when = getattr(exc, "when", None)
            return {
                "retry": {
                    "countdown": _seconds(when),
                    "because": _raised(because) if isinstance(because, BaseException) else None,
                }
            }
    return {"error": _raised(exc)}


def _seconds(when) -> float | None:
    """Celery's `when`: a number of seconds or a point in time."""
    if when is None or isinstance(when, (int, float)):
        return when
    from datetime import datetime, timezone

    zone = when.tzinfo or timezone.utc
    return max(0.0, (when.replace(tzinfo=zone) - datetime.now(timezone.utc)).total_seconds())


def _raised(exc: BaseException) -> dict:
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    return {
        "exc_type": type(exc).__qualname__,
        "args": [_plain(arg) for arg in exc.args],
        "module": type(exc).__module__,
        "traceback": text[-TRACEBACK_CHARS_MAX:],
    }


def _plain(value):
    try:
        calls_json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value


def _write(sink: int, answer: dict) -> None:
    data = calls_json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(sink, data) :]


def main() -> int:
    # The protocol moves to private descriptors: whoever prints, prints to stderr.
    source, sink = os.fdopen(os.dup(0), "rb"), os.dup(1)
    processes.null_stdin()
    os.dup2(2, 1)
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        Server(source, sink).run()
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
