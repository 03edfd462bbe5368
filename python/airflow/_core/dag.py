"""The `DAG` class: arguments of every generation, its tasks, and the `with` block.

Resolves nothing that needs a clock or a database; when runs are due is the scheduler's business.
"""

from __future__ import annotations

import datetime as dt
import inspect

from airflow._core import dag_arguments, datetimes
from airflow._core.calls import signature
from airflow._core.group import TaskGroup, check_id
from airflow._core.params import ParamsDict
from airflow._core.registry import open_dags, open_groups, session
from airflow._core.schedule import NOTSET, pick_schedule
from airflow._core.xcomarg import DagParam
from airflow.configuration import conf
from airflow.exceptions import DuplicateTaskIdFound, InvalidArguments, TaskNotFound

# Positional parameters as 1.10 and early 2.x had them.
_POSITIONAL = ("dag_id", "description", "schedule_interval", "start_date", "end_date")


class DAG:
    """A graph of tasks with a schedule.

    Use it as a context manager, or pass it to operators as `dag=`.
    """

    def __init__(self, *args, **kwargs):
        named = self._bind(args, kwargs)
        self.dag_id = check_id(named.pop("dag_id"), "dag_id")
        self._session = session()
        self.line = self._session.line()
        self.schedule = pick_schedule(self.dag_id, named)
        self.default_args = dict(named.pop("default_args", None) or {})
        self._set_dates(named)
        self._set_limits(named)
        self._set_params(named)
        self.description = named.pop("description", None)
        self.doc_md = named.pop("doc_md", None)
        self.tags = named.pop("tags", None) or []
        self.is_paused_upon_creation = named.pop("is_paused_upon_creation", None)
        self.render_template_as_native_obj = bool(named.pop("render_template_as_native_obj", False))
        self.template_searchpath = named.pop("template_searchpath", None)
        self.template_undefined = named.pop("template_undefined", None)
        self.jinja_environment_kwargs = named.pop("jinja_environment_kwargs", None)
        self.auto_register = named.pop("auto_register", True)
        self.dag_display_name = named.pop("dag_display_name", None) or self.dag_id
        self.user_defined_macros = named.pop("user_defined_macros", None)
        self.user_defined_filters = named.pop("user_defined_filters", None)
        dag_arguments.warn_limited(self)
        dag_arguments.drop_ignored(self.dag_id, named)
        if named:
            unknown = ", ".join(sorted(named))
            raise InvalidArguments(f"DAG.__init__() got unexpected keyword arguments: {unknown}")
        self.fileloc = self._session.file
        self.task_dict: dict = {}
        self.group_ids: dict = {}
        self.edge_lines: dict = {}
        self.task_group = TaskGroup(None, dag=self)
        self._session.created.append(self)

    @staticmethod
    def _bind(args, kwargs) -> dict:
        if len(args) > len(_POSITIONAL):
            raise InvalidArguments(
                f"DAG() takes at most {len(_POSITIONAL)} positional arguments; name the others"
            )
        named = dict(zip(_POSITIONAL, args, strict=False))
        for name in named:
            if name in kwargs:
                raise InvalidArguments(f"DAG() got several values for argument {name!r}")
        if "schedule_interval" in named:
            session().marks.add("positional_schedule")
        named.update(kwargs)
        if "dag_id" not in named:
            raise InvalidArguments("DAG() needs a dag_id")
        return named

    def _set_dates(self, named: dict) -> None:
        start = named.pop("start_date", None) or self.default_args.get("start_date")
        end = named.pop("end_date", None) or self.default_args.get("end_date")
        default = datetimes.get_zone(
            conf.get("core", "default_timezone", "utc").replace("utc", "UTC")
        )
        zone = default
        for date in (start, end):
            if isinstance(date, str):
                date = datetimes.parse(date, default)
            if isinstance(date, dt.datetime) and date.tzinfo is not None:
                zone = date.tzinfo
                break
        self.timezone = zone
        self.start_date = datetimes.aware(start, zone)
        self.end_date = datetimes.aware(end, zone)
        self.dagrun_timeout = dag_arguments.delta(
            named.pop("dagrun_timeout", None), "dagrun_timeout"
        )

    def _set_limits(self, named: dict) -> None:
        old_name = named.pop("concurrency", None)
        tasks = named.pop("max_active_tasks", None)
        tasks = old_name if tasks is None else tasks
        if tasks is None:
            tasks = conf.getint("core", "max_active_tasks_per_dag", 16)
        runs = named.pop("max_active_runs", None)
        if runs is None:
            runs = conf.getint("core", "max_active_runs_per_dag", 16)
        self.max_active_tasks = dag_arguments.count(tasks, "max_active_tasks")
        self.max_active_runs = dag_arguments.count(runs, "max_active_runs")
        fail_fast = named.pop("fail_fast", None)
        fail_stop = named.pop("fail_stop", None)
        self.fail_fast = bool(fail_stop if fail_fast is None else fail_fast)
        self._catchup = named.pop("catchup", None)

    def _set_params(self, named: dict) -> None:
        params = named.pop("params", None) or {}
        shared = self.default_args.pop("params", None) or {}
        self.params = ParamsDict({**dict(shared), **dict.copy(params)})

    @property
    def generation(self) -> str:
        """The generation whose rules the file follows: 1.10, 2 or 3."""
        return self._session.generation

    @property
    def catchup(self) -> bool:
        if self._catchup is not None:
            return bool(self._catchup)
        legacy = self.generation != "3"
        return conf.getboolean("scheduler", "catchup_by_default", legacy)

    @catchup.setter
    def catchup(self, value) -> None:
        self._catchup = value

    @property
    def effective_schedule(self):
        """The schedule, with the default of the file's generation when none was written."""
        if self.schedule is not NOTSET:
            return self.schedule
        return None if self.generation == "3" else dt.timedelta(days=1)

    @property
    def schedule_interval(self):
        return self.effective_schedule

    @property
    def fail_stop(self) -> bool:
        return self.fail_fast

    @property
    def concurrency(self) -> int:
        return self.max_active_tasks

    @property
    def tasks(self) -> list:
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    @property
    def roots(self) -> list:
        return [task for task in self.tasks if not task.upstream_task_ids]

    @property
    def leaves(self) -> list:
        return [task for task in self.tasks if not task.downstream_task_ids]

    @property
    def owner(self) -> str:
        return ", ".join(sorted({task.owner for task in self.tasks}))

    @property
    def folder(self) -> str:
        return self.fileloc.rpartition("/")[0]

    def add_task(self, task) -> None:
        """Takes a task; a second one with the same id is an error."""
        known = self.task_dict.get(task.task_id)
        if known is task:
            return
        if known is not None or task.task_id in self.group_ids:
            raise DuplicateTaskIdFound(
                f"the task id {task.task_id!r} is already used in the DAG {self.dag_id!r}"
            )
        self.task_dict[task.task_id] = task
        task.dag = self

    def add_tasks(self, tasks) -> None:
        for task in tasks:
            self.add_task(task)

    def has_task(self, task_id: str) -> bool:
        return task_id in self.task_dict

    def get_task(self, task_id: str, **_ignored):
        if task_id in self.task_dict:
            return self.task_dict[task_id]
        raise TaskNotFound(f"the task {task_id!r} is not in the DAG {self.dag_id!r}")

    def set_dependency(self, upstream_task_id: str, downstream_task_id: str) -> None:
        self.get_task(upstream_task_id).set_downstream(self.get_task(downstream_task_id))

    def note_edge(self, upstream: str, downstream: str) -> None:
        """Keeps where in the file an edge was made, for error messages."""
        self.edge_lines.setdefault((upstream, downstream), session().line())

    def param(self, name: str, default=NOTSET) -> DagParam:
        if default is not NOTSET and name not in self.params:
            self.params[name] = default
        return DagParam(name)

    def get_template_env(self, **_ignored):
        raise NotImplementedError("templates are rendered by the worker")

    def cli(self) -> None:
        raise SystemExit("use the command line: tradewind dags --help")

    def __enter__(self) -> DAG:
        open_dags.push(self)
        open_groups.push(self.task_group)
        return self

    def __exit__(self, *_exc) -> None:
        open_groups.pop()
        open_dags.pop()
        if self.auto_register:
            self._session.registered.add(id(self))

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"


def dag(dag_id=None, *args, **dag_kwargs):
    """Turns a function into a factory of a DAG; its arguments become params."""
    if callable(dag_id) and not args and not dag_kwargs:
        return dag()(dag_id)

    def decorate(function):
        def factory(*call_args, **call_kwargs):
            bound = signature(function).bind(*call_args, **call_kwargs)
            bound.apply_defaults()
            new = DAG(dag_id or function.__name__, *args, **dag_kwargs)
            if new.doc_md is None and function.__doc__:
                new.doc_md = inspect.cleandoc(function.__doc__)
            with new:
                values = {name: new.param(name, value) for name, value in bound.arguments.items()}
                function(**values)
            return new

        factory.__name__ = function.__name__
        factory.__doc__ = function.__doc__
        factory.__wrapped__ = function
        return factory

    return decorate
