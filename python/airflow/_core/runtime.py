"""What a running task can ask of the worker. Filled in by the task host, empty at parse time."""

from __future__ import annotations

from airflow.exceptions import AirflowException

_link = None
_context: dict | None = None


def install(link, context: dict | None = None) -> None:
    """Called once by the task host, in the process of one attempt.

    `link` answers `xcom(...)` and `variable(key)`.
    """
    global _link, _context
    _link = link
    _context = context


def link():
    """The worker, or None when no task is running here."""
    return _link


def set_context(context: dict | None) -> None:
    global _context
    _context = context


def get_current_context() -> dict:
    """The context of the running task."""
    if _context is None:
        raise AirflowException("get_current_context() works only while a task runs")
    return _context
