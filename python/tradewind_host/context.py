"""The task context: what templates and task functions get, by Airflow's names."""

from __future__ import annotations

import os

import airflow.macros
from airflow._core import datetimes
from airflow._core.connections import Connection
from airflow._core.plain import following_tick, preceding_tick
from airflow._core.runs import DagRun, TaskInstance
from airflow._core.variables import Variable
from airflow.configuration import conf
from airflow.exceptions import AirflowNotFoundException


class VariableAccessor:
    """`var.value.name`, `var.json.name`, and `.get(name, default)`."""

    def __init__(self, is_json: bool):
        self._is_json = is_json

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return Variable.get(name, deserialize_json=self._is_json)

    __getitem__ = __getattr__

    def get(self, name: str, default=None):
        return Variable.get(name, default, deserialize_json=self._is_json)


class ConnectionAccessor:
    """`conn.name`: connections that the worker's environment defines."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return Connection.get(name)

    __getitem__ = __getattr__

    def get(self, name: str, default=None):
        try:
            return Connection.get(name)
        except AirflowNotFoundException:
            return default


def build(dag, task, frame: dict, outbox, render_text) -> dict:
    """The context of one attempt; date names are absent when the run has no logical date."""
    run = _dates(frame["context"])
    dag_run = DagRun(**{**run, "dag_id": frame["dag_id"], "run_type": run["run_type"], "dag": dag})
    ti = TaskInstance(
        task,
        dag_run,
        try_number=run["try_number"],
        max_tries=run["max_tries"],
        map_index=run.get("map_index", -1),
        hostname=frame.get("hostname", ""),
        start_date=datetimes.now(),
        pid=os.getpid(),
        outbox=outbox,
        render=render_text,
        generation=dag.generation,
    )
    context = {
        "dag": dag,
        "task": task,
        "ti": ti,
        "task_instance": ti,
        "task_instance_key_str": f"{ti.dag_id}__{ti.task_id}__{dag_run.run_id}",
        "dag_run": dag_run,
        "run_id": dag_run.run_id,
        "params": run.get("params") or {},
        "var": {"value": VariableAccessor(False), "json": VariableAccessor(True)},
        "conn": ConnectionAccessor(),
        "macros": airflow.macros,
        "map_index_template": None,
        "expanded_ti_count": None,
        "inlets": [],
        "outlets": [],
        "templates_dict": None,
        "test_mode": False,
        "try_number": ti.try_number,
        "data_interval_start": dag_run.data_interval_start,
        "data_interval_end": dag_run.data_interval_end,
        **_previous(run),
    }
    if dag_run.logical_date is not None:
        context.update(_logical(dag_run.logical_date))
        if dag.generation != "3":
            context.update(_legacy(dag, dag_run))
    if dag.generation != "3":
        context["conf"] = conf
    return context


def environment(context: dict, attempt_id: str) -> dict[str, str]:
    """Variables that every process of the attempt can read."""
    ti = context["ti"]
    values = {
        "TRADEWIND_ATTEMPT_ID": attempt_id,
        "AIRFLOW_CTX_DAG_ID": ti.dag_id,
        "AIRFLOW_CTX_TASK_ID": ti.task_id,
        "AIRFLOW_CTX_DAG_RUN_ID": ti.run_id,
        "AIRFLOW_CTX_TRY_NUMBER": str(ti.try_number),
        "AIRFLOW_CTX_DAG_OWNER": ti.task.owner,
    }
    if ti.dag_run.logical_date is not None:
        values["AIRFLOW_CTX_EXECUTION_DATE"] = ti.dag_run.logical_date.isoformat()
    return values


_DATE_FIELDS = (
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "run_after",
    "start_date",
)


def _dates(run: dict) -> dict:
    read = {name: _date(run.get(name)) for name in _DATE_FIELDS}
    return {**run, **read}


def _date(text: str | None):
    return None if text is None else datetimes.parse(text).in_timezone("UTC")


def _previous(run: dict) -> dict:
    start, end = run.get("prev_success_interval") or (None, None)
    return {
        "prev_data_interval_start_success": _date(start),
        "prev_data_interval_end_success": _date(end),
        "prev_start_date_success": None,
        "prev_end_date_success": None,
    }


def _logical(date) -> dict:
    ts = date.isoformat()
    return {
        "logical_date": date,
        "ds": date.strftime("%Y-%m-%d"),
        "ds_nodash": date.strftime("%Y%m%d"),
        "ts": ts,
        "ts_nodash": date.strftime("%Y%m%dT%H%M%S"),
        "ts_nodash_with_tz": ts.replace("-", "").replace(":", ""),
    }


def _legacy(dag, dag_run) -> dict:
    """Names that 3.x has dropped."""
    date = dag_run.logical_date
    if dag_run.external_trigger:
        following = preceding = date
    else:
        following, preceding = following_tick(dag, date), preceding_tick(dag, date)
    following = following and datetimes.aware(following)
    preceding = preceding and datetimes.aware(preceding)
    names = {
        "execution_date": date,
        "next_execution_date": following,
        "prev_execution_date": preceding,
        "prev_execution_date_success": None,
    }
    days = {
        "next_ds": following,
        "prev_ds": preceding,
        "tomorrow_ds": date.add(days=1),
        "yesterday_ds": date.add(days=-1),
    }
    for name, day in days.items():
        names[name] = day and day.strftime("%Y-%m-%d")
        names[f"{name}_nodash"] = day and day.strftime("%Y%m%d")
    return names
