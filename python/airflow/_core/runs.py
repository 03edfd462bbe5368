"""`TaskInstance` and `DagRun` as running tasks see them. Never kept after the attempt."""

from __future__ import annotations

import logging

from airflow._core import runtime
from airflow._core.xcomarg import XCOM_RETURN_KEY
from airflow.exceptions import AirflowException


class DagRun:
    """The run that a task belongs to; a snapshot from when the attempt began."""

    def __init__(self, **fields):
        self.dag_id = fields["dag_id"]
        self.run_id = fields["run_id"]
        self.run_type = fields["run_type"]
        self.logical_date = fields.get("logical_date")
        self.data_interval_start = fields.get("data_interval_start")
        self.data_interval_end = fields.get("data_interval_end")
        self.run_after = fields.get("run_after")
        self.start_date = fields.get("start_date")
        self.end_date = None
        self.conf = fields.get("conf") or {}
        self.state = "running"
        self.dag = fields.get("dag")

    @property
    def execution_date(self):
        return self.logical_date

    @property
    def external_trigger(self) -> bool:
        return self.run_type == "manual"

    def get_dag(self):
        return self.dag

    def __repr__(self) -> str:
        return f"<DagRun {self.dag_id} @ {self.logical_date}: {self.run_id}>"


class TaskInstance:
    """One task in one run, during one attempt."""

    def __init__(self, task, dag_run: DagRun, **fields):
        self.task = task
        self.dag_run = dag_run
        self.task_id = task.task_id
        self.dag_id = dag_run.dag_id
        self.run_id = dag_run.run_id
        self.try_number = fields["try_number"]
        self.max_tries = fields["max_tries"]
        self.map_index = fields.get("map_index", -1)
        self.hostname = fields.get("hostname", "")
        self.start_date = fields.get("start_date")
        self.end_date = None
        self.duration = None
        self.state = "running"
        self.operator = task.task_type
        self.queue = task.queue
        self.pool = task.pool
        self.pid = fields.get("pid")
        self.log_url = ""
        self.mark_success_url = ""
        self._outbox = fields["outbox"]
        self._render = fields.get("render")
        self._generation = fields.get("generation", "2")

    @property
    def execution_date(self):
        return self.dag_run.logical_date

    logical_date = execution_date

    @property
    def prev_attempted_tries(self) -> int:
        return self.try_number - 1

    @property
    def key(self) -> tuple:
        return (self.dag_id, self.task_id, self.run_id, self.try_number, self.map_index)

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger("airflow.task")

    def get_dagrun(self, *_args, **_kwargs) -> DagRun:
        return self.dag_run

    def get_template_context(self, *_args, **_kwargs) -> dict:
        return runtime.get_current_context()

    def current_state(self, *_args, **_kwargs) -> str:
        return self.state

    def is_eligible_to_retry(self) -> bool:
        return self.try_number <= self.max_tries

    def xcom_push(self, key: str, value, execution_date=None, **_ignored) -> None:
        """Keeps a value for other tasks; it must be JSON and within the limits."""
        if execution_date is not None and self.execution_date is not None:
            if execution_date < self.execution_date:
                raise ValueError("an XCom cannot be pushed into the past")
        self._outbox.push(key, value)

    def xcom_pull(
        self,
        task_ids=None,
        dag_id: str | None = None,
        key: str | None = XCOM_RETURN_KEY,
        include_prior_dates: bool = False,
        *,
        map_indexes=None,
        default=None,
        run_id: str | None = None,
        **_ignored,
    ):
        """The value another task pushed; a list of values when `task_ids` is a list.

        Without `task_ids`: from any task of the run (in 3.x files: from this task itself).
        """
        key = XCOM_RETURN_KEY if key is None else key
        single = task_ids is None or isinstance(task_ids, str)
        if task_ids is None:
            names = [self.task_id] if self._generation == "3" else []
        else:
            names = [task_ids] if single else list(task_ids)
        found = self._find(
            names, dag_id or self.dag_id, run_id or self.run_id, key, include_prior_dates
        )
        if map_indexes is not None:
            wanted = {map_indexes} if isinstance(map_indexes, int) else set(map_indexes)
            found = [item for item in found if item[1] in wanted]
        if single:
            return found[0][2] if found else default
        by_task: dict = {}
        for name, _index, value in found:
            by_task.setdefault(name, value)
        return [by_task.get(name, default) for name in names]

    def _find(self, names, dag_id, run_id, key, prior) -> list:
        """(task id, map index, value), with what this very attempt has pushed first."""
        own = dag_id == self.dag_id and run_id == self.run_id
        local: list = []
        if own and (not names or self.task_id in names):
            value = self._outbox.get(key)
            if value is not self._outbox.MISSING:
                local = [(self.task_id, self.map_index, value)]
                names = [name for name in names if name != self.task_id]
                if not names:
                    return local
        link = runtime.link()
        if link is None:
            raise AirflowException("xcom_pull() works only while a task runs")
        return local + link.xcom(dag_id, run_id, names, key, prior)

    def skip_tasks(self, tasks) -> None:
        """Notes tasks that must not run in this run."""
        self._outbox.skip([task.task_id for task in tasks])

    def render_text(self, text: str) -> str:
        """Renders a template that came into being only now."""
        return self._render(text) if self._render and "{" in text else text

    def __repr__(self) -> str:
        return f"<TaskInstance: {self.dag_id}.{self.task_id} {self.run_id} [{self.state}]>"
