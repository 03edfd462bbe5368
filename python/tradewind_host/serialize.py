"""DAGs as `proto::dag::DagSpec`: plain JSON, or an error that names what is not."""

from __future__ import annotations

import datetime as dt
import json

from airflow._core import datetimes
from airflow._core.schedule import PRESETS, check_schedule
from tradewind_host.checks import check_acyclic
from tradewind_host.errors import SpecError
from tradewind_host.serialize_task import task_spec

U32_MAX = 2**32 - 1


def dag_spec(dag, loaded, source_hash: str) -> dict:
    """One DAG; raises `SpecError` when it cannot be used."""
    check_acyclic(dag)
    check_schedule(dag.dag_id, dag.schedule)
    legacy = loaded.generation != "3"
    zone = _zone(dag, loaded)
    schedule = schedule_spec(dag.effective_schedule, zone, legacy)
    start = _start(dag)
    if start is None and legacy and schedule["kind"] != "none":
        raise SpecError(f"DAG {dag.dag_id!r} is missing the start_date parameter", dag.line)
    spec = {
        "dag_id": dag.dag_id,
        "fileloc": loaded.fileloc,
        "source_hash": source_hash,
        "generation": loaded.generation,
        "description": _text(dag.description),
        "doc_md": _text(dag.doc_md),
        "owners": sorted({task.owner for task in dag.tasks}),
        "tags": _tags(dag),
        "schedule": schedule,
        "schedule_text": _schedule_text(dag.effective_schedule),
        "timezone": zone,
        "start_date": rfc3339(start),
        "end_date": rfc3339(dag.end_date),
        "catchup": dag.catchup,
        "max_active_runs": _u32(dag, dag.max_active_runs, "max_active_runs"),
        "max_active_tasks": _u32(dag, dag.max_active_tasks, "max_active_tasks"),
        "max_active_tasks_per_run": not legacy,
        "dagrun_timeout": dag.dagrun_timeout and dag.dagrun_timeout.total_seconds(),
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "fail_fast": dag.fail_fast,
        "params": json_value(dag.params.defaults(), f"params of DAG {dag.dag_id!r}", dag.line),
        "tasks": [],
    }
    folders = template_folders(dag, loaded.file)
    for task in dag.tasks:
        params = json_value(task.params.defaults(), f"params of task {task.task_id!r}", task.line)
        spec["tasks"].append({**task_spec(task, folders), "params": params})
    return {name: value for name, value in spec.items() if value is not None}


def template_folders(dag, file: str) -> list[str]:
    """Where template files are looked for: beside the DAG file, then in template_searchpath."""
    search = dag.template_searchpath or []
    search = [search] if isinstance(search, str) else [str(folder) for folder in search]
    return [file.rpartition("/")[0], *search]


def schedule_spec(schedule, zone: str, legacy: bool) -> dict:
    """The schedule as `proto::dag::Schedule`."""
    if isinstance(schedule, dt.timedelta):
        return {"kind": "delta", "seconds": schedule.total_seconds(), "interval": legacy}
    text = schedule.strip() if isinstance(schedule, str) else None
    if text is None or text == "None":
        return {"kind": "none"}
    if text in ("@once", "@continuous"):
        return {"kind": text[1:]}
    return {
        "kind": "cron",
        "expr": PRESETS.get(text, text),
        "timezone": zone,
        "interval": legacy,
    }


def json_value(value, what: str, line: int | None):
    """`value` if it is JSON; else an error that says where it is not."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"{what} must be JSON: {error}", line, "ParamValidationError") from None


def rfc3339(date: dt.datetime | None) -> str | None:
    return None if date is None else date.isoformat()


def _zone(dag, loaded) -> str:
    name = datetimes.zone_name(dag.timezone)
    if name is None:
        loaded.warnings.append(
            f"DAG {dag.dag_id!r}: the time zone {dag.timezone!r} has no IANA name; UTC is used"
        )
    return name or "UTC"


def _start(dag) -> dt.datetime | None:
    if dag.start_date is not None:
        return dag.start_date
    dates = [datetimes.aware(t.start_date, dag.timezone) for t in dag.tasks if t.start_date]
    return min(dates, default=None)


def _schedule_text(schedule) -> str:
    return "None" if schedule is None else str(schedule)


def _text(value) -> str | None:
    return None if value is None else str(value)


def _tags(dag) -> list[str]:
    tags = dag.tags
    if isinstance(tags, str) or not isinstance(tags, (list, tuple, set, frozenset)):
        raise SpecError(f"DAG {dag.dag_id!r}: tags must be a list of texts, got {tags!r}", dag.line)
    tags = sorted(map(str, tags)) if isinstance(tags, (set, frozenset)) else [str(t) for t in tags]
    return list(dict.fromkeys(tags))


def _u32(dag, value: int, name: str) -> int:
    if not 0 <= value <= U32_MAX:
        raise SpecError(f"DAG {dag.dag_id!r}: {name} is out of range: {value}", dag.line)
    return value
