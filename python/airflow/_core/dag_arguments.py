"""Checks of single arguments of DAGs and operators, and the list of those without an effect."""

from __future__ import annotations

import datetime as dt

from airflow._core.registry import session

# Accepted for compatibility; what they would do is said to the author.
_IGNORED = {
    "access_control": "permissions are set in the deployment",
    "default_view": "it has no meaning here",
    "orientation": "it has no meaning here",
    "full_filepath": "the file is known",
    "sla_miss_callback": "SLAs are not watched; alert on run duration instead",
    "on_success_callback": "DAG-level callbacks are not called; set it on tasks",
    "on_failure_callback": "DAG-level callbacks are not called; set it on tasks",
    "owner_links": "it has no meaning here",
    "max_consecutive_failed_dag_runs": "a failing DAG is not paused by itself",
    "disable_bundle_versioning": "it has no meaning here",
    "deadline": "deadlines are not watched",
    "allowed_run_types": "runs of every type are allowed",
    "rerun_with_latest_version": "it has no meaning here",
}


def drop_ignored(dag_id: str, named: dict) -> None:
    """Takes ignored arguments out, with a warning for those that were set."""
    for name, reason in _IGNORED.items():
        if named.pop(name, None):
            session().warn(f"DAG {dag_id!r}: argument {name} is ignored: {reason}")


def warn_limited(dag) -> None:
    """Says where an argument works only in part."""
    if dag.user_defined_macros or dag.user_defined_filters:
        session().warn(
            f"DAG {dag.dag_id!r}: templates that use user_defined_macros or user_defined_filters "
            "are rendered in Python, which needs Jinja2 on the workers"
        )


def delta(value, name: str) -> dt.timedelta | None:
    """A duration from a timedelta or a number of seconds."""
    if value is None or isinstance(value, dt.timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return dt.timedelta(seconds=value)
    raise TypeError(f"{name} must be a timedelta or a number of seconds, got {value!r}")


def count(value, name: str, minimum: int = 0) -> int:
    """A whole number from an int or its text."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number
