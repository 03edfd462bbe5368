"""Schedules as authors write them, checked while the file is read so that the line is known."""

from __future__ import annotations

import datetime as dt

from airflow.exceptions import AirflowTimetableInvalid, InvalidArguments

NOTSET = type("NotSet", (), {"__repr__": lambda self: "NOTSET", "__bool__": lambda self: False})()

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_NAMES = ("schedule", "schedule_interval", "timetable")


def pick_schedule(dag_id: str, named: dict):
    """Takes the one schedule argument out of `named`; NOTSET when there is none."""
    given = {name: named.pop(name) for name in _NAMES if name in named}
    given = {name: value for name, value in given.items() if value is not NOTSET}
    timetable = given.pop("timetable", None)
    if timetable is not None:
        raise AirflowTimetableInvalid(
            f"DAG {dag_id!r}: timetable objects are not supported: use a cron text or a timedelta"
        )
    if len(given) > 1:
        raise InvalidArguments(f"DAG {dag_id!r}: give only one of schedule and schedule_interval")
    if not given:
        return NOTSET
    value = next(iter(given.values()))
    check_schedule(dag_id, value)
    return value


def check_schedule(dag_id: str, value) -> None:
    """Raises when the scheduler could not understand `value`."""
    if value is None or value is NOTSET:
        return
    if isinstance(value, dt.timedelta):
        if value <= dt.timedelta(0):
            raise AirflowTimetableInvalid(
                f"DAG {dag_id!r}: a schedule must be longer than 0, got {value}"
            )
        return
    if not isinstance(value, str):
        raise AirflowTimetableInvalid(
            f"DAG {dag_id!r}: a schedule of type {type(value).__name__} is not supported: "
            "use a cron text, a preset like @daily, a timedelta or None"
        )
    text = value.strip()
    if text in PRESETS or text in ("@once", "@continuous", "None"):
        return
    if text.startswith("@") or len(text.split()) not in (5, 6):
        raise AirflowTimetableInvalid(
            f"DAG {dag_id!r}: {value!r} is not a schedule: write a cron expression of 5 fields "
            f"or one of {', '.join(PRESETS)}, @once, @continuous"
        )
